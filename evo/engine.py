"""The engine: proposals in, evaluated candidates out, steady state, every build slot and the device kept busy.

Each candidate makes a trip (`evo.trip`). Trips overlap: compiles run beside timing, results come in any order. An inline
evaluator makes the same trips, one after the other, without an event loop.

With `in_order`, a trip passes the point after its build only when its predecessor is finished, and a new proposal is asked
for right after each finished one: what a strategy sees at proposal n is then the same in every run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from archive.base import Elite
from archive.candidate import Draft, Proposal
from archive.kernel import Kernel
from archive.lineage import Lineage
from evo.budget import StopReason
from evo.executors.base import Executor
from evo.randomness import generator
from evo.seeds import check_seeds
from evo.state import State
from evo.trip import Trips, Turn
from operators.base import Context, Operator

__all__ = ["Engine", "EngineSettings"]

TICK = 0.2
"""Seconds between two looks at the clock while nothing finishes."""
MOST_TROUBLES = 3
"""Candidates in a row that the evaluator itself could not evaluate, after which the run stops."""
ENOUGH_SITTINGS = 8
"""Sittings after which re-measuring an elite again teaches little."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What the engine takes from the config."""

    seed: int
    in_order: bool
    """Finish candidates in proposal order."""
    remeasure: float
    """Share of evaluations that re-measures elites."""


