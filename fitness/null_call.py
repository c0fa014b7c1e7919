"""The empty call: what the protocol itself takes from `go` to `done`, and how surely that is known.

It varies with the state of the core (clock, wake-up from idle) by more than a tiny kernel takes, and from one minute to the next. So it
is measured again and again, beside the calls it matters for, and what is subtracted is the little that it always costs: a kernel's time
is never made shorter by a moment in which the protocol was slow. The rest of its spread is the uncertainty of every time, and the least
time that is ever reported: of a kernel faster than that nobody can tell how fast it is.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from fitness.failure import RunnerFailure

__all__ = ["NO_PROTOCOL", "NullCall", "Protocol", "is_tiny"]

KEPT = 24
"""Calls that the figures are of."""
BURST = 3
"""Calls made at once: enough to set the lower decile of KEPT, so that the figure follows at once when the protocol gets faster."""
WARM_UP = 3
EVERY = 20e-3
"""Seconds of wall time between two bursts beside tiny calls, of about half a millisecond each."""
TINY = 20
"""Times the empty call's length up to which its spread matters (5 %)."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """What a call's wall time owes to the protocol. Seconds."""

    seconds: float
    """Lower decile of the empty call: what is subtracted."""
    uncertainty: float
    """From there to its median: what any one time may be too long by, and the least time reported."""

    def net(self, wall: float) -> float:
        """A call's own time by its wall time; positive."""
        return max(wall - self.seconds, self.uncertainty)


NO_PROTOCOL = Protocol(0.0, 1e-9)


def is_tiny(wall: float, protocol: Protocol) -> bool:
    """Whether the protocol's spread matters for a call of this wall time."""
    return wall < TINY * protocol.seconds


class NullCall:
    """The times of a standing runner of the empty program.

    call: makes one empty call and returns its wall seconds; a `RunnerFailure` of it is the constructor's too.
    """

    def __init__(self, call: Callable[[], float], *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._call = call
        self._clock = clock
        self.alive = True
        """False once its runner has died (with its zygote); the figures stay what they were."""
        self._walls: deque[float] = deque(maxlen=KEPT)
        for _ in range(WARM_UP):
            call()
        self._sample(KEPT)

    def _sample(self, count: int) -> None:
        self._walls.extend([self._call() for _ in range(count)])
        self._last = self._clock()
        walls = sorted(self._walls)
        lowest = walls[len(walls) // 10]
        resolution = time.get_clock_info("perf_counter").resolution
        self.protocol = Protocol(lowest, max(walls[len(walls) // 2] - lowest, resolution, 1e-9))

    def beside(self, wall: float) -> Protocol:
        """What the protocol cost in a call of this wall time that has just been made. A call shorter than the empty one shows that
        what is known of that is out of date."""
        due = is_tiny(wall, self.protocol) and (wall < self.protocol.seconds or self._clock() - self._last > EVERY)
        if self.alive and due:
            try:
                self._sample(BURST)
            except RunnerFailure:
                self.alive = False
        return self.protocol
