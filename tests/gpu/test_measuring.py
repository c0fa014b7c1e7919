"""The whole cascade on a GPU: what is right is timed, what cheats or fails is named, and nothing of it harms the next kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.evaluation import Outcome
from archive.kernel import Kernel
from fitness.opening import open_evaluator
from fitness.protocol import EvaluationSettings, Evaluator

pytestmark = [pytest.mark.gpu, pytest.mark.slow, pytest.mark.timeout(600)]
HOSTILE = Path(__file__).parent.parent / "hostile" / "python"

SETTINGS = EvaluationSettings(repetitions=4, precision=0.05, call_timeout=3.0)


@pytest.fixture(scope="module")
def evaluator() -> Iterator[Evaluator]:
    opened = open_evaluator("softmax_bf16", "triton", SETTINGS)
    yield opened
    opened.close()


def test_the_plain_seed_is_right_and_faster_than_nothing(evaluator: Evaluator) -> None:
    evaluation = evaluator.measure(evaluator.prepare(evaluator.seeds()[0]))
    assert evaluation.outcome is Outcome.OK, evaluation.diagnostics
    assert evaluation.speedup is not None
    assert 0.3 < float(evaluation.profile["roofline_share"]) < 1.05


@pytest.mark.parametrize(
    ("name", "outcome", "reasons"),
    [
        ("skips_after_some_calls", Outcome.OK, set()),  # its counter stays where it is built; the device gets the launches it showed
        ("leaves_rows", Outcome.WRONG, {"not_written"}),
        ("overwrites_its_input", Outcome.REJECTED, {"guard_broken"}),
        ("writes_before_its_output", Outcome.REJECTED, {"guard_broken"}),
        ("illegal_access", Outcome.CRASH, {"illegal_access"}),
        ("hangs", Outcome.TIMEOUT, {"call_timeout"}),
        ("writes_zeros", Outcome.WRONG, {"wrong_values"}),
    ],
)
def test_a_hostile_kernel_ends_as_what_it_is_and_the_next_one_runs(
    evaluator: Evaluator, name: str, outcome: Outcome, reasons: set[str]
) -> None:
    evaluation = evaluator.measure(evaluator.prepare(Kernel("triton", (HOSTILE / f"{name}.py").read_text())))
    assert evaluation.outcome is outcome, evaluation.diagnostics
    assert {finding.reason for finding in evaluation.diagnostics} <= reasons
    after = evaluator.measure(evaluator.prepare(evaluator.seeds()[0]))
    assert after.outcome is Outcome.OK, after.diagnostics
