"""A runner guarded: waiting for it, watching it, freezing it, and saying how it ended. What is asked of it is in `fitness.custody`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from collections.abc import Iterator
from typing import NoReturn

from fitness import verdicts
from fitness.call import Terms
from fitness.channel import Channel, Closed, Heard, Tampered
from fitness.failure import RunnerFailure
from fitness.fingerprint import Vigil
from fitness.nursery import Nursery
from fitness.possession import PRIORITY, pinned
from fitness.process import Died, Process, StillRunning, readable
from fitness.runner import ROOM
from fitness.sandbox.seccomp import LOADING
from fitness.slots import Slot

__all__ = ["Guard"]

TICK = 0.010
"""Seconds between two looks at the memory of a running program."""
OFF_CLOCK = 100_000
"""Nanoseconds of CPU time a runner may use beyond wall × threads between `go` and frozen (EVALUATION.md, *Time*)."""
AFTER_DONE = 100_000
"""Nanoseconds of CPU time it may use between `done` and frozen, and while it is frozen. More is a strike, two above GROSS, and spoils the
call; it is refused when there are more strikes than STRIKES and one in STRIKE_EVERY calls. What a hypervisor steals while the stop is
processed looks the same, comes in bursts, and was up to 7 ms at once; so no single reading condemns. Whoever works off the clock more
seldom than that gains nothing by it: the calls it spoils are repeated, and the median of the others decides."""
GROSS = 1_000_000
STRIKES = 3
STRIKE_EVERY = 5
FLOOD = 30 << 10
"""Bytes printed above which a kernel is refused."""
_PR_SET_TIMERSLACK = 29


class Guard:
    """One runner and what holds it. Raises RunnerFailure; the process is dead then."""

    def __init__(self, nursery: Nursery, terms: Terms) -> None:
        self._nursery = nursery
        self._terms = terms
        seat = nursery.take()
        try:
            self.process = Process(seat.pid)
        except Died:
            seat.close()
            raise verdicts.lost() from None
        self._number = seat.number
        self._channel = Channel(seat, self.process.pidfd)
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, seat.pid, PRIORITY)
        with contextlib.suppress(OSError), open(f"/proc/{seat.pid}/oom_score_adj", "wb") as score:
            score.write(b"1000")  # whoever uses up the memory, a runner goes first: before its zygote, and before us
        self._attached: dict[int, tuple[int, Slot]] = {}
        self._space = self._mapped = self._moats = self._largest = 0
        self._places: list[verdicts.Place] = []
        self._loading = True
        self._ours = False
        """A baseline: the problem author's own, which nobody has to catch writing late."""
        self._latest: Slot | None = None
        """The slot of the last call; those of earlier ones have been looked at since."""
        self._vigil = Vigil()
        self._has_workspace = False
        self._frozen = False
        self._stage = "load"
        self._cpu_at_rest = self._strikes = self._calls = 0
        ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
        self._own_schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        self.closed = False

    @contextlib.contextmanager
    def _judged(self, stage: str) -> Iterator[None]:
        """Keeps the calling thread on the measuring core; turns what happens there into the runner's verdict, and ends the runner."""
        self._stage = stage
        try:
            with pinned(self._terms.cores[0]):
                yield
        except RunnerFailure:
            self._end()
            raise
        except Tampered as found:
            self._end()
            raise verdicts.tampered(stage, str(found)) from None
        except StillRunning:
            self._end()
            raise verdicts.would_not_freeze(stage) from None
        except (Died, Closed):
            self._raise_ended()

    # -- findings -------------------------------------------------------------------------------------------------------------

    def _must_be_silent(self, when: str) -> None:
        heard = self._channel.hear(0)
        if heard is not Heard.NOTHING:
            self._unexpected(heard, when)

    def _strike(self, when: str, cpu: int) -> bool:
        """Whether CPU time was used where there should be none. Raises RunnerFailure when it is too much or too often."""
        if cpu <= AFTER_DONE:
            return False
        self._strikes += 2 if cpu > GROSS else 1
        if self._strikes > STRIKES + self._calls // STRIKE_EVERY:
            raise verdicts.off_clock(self._stage, when, cpu, AFTER_DONE, self._terms.threads)
        return True

    def _check_work(self, wall: int, cpu: int) -> None:
        """No work off the clock, no threads left at work, no flood of text."""
        terms, stage = self._terms, self._stage
        if cpu > wall * terms.threads + OFF_CLOCK:
            raise verdicts.off_clock(stage, "in the call", cpu, wall * terms.threads + OFF_CLOCK, terms.threads)
        _, threads = self.process.state()
        if threads > 1:
            busy = self.process.busy_threads() if threads <= terms.threads else threads - terms.threads
            if busy:
                raise verdicts.threads_left(stage, busy, terms.threads)
        if self._channel.printed() > FLOOD:
            raise verdicts.flooded(stage, FLOOD, self._channel.said())

    # -- waiting --------------------------------------------------------------------------------------------------------------

    def _wait(self, wanted: Heard, limit: float, what: str) -> None:
        """Returns as soon as the wanted sign is heard. Everything else that can happen raises."""
        heard = self._channel.hear(TICK * 1000)
        if heard is wanted:
            return
        deadline = time.monotonic() + limit - TICK
        while heard is not wanted:
            if heard is Heard.ATTEMPT:
                self._judge_attempt()
            elif heard is not Heard.NOTHING:
                self._unexpected(heard, f"during the {what}")
            if time.monotonic() > deadline:
                raise verdicts.timed_out(self._stage, what, limit)
            self._watch()
            heard = self._channel.hear(TICK * 1000)

    def _unexpected(self, heard: Heard, when: str) -> NoReturn:
        if heard is Heard.ATTEMPT:
            self._judge_attempt()
        if heard is Heard.ENDED:
            raise Died
        if heard is Heard.CLOSED:
            raise Closed
        raise Tampered(f"an unasked word {when}")

    def _judge_attempt(self) -> None:
        """A system call that the filter stopped: part of loading, or forbidden."""
        listener = self._channel.listener
        attempt = None if listener is None else listener.receive()
        if listener is None or attempt is None:
            return
        looks = self._loading and attempt.name in LOADING
        maps_slot = self._stage == "load" and attempt.name == "mmap" and attempt.arguments[1] <= self._largest + ROOM
        if not looks and not maps_slot:
            raise verdicts.forbidden(self._stage, attempt.name, attempt.arguments, self._terms.memory)
        listener.let_through(attempt)

    def _watch(self) -> None:
        """The watchdog's look at a running program: resident memory and threads."""
        try:
            memory = self.process.memory()
        except Died:
            return
        used = memory.private + max(0, memory.shared - self._mapped)
        if used > self._terms.memory:
            raise verdicts.out_of_memory(self._stage, used, self._terms.memory, "held")
        if memory.threads > 64 + 4 * self._terms.threads:
            raise verdicts.thread_bomb(self._stage, memory.threads, self._terms.threads)

    def _own_wait(self) -> int:
        return int(os.pread(self._own_schedstat, 128, 0).split()[1])

    # -- freezing and ending --------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        self.process.settle(same_core=len(self._terms.cores) == 1)

    def _rest(self) -> None:
        self.process.stop()
        self._settle()
        self._cpu_at_rest = self.process.cpu()
        self._frozen = True

    def _raise_ended(self) -> NoReturn:
        """The channel has closed or the process has ended. One that ends closes its descriptors first, and may be held up in between."""
        with contextlib.suppress(Died):
            self.process.thaw()
        if not readable(self.process.pidfd, 1.0):
            self._end()
            raise verdicts.tampered(self._stage, "its channel closed") from None
        ending = self._nursery.ending(self._number)
        raise verdicts.ended(self._stage, ending, self._terms.memory, self._mapped, self._channel.said(), self._places) from None

    def _end(self) -> None:
        self.process.kill()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._frozen:
            # Stopped as it is, it executes nothing any more once SIGKILL is sent; its memory is taken down elsewhere, in its own time.
            with contextlib.suppress(OSError):
                os.sched_setaffinity(self.process.pid, self._terms.others)
            self.process.kill(patience=0.0)
        else:
            self._end()
        self.process.close()
        self._channel.close()
        os.close(self._own_schedstat)
        self._attached.clear()
