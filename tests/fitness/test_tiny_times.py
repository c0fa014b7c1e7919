"""Kernels that take about as long as the clock is unsure: never quarantined for that, and their times say so."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from archive.evaluation import Outcome
from fitness.measuring import BLUR, MeasuringEvaluator, _blurred
from fitness.null_call import KEPT, Protocol
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings
from fitness.targets import open_target

TINY = Path(__file__).resolve().parent.parent / "data" / "problems" / "tiny_norm"
SETTINGS = EvaluationSettings(repetitions=6, call_timeout=1.0, memory=256 << 20)


@pytest.fixture(scope="module")
def evaluator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MeasuringEvaluator]:
    """Of a problem whose calls take about a microsecond."""
    folder = tmp_path_factory.mktemp("problems") / "tiny_norm"
    shutil.copytree(TINY, folder)
    text = (folder / "problem.py").read_text()
    start = text.index("shapes = [")
    line = text[start : text.index("\n", start)]
    (folder / "problem.py").write_text(text.replace(line, 'shapes = [{"rows": 4, "cols": 64}]'))
    made = MeasuringEvaluator(Problem.load(folder), open_target("cpp", SETTINGS), SETTINGS)
    made.warm()
    yield made
    made.close()


def test_a_protocol_that_was_slow_a_moment_ago_gets_no_tiny_kernel_quarantined(evaluator: MeasuringEvaluator) -> None:
    """What a load of ten leaves behind: the empty call took 90 us, and takes 20 us now."""
    prepared = evaluator.prepare(evaluator.seeds()[0])
    for _ in range(3):
        null = evaluator.station.referee._null["native"][0]
        null._walls.extend([90e-6] * KEPT)
        null.protocol = Protocol(90e-6, 1e-6)
        evaluation = evaluator.measure(prepared)
        assert evaluation.outcome is Outcome.OK, evaluation.diagnostics
        unsure = float(evaluation.profile["seconds_uncertainty"])
        assert float(evaluation.profile["roofline_share_best"]) < 1 / 0.95
        assert min(float(s.seconds.min()) for s in evaluation.samples) > 1e-7
        assert 0 < unsure < 90e-6


def test_a_time_as_short_as_its_uncertainty_carries_a_note(evaluator: MeasuringEvaluator) -> None:
    evaluation = evaluator.measure(evaluator.prepare(evaluator.seeds()[0]))
    assert evaluation.ok
    shortest = min(float(np.median(s.seconds)) for s in evaluation.samples)
    unsure = float(evaluation.profile["seconds_uncertainty"])
    notes = [note for note in evaluation.diagnostics if note.reason == "near_resolution"]
    assert bool(notes) is (unsure >= BLUR * shortest)
    assert all(note.stage == "time" and "us less" in note.message for note in notes)
    blurred = _blurred(evaluation.samples, shortest)
    assert blurred and blurred[0].details["uncertainty"] == shortest
