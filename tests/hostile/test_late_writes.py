"""Outputs that somebody completes after the call: single bytes in large outputs, under the filter that should leave nobody to do it.

No kernel here gets that far (see `cpp/`: threads, other processes, asynchronous requests each end in their own rejection), so the
accomplice is this test, which shares the memory and writes when a way round the filter would: between the end of a call and the check.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from archive.evaluation import Outcome
from archive.kernel import Kernel
from fitness.fingerprint import EVERY, Vigil
from fitness.measuring import MeasuringEvaluator
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings
from fitness.sitting import Lane
from fitness.slots import Slot
from fitness.targets import open_target

KERNEL = Path(__file__).resolve().parent / "late" / "leaves_gaps.cpp"
LARGE = {"n": 1 << 21}
SETTINGS = EvaluationSettings(repetitions=6)


@pytest.fixture
def evaluator(toy: Problem) -> MeasuringEvaluator:
    problem = replace(toy, shapes=(LARGE,))
    return MeasuringEvaluator(problem, open_target("cpp", SETTINGS), SETTINGS)


def fill_gaps(slot: Slot) -> None:
    """What the accomplice does: the right answers into the few places that were left out."""
    places = np.arange(123, slot.outputs[0].size, 400_000)
    slot.outputs[0][places] = 2 * slot.inputs[0][places] + 1


def test_gaps_filled_after_every_call_are_late_writes(evaluator: MeasuringEvaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    check = Slot.guards_broken

    def after_the_call(slot: Slot) -> object:
        fill_gaps(slot)
        return check(slot)

    monkeypatch.setattr(Slot, "guards_broken", after_the_call)
    kernel = Kernel("cpp", KERNEL.read_text())
    try:
        for _ in range(5):
            found = evaluator.measure(evaluator.prepare(kernel))
            assert found.outcome is Outcome.REJECTED, found.diagnostics
            assert found.diagnostics[0].reason == "late_write"
    finally:
        evaluator.close()


def test_without_the_accomplice_the_gaps_are_wrong_answers(evaluator: MeasuringEvaluator) -> None:
    try:
        found = evaluator.measure(evaluator.prepare(Kernel("cpp", KERNEL.read_text())))
        assert found.outcome is Outcome.WRONG
    finally:
        evaluator.close()


def test_a_late_write_after_the_last_call_is_noticed_before_the_times_are_believed(
    evaluator: MeasuringEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever completes only the last answers finds them looked at as well."""
    conclude = evaluator.station.sitting().__class__.conclude

    def disturbed(sitting: object) -> None:
        lane: Lane = sitting.lane("kernel")  # type: ignore[attr-defined]
        slot = next(slot for slot in lane.slots["n=2097152"])
        slot.outputs[0][:] += 1
        conclude(sitting)  # type: ignore[arg-type]

    monkeypatch.setattr("fitness.sitting.Sitting.conclude", disturbed)
    try:
        text = KERNEL.read_text().replace("if (i % 400000 != 123) ", "")
        found = evaluator.measure(evaluator.prepare(Kernel("cpp", text)))
        assert found.outcome is Outcome.REJECTED and found.diagnostics[0].reason == "late_write"
    finally:
        evaluator.close()


def test_one_call_of_every_few_is_looked_at_closely_and_which_is_not_foreseeable() -> None:
    chosen = set()
    for _ in range(60):
        vigil = Vigil()
        looks = [vigil.close_look() for _ in range(3 * EVERY)]
        for block in range(3):
            assert sum(looks[block * EVERY : (block + 1) * EVERY]) == 1
        chosen.add(looks.index(True))
    assert chosen == set(range(EVERY))