class Engine:
    """Runs trips until the budget, or `stop`, ends the run.

    Args:
        state: what the run knows, after replay.
        lineage: open for writing; only this class writes to it during a search.
        executor: started.
        operators: looks an operator up by name.
        seeds: the kernels the search starts from.
        unfinished: proposals of an earlier session that have no candidate yet, with their drafted kernels.
        setup: seconds of the lineage's clock that went into getting ready and are no search; while seeds are evaluated for the
            first time, the evaluator makes its references and ceilings, so that search time begins after them.
        watch: called after every change and at every tick, with a line for the reader or "".
    """

    def __init__(
        self,
        settings: EngineSettings,
        state: State,
        lineage: Lineage,
        executor: Executor,
        *,
        operators: Callable[[str], Operator],
        seeds: Sequence[Kernel],
        unfinished: Iterable[tuple[Proposal, Kernel | None]] = (),
        setup: float = 0.0,
        watch: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.settings = settings
        self.state = state
        self.lineage = lineage
        self.executor = executor
        self.in_flight = 0
        self.trips = Trips(state, lineage, executor, watch)
        self._operators = operators
        self._seeds = seeds
        self._queue = deque(unfinished)
        self._asked = state.finished + len(self._queue)
        self._watch = watch
        self._stopped: StopReason | None = None
        self._remeasuring = state.remeasured
        self._tasks: set[asyncio.Task[None]] = set()
        self._last: Turn = None
        self._setup = setup
        self._seeded = state.finished >= len(seeds)
        self._read_clock()

    def stop(self, reason: StopReason) -> None:
        """Ends the search soon: nothing new is asked for, what is in flight stays in the lineage as it is. Safe in a signal handler."""
        self._stopped = self._stopped or reason
        self.trips.halted = True

    async def search(self) -> StopReason:
        """Runs until something ends it. Returns what did."""
        if self.executor.inline:
            return await self._one_by_one()
        try:
            while True:
                self._refill()
                if not self._tasks:
                    reason = self._reason()
                    assert reason is not None  # nothing in flight and nothing to start only happens at an end
                    return reason
                done, _ = await asyncio.wait(self._tasks, timeout=TICK, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if not task.cancelled():  # a halted trip gives itself up
                        task.result()
                self._tick()
                reason = self._reason()
                if reason is not None and reason not in (StopReason.EXHAUSTED, StopReason.STALL):
                    return reason  # what is in flight is dropped; after a stall it may still bring the improvement
        finally:
            unfinished = list(self._tasks)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
            self.in_flight = 0

    async def _one_by_one(self) -> StopReason:
        while (reason := self._reason()) is None:
            trip = self._next()
            assert trip is not None  # nothing is in flight, so nothing has to be waited for
            await trip
        return reason

    def _refill(self) -> None:
        """Starts trips until the window is full or nothing may start now."""
        while self.in_flight < self.executor.window and self._reason() is None and (trip := self._next()) is not None:
            task = asyncio.ensure_future(trip)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _reason(self) -> StopReason | None:
        if self._stopped is not None:
            return self._stopped
        if self.trips.troubles >= MOST_TROUBLES:
            return StopReason.INFRASTRUCTURE
        return self.state.budget.reason()

    def _tick(self) -> None:
        self._read_clock()
        self._watch("")

    def _read_clock(self) -> None:
        if not self._seeded:
            self._seeded = self.state.finished >= len(self._seeds)
            self._setup = self.lineage.seconds
        self.state.budget.spent.seconds = self.lineage.seconds - self._setup

    # ── what to start next ──

    def _next(self) -> Coroutine[Any, Any, None] | None:
        """The next trip, with its proposal and draft stored; None when it has to wait for what is in flight."""
        if self._queue:
            proposal, kernel = self._queue.popleft()
            draft = self._draft(proposal) if kernel is None else Draft(kernel, notes=self.lineage.notes(proposal.number))
            return self._start(proposal, draft)
        if self._asked < len(self._seeds):
            return self._propose(Proposal(self._asked, "seed"))
        budget = self.state.budget
        if self.state.finished < len(self._seeds) or not budget.allows(self.in_flight):
            return None
        if self.state.finished == len(self._seeds):
            check_seeds(self.state.view.seeds)
        archive = self.state.archive
        if not self.executor.deterministic and len(archive) and self._remeasuring < self.settings.remeasure * budget.spent.evaluations:
            elite = self._suspect()
            return self._tracked(lambda turn: self.trips.remeasure(elite, turn))
        move = self.state.strategy.ask(self.state.view, generator(self.settings.seed, "ask", self._asked))
        return self._propose(Proposal(self._asked, move.operator, move.parents, move.goal))

    def _propose(self, proposal: Proposal) -> Coroutine[Any, Any, None]:
        self.lineage.propose(proposal)
        self._asked += 1
        return self._start(proposal, self._draft(proposal))

    def _draft(self, proposal: Proposal) -> Draft:
        if proposal.operator == "seed":
            draft = Draft(self._seeds[proposal.number])
        else:
            rng = generator(self.settings.seed, "propose", proposal.number)
            draft = self._operators(proposal.operator).propose(proposal, Context(self.state.view, rng, self._seeds))
        if draft.reason:
            draft = replace(draft, notes={**draft.notes, "reason": draft.reason})
        self.lineage.draft(proposal.number, draft.kernel, draft.notes)
        return draft

    def _start(self, proposal: Proposal, draft: Draft) -> Coroutine[Any, Any, None]:
        """Claims the kernel now, in proposal order, so that of two alike it is always the earlier that is evaluated."""
        earlier = None if draft.kernel is None else self.state.view.claim(draft.kernel.id, proposal.number)
        return self._tracked(lambda turn: self.trips.candidate(proposal, draft, earlier, turn))

    def _tracked(self, trip: Callable[[Turn], Coroutine[Any, Any, None]]) -> Coroutine[Any, Any, None]:
        """A trip with its place in the order."""
        self.in_flight += 1
        mine, before = (asyncio.Event(), self._last) if self.settings.in_order and not self.executor.inline else (None, None)
        self._last = mine

        async def tracked() -> None:
            await trip(before)
            self.in_flight -= 1
            self._tick()
            if not self.executor.inline:
                self._refill()  # before the successor may finish: what it will see does not depend on time
            if mine is not None:
                mine.set()

        return tracked()

    def _suspect(self) -> Elite:
        """The elite to measure again: the best in every other case, for luck gathers at the top, else the less measured of two."""
        self._remeasuring += 1
        rng = generator(self.settings.seed, "remeasure", self._remeasuring)
        best, elites = self.state.archive.best, self.state.archive.elites()
        if rng.random() < 0.5 and best is not None and best.sittings < ENOUGH_SITTINGS:
            return best
        return min(rng.choice(elites), rng.choice(elites), key=lambda elite: elite.sittings)
