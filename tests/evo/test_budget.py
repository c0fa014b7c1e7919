"""Budgets: what counts, what stops a run, what is left."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest

from archive.evaluation import Evaluation, Outcome
from evo.budget import Budget, StopReason


def budget(noise: float = 0.0, **limits: float | None) -> Budget:
    given = {
        "evaluations": None,
        "minutes": None,
        "device_seconds": None,
        "dollars": None,
        "stall": None,
        "target_speedup": None,
        "barren": 10,
    }
    return Budget(SimpleNamespace(**{**given, **limits}), noise=noise)


def evaluation(outcome: Outcome = Outcome.OK, **facts: object) -> Evaluation:
    return Evaluation("k", outcome, **facts)  # type: ignore[arg-type]


def test_nothing_is_spent_at_first_and_nothing_stops() -> None:
    fresh = budget(evaluations=3, minutes=1, stall=2)
    assert fresh.reason() is None
    assert fresh.left == 1.0


@pytest.mark.parametrize("outcome", [Outcome.OK, Outcome.WRONG, Outcome.BUILD_ERROR, Outcome.REJECTED, Outcome.CRASH, Outcome.TIMEOUT])
def test_every_verdict_about_a_kernel_costs_an_evaluation(outcome: Outcome) -> None:
    spending = budget(evaluations=1)
    spending.evaluation(evaluation(outcome), None)
    assert spending.reason() is StopReason.EVALUATIONS
    assert spending.evaluations_left == 0


@pytest.mark.parametrize("free", [evaluation(Outcome.INFEASIBLE), evaluation(Outcome.INFRASTRUCTURE_ERROR), evaluation(reused="other")])
def test_what_says_nothing_new_costs_none(free: Evaluation) -> None:
    spending = budget(evaluations=1)
    spending.evaluation(free, None)
    assert spending.reason() is None


def test_evaluations_in_flight_are_reserved() -> None:
    spending = budget(evaluations=2)
    assert spending.allows(1)
    assert not spending.allows(2)
    spending.evaluation(evaluation(), 0.0)
    assert not spending.allows(1)


def test_minutes_count_over_all_sessions() -> None:
    spending = budget(minutes=2)
    spending.spent.seconds = 119.0
    assert spending.reason() is None
    assert spending.seconds_left == pytest.approx(1.0)
    spending.spent.seconds = 120.0
    assert spending.reason() is StopReason.MINUTES


def test_device_time_is_what_the_evaluator_measured_else_the_sum_of_its_stages() -> None:
    spending = budget(device_seconds=1.0)
    spending.evaluation(evaluation(cost={"measure": 0.4, "kernel": 0.3, "build": 9.0}), None)
    spending.evaluation(evaluation(cost={"kernel": 0.3, "baseline": 0.2, "build": 9.0}), None)
    assert spending.spent.device_seconds == pytest.approx(0.9)
    spending.duel(evaluation(cost={"measure": 0.2}), evaluation(cost={"measure": 0.2}))
    assert spending.reason() is StopReason.DEVICE_SECONDS


def test_dollars_come_from_the_notes_of_drafts() -> None:
    spending = budget(dollars=1.0)
    spending.proposal({"dollars": 0.6}, fresh=True)
    assert spending.reason() is None
    spending.proposal({"dollars": 0.6}, fresh=False)
    assert spending.reason() is StopReason.DOLLARS


def test_a_stall_is_counted_from_the_last_improvement_beyond_noise() -> None:
    spending = budget(noise=0.01, stall=3)
    for best in (0.1, 0.105, 0.109):
        spending.evaluation(evaluation(), best)
    assert spending.reason() is None
    spending.evaluation(evaluation(), 0.109)
    assert spending.reason() is StopReason.STALL
    spending.evaluation(evaluation(), 0.2)
    assert spending.reason() is None


def test_the_target_has_to_be_held_by_the_archive_now() -> None:
    spending = budget(target_speedup=2.0)
    spending.evaluation(evaluation(), math.log(1.99))
    assert spending.reason() is None
    spending.evaluation(evaluation(), math.log(2.01))
    assert spending.reason() is StopReason.TARGET_SPEEDUP
    spending.evaluation(evaluation(), math.log(1.5))
    assert spending.reason() is None


def test_barren_proposals_in_a_row_exhaust_a_space_and_a_new_kernel_starts_the_count_again() -> None:
    spending = budget(barren=2)
    spending.proposal({}, fresh=False)
    spending.proposal({}, fresh=True)
    spending.proposal({}, fresh=False)
    assert spending.reason() is None
    spending.proposal({}, fresh=False)
    assert spending.reason() is StopReason.EXHAUSTED


def test_what_is_left_is_the_scarcest_budget() -> None:
    spending = budget(evaluations=10, minutes=1)
    spending.spent.seconds = 6.0
    for _ in range(5):
        spending.evaluation(evaluation(), 0.0)
    assert spending.left == pytest.approx(0.5)
    assert spending.seconds_left == pytest.approx(6.0)


def test_only_an_interrupted_or_troubled_run_is_worth_resuming() -> None:
    assert [reason for reason in StopReason if not reason.final] == [StopReason.INTERRUPTED, StopReason.INFRASTRUCTURE, StopReason.MODELS]
