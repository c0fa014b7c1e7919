"""What one timed call found out, and the terms it was made under."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Call", "Terms"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What every runner of a referee is held to."""

    cores: tuple[int, ...]
    """Where it may run; the referee runs on the first."""
    others: tuple[int, ...]
    """Where everything else belongs: zygotes, waiting runners, the end of a dead one."""
    threads: int
    """How many of its threads may be at work at once."""
    memory: int
    """Bytes it may hold beyond the slots."""
    load_timeout: float
    """Seconds for loading, and for each answer about workspace."""


@dataclass(frozen=True, slots=True)
class Call:
    """One timed call. All figures are the referee's own."""

    seconds: float
    """From `go` to `done`, less the empty call; never under `uncertainty`."""
    wall_seconds: float
    """From `go` to `done` as the clock showed it."""
    uncertainty: float
    """By how much `seconds` may be too long, for the empty call is not always equally long (`fitness.null_call`)."""
    cpu_seconds: float
    """CPU time of all the runner's threads from `go` until it was frozen."""
    preempted: bool
    """Whether somebody else had the measuring core for a noticeable part of the call: measure again."""
    waited_seconds: float
    """Time the runner's main thread or the referee was ready to run and had no core."""
    framework_seconds: float
    """Wall time of the whole method beyond the call itself: thaw, freeze, census, clocks."""
