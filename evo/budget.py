"""What a run may spend and has spent, and when it stops: the one place that decides it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from archive.evaluation import Evaluation, Outcome

__all__ = ["Budget", "Limits", "Spent", "StopReason", "costs_budget", "device_seconds"]

TIMED = ("fork", "fill", "check", "kernel", "baseline", "statistics")
"""Stages of `Evaluation.cost` that hold the device."""


class StopReason(StrEnum):
    """Why a run ended."""

    EVALUATIONS = "evaluations"
    MINUTES = "minutes"
    DEVICE_SECONDS = "device_seconds"
    DOLLARS = "dollars"
    STALL = "stall"
    """So many evaluations without an improvement of the best."""
    TARGET_SPEEDUP = "target_speedup"
    EXHAUSTED = "exhausted"
    """So many proposals in a row without a new kernel: there is nothing left that these operators find."""
    INTERRUPTED = "interrupted"
    """Ctrl-C, or `Run.stop`."""
    INFRASTRUCTURE = "infrastructure"
    """The evaluator kept failing; says nothing about the kernels."""
    MODELS = "models"
    """The models kept failing, or could not be reached."""

    @property
    def final(self) -> bool:
        """Whether the run has come to its own end, so that resuming it under the same budget adds nothing."""
        return self not in (StopReason.INTERRUPTED, StopReason.INFRASTRUCTURE, StopReason.MODELS)


class Limits(Protocol):
    """What `Budget` reads; `evo.config.BudgetSection` is one."""

    @property
    def evaluations(self) -> int | None: ...
    @property
    def minutes(self) -> float | None: ...
    @property
    def device_seconds(self) -> float | None: ...
    @property
    def dollars(self) -> float | None: ...
    @property
    def stall(self) -> int | None: ...
    @property
    def target_speedup(self) -> float | None: ...
    @property
    def barren(self) -> int: ...


@dataclass
class Spent:
    """Running totals of a run, over all its resumes; rebuilt by replay except for the clock."""

    evaluations: int = 0
    """Kernels that cost an evaluation, re-measurements of elites among them."""
    seconds: float = 0.0
    """Wall time."""
    device_seconds: float = 0.0
    dollars: float = 0.0
    best: float = -math.inf
    """Objective of the archive's best; falls when a re-measurement finds it was luck."""
    peak: float = -math.inf
    """`best` when it last rose beyond noise."""
    improved_at: int = 0
    """`evaluations` at that time."""
    barren: int = 0
    """Proposals since the last new kernel."""


class Budget:
    """Decides from `limits` and `spent` whether to go on.

    Args:
        limits: the config's `budget`.
        noise: by how much (ln) the best has to rise to count as an improvement.
    """

    def __init__(self, limits: Limits, *, noise: float = 0.0) -> None:
        self.limits = limits
        self.noise = noise
        self.spent = Spent()

    # ── spending ──

    def proposal(self, notes: Mapping[str, object], fresh: bool) -> None:
        """Counts a finished proposal: what its operator paid, and whether it brought a kernel not known before."""
        dollars = notes.get("dollars", 0.0)
        if isinstance(dollars, (int, float)):
            self.spent.dollars += dollars
        self.spent.barren = 0 if fresh else self.spent.barren + 1

    def evaluation(self, evaluation: Evaluation, best: float | None) -> None:
        """Counts an evaluation, after which the archive's best has the objective `best` (None: the archive is empty)."""
        spent = self.spent
        spent.device_seconds += device_seconds(evaluation)
        spent.evaluations += costs_budget(evaluation)
        spent.best = -math.inf if best is None else best
        if spent.best > spent.peak + self.noise:
            spent.peak = spent.best
            spent.improved_at = spent.evaluations

    def duel(self, *evaluations: Evaluation) -> None:
        """Counts the device time of a duel, which is one sitting for both sides."""
        self.spent.device_seconds += max(map(device_seconds, evaluations), default=0.0)

    # ── deciding ──

    def reason(self) -> StopReason | None:
        """Why the run has to stop now; None while it may go on."""
        limits, spent = self.limits, self.spent
        if limits.target_speedup is not None and spent.best >= math.log(limits.target_speedup):
            return StopReason.TARGET_SPEEDUP
        if limits.evaluations is not None and spent.evaluations >= limits.evaluations:
            return StopReason.EVALUATIONS
        if limits.minutes is not None and spent.seconds >= limits.minutes * 60:
            return StopReason.MINUTES
        if limits.device_seconds is not None and spent.device_seconds >= limits.device_seconds:
            return StopReason.DEVICE_SECONDS
        if limits.dollars is not None and spent.dollars >= limits.dollars:
            return StopReason.DOLLARS
        if limits.stall is not None and spent.evaluations - spent.improved_at >= limits.stall:
            return StopReason.STALL
        if spent.barren >= limits.barren:
            return StopReason.EXHAUSTED
        return None

    def allows(self, in_flight: int) -> bool:
        """Whether one more evaluation may start while `in_flight` are unfinished, so that the limit is met exactly."""
        return self.limits.evaluations is None or self.spent.evaluations + in_flight < self.limits.evaluations

    @property
    def left(self) -> float:
        """Share of the scarcest budget that is left, 0..1."""
        limits, spent = self.limits, self.spent
        pairs = (
            (spent.evaluations, limits.evaluations),
            (spent.seconds, None if limits.minutes is None else limits.minutes * 60),
            (spent.device_seconds, limits.device_seconds),
            (spent.dollars, limits.dollars),
        )
        return max(0.0, min((1.0 - used / limit for used, limit in pairs if limit is not None), default=1.0))

    @property
    def evaluations_left(self) -> int | None:
        return None if self.limits.evaluations is None else max(0, self.limits.evaluations - self.spent.evaluations)

    @property
    def seconds_left(self) -> float | None:
        """To the wall-time limit, or to the evaluation limit at the pace so far, whichever comes first."""
        spent = self.spent
        bounds = []
        if self.limits.minutes is not None:
            bounds.append(self.limits.minutes * 60 - spent.seconds)
        if self.limits.evaluations is not None and spent.evaluations and spent.seconds > 0:  # not by seeds alone, which set the clock going
            bounds.append((self.limits.evaluations - spent.evaluations) * spent.seconds / spent.evaluations)
        return max(0.0, min(bounds)) if bounds else None


def costs_budget(evaluation: Evaluation) -> bool:
    """Whether an evaluation counts: not one that was taken over, that lies outside the space, or that says nothing about the kernel."""
    return not evaluation.reused and evaluation.outcome not in (Outcome.INFEASIBLE, Outcome.INFRASTRUCTURE_ERROR)


def device_seconds(evaluation: Evaluation) -> float:
    """Seconds the device was held: `measure` (wall time on the device) where the evaluator says it, else the sum of its stages.

    Of a recorded space it is what recording the configuration took.
    """
    if evaluation.reused:
        return 0.0
    cost = evaluation.cost
    if "recorded" in cost:
        return cost["recorded"]
    if "measure" in cost:
        return cost["measure"]
    return sum(cost[stage] for stage in TIMED if stage in cost)
