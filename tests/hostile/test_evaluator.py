"""The whole evaluator against kernels that cheat, fail, or only look as if they did: each ends in its own verdict, honest ones in `ok`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import hostile_arena as arena
import pytest

from archive.evaluation import Evaluation, Outcome
from archive.kernel import Kernel
from fitness.measuring import MeasuringEvaluator
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings
from fitness.targets import open_target

KERNELS = Path(__file__).resolve().parent / "evaluator"
SOURCES = sorted(KERNELS.glob("*.cpp"))
TINY = Path(__file__).resolve().parent.parent / "data" / "problems" / "tiny_norm"
SETTINGS = EvaluationSettings(repetitions=6, call_timeout=1.0, build_timeout=20.0, memory=256 << 20)


@pytest.fixture(scope="module")
def evaluator() -> Iterator[MeasuringEvaluator]:
    made = MeasuringEvaluator(Problem.load(TINY), open_target("cpp", SETTINGS), SETTINGS)
    yield made
    made.close()


def evaluate(evaluator: MeasuringEvaluator, kernel: Kernel) -> Evaluation:
    return evaluator.measure(evaluator.prepare(kernel))


def said(evaluation: Evaluation) -> str:
    return f"{evaluation.outcome} {[(d.reason, d.message) for d in evaluation.diagnostics]}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_each_kernel_ends_as_its_header_says_and_the_honest_seed_after_it_is_right(evaluator: MeasuringEvaluator, path: Path) -> None:
    attack = arena.read(path)
    evaluation = evaluate(evaluator, Kernel("cpp", path.read_text()))
    found = (evaluation.outcome.value, evaluation.diagnostics[0].reason if evaluation.diagnostics else "")
    assert any(found[: len(wanted)] == wanted for wanted in attack.expected), f"expected {attack.expected}, got {said(evaluation)}"
    if not evaluation.ok:
        assert evaluation.objective is None and not evaluation.samples
        assert len(evaluation.diagnostics[0].message) > 20
    neighbour = evaluate(evaluator, evaluator.seeds()[0])
    assert neighbour.ok, f"the honest neighbour: {said(neighbour)}"


def test_a_wrong_kernel_costs_no_timing_and_a_hang_its_limit_only(evaluator: MeasuringEvaluator) -> None:
    evaluate(evaluator, evaluator.seeds()[0])
    wrong = evaluate(evaluator, Kernel("cpp", (KERNELS / "zeros.cpp").read_text()))
    assert wrong.outcome is Outcome.WRONG and wrong.cost["calls"] <= 40 and "rounds" not in wrong.cost
    hang = evaluate(evaluator, Kernel("cpp", (KERNELS / "hangs.cpp").read_text()))
    assert hang.outcome is Outcome.TIMEOUT and hang.cost["calls"] == 1
    assert hang.cost["measure"] < SETTINGS.call_timeout + 1.0
