"""The engine: proposals in, evaluated candidates out, steady state, every build slot and the device kept busy.

Each candidate makes a trip (`evo.trip`). Trips overlap: compiles run beside timing, results come in any order. An inline
evaluator makes the same trips, one after the other, without an event loop.

With `in_order`, a trip passes the point after its build only when its predecessor is finished, and a new proposal is asked
for right after each finished one: what a strategy sees at proposal n is then the same in every run.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
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
from evo.trip import Trips, Turn, passed
from operators.base import Context, Operator
from operators.llm.base import ModelOperator
from operators.llm.studio import Studio

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
        studio: what model operators work with; None in a run without models.
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
        studio: Studio | None = None,
    ) -> None:
        self.settings = settings
        self.state = state
        self.lineage = lineage
        self.executor = executor
        self.in_flight = 0
        self.thinking = 0
        """Proposals in flight that wait for a model."""
        self.trips = Trips(state, lineage, executor, watch)
        self._operators = operators
        self._seeds = seeds
        unfinished = list(unfinished)
        self._asked = 1 + max([-1, *(c.number for c in state.view.candidates), *(proposal.number for proposal, _ in unfinished)])
        # What people were asked waits for their answers, not for this process.
        self._queue = deque(one for one in unfinished if one[1] is not None or one[0].operator != "asked")
        self._studio = studio
        self._inline = executor.inline and studio is None
        self._taking_answers = False
        self._watch = watch
        self._stopped: StopReason | None = None
        self._remeasuring = state.remeasured
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed: BaseException | None = None
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
        if self._inline:
            return await self._one_by_one()
        try:
            while True:
                self._refill()
                if self._failed is not None:
                    raise self._failed
                if not self._tasks:
                    reason = self._reason()
                    assert reason is not None  # nothing in flight and nothing to start only happens at an end
                    return reason
                await asyncio.wait(self._tasks, timeout=TICK, return_when=asyncio.FIRST_COMPLETED)
                if self._failed is not None:
                    raise self._failed
                self._tick()
                reason = self._reason()
                if reason is not None and reason not in (StopReason.EXHAUSTED, StopReason.STALL, StopReason.DOLLARS):
                    return reason  # what is in flight is dropped; after a stall it may bring the improvement, and answers are paid for
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
        while self._room() and self._reason() is None and (trip := self._next()) is not None:
            task = asyncio.ensure_future(trip)
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A trip is over. Its error, if it has one (the disk is full, a defect), ends the search; one that was given up has none."""
        self._tasks.discard(task)
        if not task.cancelled():
            error = task.exception()  # asked of every one: asyncio prints a traceback for each error that nobody looked at
            self._failed = self._failed or error

    def _room(self) -> bool:
        """Whether another trip may start: models have slots of their own beside the executor's, as many as their limits allow."""
        window, desk = self.executor.window, None if self._studio is None else self._studio.desk
        if self._taking_answers:
            return False
        if desk is None:
            return self.in_flight < window
        if self.settings.in_order:  # what is asked for may then depend only on what is finished
            return self.in_flight < window + desk.slots
        return self.in_flight - self.thinking < window and self.thinking < desk.slots + window

    def _reason(self) -> StopReason | None:
        if self._stopped is not None:
            return self._stopped
        if self.trips.troubles >= MOST_TROUBLES:
            return StopReason.INFRASTRUCTURE
        if self._studio is not None and (desk := self._studio.desk) is not None:
            if desk.broke:
                return StopReason.DOLLARS
            if desk.out_of_order:
                return StopReason.MODELS
        return self.state.budget.reason()

    def _tick(self) -> None:
        self._read_clock()
        self._watch("")

    def _read_clock(self) -> None:
        if not self._seeded:
            self._seeded = self.state.finished >= len(self._seeds)
            self._setup = self.lineage.seconds
        spent = self.state.budget.spent
        spent.seconds = self.lineage.seconds - self._setup
        if self._studio is not None and self._studio.desk is not None:
            spent.dollars = max(spent.dollars, self._studio.desk.ledger.spent)

    # ── what to start next ──

    def _next(self) -> Coroutine[Any, Any, None] | None:
        """The next trip, with its proposal and draft stored; None when it has to wait for what is in flight."""
        if self._queue:
            proposal, kernel = self._queue.popleft()
            if kernel is None:
                return self._launch(proposal)
            return self._start(proposal, Draft(kernel, notes=self.lineage.notes(proposal.number)))
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
        parents = self._operators(move.operator).partners(move.parents, self.state.view)
        return self._propose(Proposal(self._asked, move.operator, parents, move.goal))

    def _propose(self, proposal: Proposal) -> Coroutine[Any, Any, None]:
        self.lineage.propose(proposal)
        self._asked += 1
        return self._launch(proposal)

    def _launch(self, proposal: Proposal) -> Coroutine[Any, Any, None]:
        """The trip of a stored proposal. What costs no money is drafted at once; a model is asked on the way."""
        if proposal.operator == "seed":
            kernel = self._seeds[proposal.number]
            notes = {"origin": kernel.file} if kernel.file.startswith("seeds/") else {}
            return self._start(proposal, self._stored(proposal, Draft(kernel, notes=notes)))
        operator = self._operators(proposal.operator)
        before = self._last
        rng = generator(self.settings.seed, "propose", proposal.number)
        context = Context(self.state.view, rng, self._seeds, self._studio, lambda: passed(before))
        if not isinstance(operator, ModelOperator):
            return self._start(proposal, self._stored(proposal, operator.propose(proposal, context)))
        answer = operator.begin(proposal, context)
        self.thinking += 1
        return self._tracked(lambda turn: self._think(proposal, answer, turn))

    async def _think(self, proposal: Proposal, answer: Callable[[], Awaitable[Draft]], turn: Turn) -> None:
        """Waits for a model, then goes the way of every draft."""
        try:
            draft = await answer()
        finally:
            self.thinking -= 1
        await passed(turn)
        draft = self._stored(proposal, draft)
        earlier = None if draft.kernel is None else self.state.view.claim(draft.kernel.id, proposal.number)
        if not self.settings.in_order:
            self._refill()
        await self.trips.candidate(proposal, draft, earlier, turn)

    async def evaluate(self, batch: Sequence[tuple[Proposal, Draft]]) -> None:
        """Takes drafts that came from elsewhere (seeds, people's answers) through their trips; asks the strategy for nothing.

        Proposals that are not in flight in the lineage are stored first.
        """
        self._taking_answers = True
        waiting = {proposal.number for proposal, _ in self.lineage.in_flight()}
        for proposal, draft in batch:
            self._asked = max(self._asked, proposal.number + 1)
            if proposal.number not in waiting:
                self.lineage.propose(proposal)
            await self._start(proposal, self._stored(proposal, draft))

    def take_number(self) -> int:
        """The number of a new proposal."""
        self._asked += 1
        return self._asked - 1

    def _stored(self, proposal: Proposal, draft: Draft) -> Draft:
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
        mine, before = (asyncio.Event(), self._last) if self.settings.in_order and not self._inline else (None, None)
        self._last = mine

        async def tracked() -> None:
            await trip(before)
            self.in_flight -= 1
            self._tick()
            if not self._inline:
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
