"""The way of one candidate: build, cell, bar, measurement, the archive's answer, a duel where it cannot tell, the lineage.

Trips overlap wherever they await the executor. What changes the state and the lineage happens between two awaits, in the
same order in both, so that replaying the lineage gives the same state.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import TypeVar

from archive.base import AddResult, Elite
from archive.candidate import AddStatus, Candidate, Cell, Draft, Proposal
from archive.evaluation import Evaluation, Outcome
from archive.events import Event
from archive.lineage import Lineage
from evo.attempts import Persistent, insist
from evo.executors.base import Executor
from evo.state import State
from fitness.protocol import Bar, Duel, Prepared

__all__ = ["Trips", "Turn", "passed"]

T = TypeVar("T", Prepared, Evaluation, Duel)

Turn = asyncio.Event | None
"""Set when the trip before is finished; None when nothing has to be waited for."""


class Trips:
    """Makes trips on behalf of the engine.

    Args:
        watch: hears a line for the reader when something happened.
    """

    def __init__(self, state: State, lineage: Lineage, executor: Executor, watch: Callable[[str], None]) -> None:
        self._state = state
        self._lineage = lineage
        self._executor = executor
        self._watch = watch
        self.troubles = 0
        """Trips in a row that the evaluator itself could not make."""
        self.trouble: Persistent | None = None
        """What the last of them said."""
        self.halted = False
        """Set to drop every trip under way: its proposal stays in flight in the lineage."""
        self._settling: weakref.WeakValueDictionary[Cell, asyncio.Lock] = weakref.WeakValueDictionary()
        """By cell: held while it is fought for. Contests of different cells go on side by side, on as many devices as there are."""
        self._programs: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        self._holders: dict[Cell, tuple[int, Prepared]] = {}

    async def candidate(self, proposal: Proposal, draft: Draft, earlier: int | None, turn: Turn) -> None:
        """From a draft to a finished candidate.

        Args:
            earlier: the candidate whose kernel this draft repeats; it is then not evaluated.
            turn: what comes after the build waits for it.
        """
        kernel = draft.kernel
        if kernel is None or earlier is not None:
            await passed(turn)
            self._commit(Candidate(proposal, kernel, None, duplicate_of=earlier, notes=draft.notes))
            return
        try:
            prepared = await self._insist("build", lambda: self._executor.prepare(kernel))
            await passed(turn)
            if prepared.failed is not None:
                self._commit(Candidate(proposal, kernel, prepared.failed, notes=draft.notes))
            else:
                async with self._program(prepared.artifact):
                    await self._measured(proposal, draft, prepared)
            self.troubles = 0
        except Persistent as trouble:
            await passed(turn)
            evaluation = Evaluation(kernel.id, Outcome.INFRASTRUCTURE_ERROR, (trouble.diagnostic,))
            self._commit(Candidate(proposal, kernel, evaluation, notes=draft.notes))
            self._endure(trouble)

    async def remeasure(self, elite: Elite, turn: Turn) -> None:
        """Another sitting for an elite, whose samples join those it holds."""
        try:
            prepared = await self._prepared(elite)
            await passed(turn)
            evaluation = await self._insist("time", lambda: self._executor.measure(prepared))
            async with self._contested(elite.candidate.cell):
                change = self._state.remeasure(elite.number, evaluation)
                self._lineage.event(Event.remeasured(elite.number, change, evaluation))
            if change is not None and change.demoted:
                self._watch(f"candidate {elite.number} was re-measured and lost its cell")
            self.troubles = 0
        except Persistent as trouble:
            await passed(turn)
            self._endure(trouble)

    async def _measured(self, proposal: Proposal, draft: Draft, prepared: Prepared) -> None:
        """Measures a built kernel, or takes over what its twin was found to be, and commits the candidate."""
        cell = self._state.archive.cell_of(prepared.profile, prepared.kernel.values)
        twin = self._state.twin(prepared.artifact) if prepared.artifact else None
        if twin is None or twin.evaluation is None:
            evaluation = await self._insist("time", lambda: self._executor.measure(prepared, self._bar(cell)))
        else:
            evaluation = _taken_over(twin.evaluation, prepared)
        candidate = Candidate(proposal, prepared.kernel, evaluation, cell, notes=draft.notes)
        if evaluation.ok and (twin is None or twin.cell != cell):
            await self._offer(candidate, prepared)
        else:
            self._commit(candidate)

    def _commit(self, candidate: Candidate, event: Event | None = None) -> None:
        self._lineage.commit(candidate, event)
        self._state.finish(candidate)

    async def _offer(self, candidate: Candidate, prepared: Prepared) -> None:
        """Puts a candidate before the archive, and fights the duel when the archive cannot tell who is faster."""
        async with self._contested(candidate.cell):
            archive = self._state.archive
            best = archive.best
            result = self._state.offer(candidate)
            candidate = replace(candidate, cell=result.cell, status=result.status)
            self._commit(candidate, Event.offered(candidate.number, result))
            if result.status is AddStatus.CONTEST:
                await self._duel(candidate, prepared, result)
            if result.cell is not None and (elite := archive.elite(result.cell)) is not None and elite.number == candidate.number:
                self._holders[result.cell] = candidate.number, prepared
            now = archive.best
            if now is not best and now is not None and now.number == candidate.number:
                self._watch(f"candidate {candidate.number} ({candidate.proposal.operator}) is the best: {now.speedup:.3g}x")

    async def _duel(self, challenger: Candidate, prepared: Prepared, result: AddResult) -> None:
        """Settles a contest. One that cannot be fought, or need not be because its sides are one program, leaves the incumbent."""
        incumbent, cell = result.incumbent, result.cell
        assert incumbent is not None and cell is not None and challenger.evaluation is not None
        winner, evaluations = incumbent.candidate, dict[int, Evaluation]()
        if not challenger.evaluation.reused:
            try:
                other = await self._prepared(incumbent)
                duel = await self._insist("time", lambda: self._executor.duel(prepared, other))
            except Persistent as trouble:
                self._endure(trouble)
            else:
                winner = challenger if duel.advantage > 0 else incumbent.candidate
                evaluations = {challenger.number: duel.challenger, incumbent.number: duel.incumbent}
        change = self._state.settle(cell, winner, evaluations)
        self._lineage.event(Event.settled(winner.number, change, evaluations))

    async def _prepared(self, elite: Elite) -> Prepared:
        """An elite ready to be measured again: as it was built, else built once more (from the cache)."""
        number, prepared = self._holders.get(elite.candidate.cell or (), (None, None))
        if prepared is not None and number == elite.number:
            return prepared
        again = await self._insist("build", lambda: self._executor.prepare(elite.kernel))
        if again.failed is not None:
            raise Persistent(again.failed.diagnostics[0])
        return again

    def _bar(self, cell: Cell | None) -> Bar | None:
        """What a challenger of this cell has to beat; None where measurements are exact and every one is kept."""
        if cell is None or self._executor.deterministic:
            return None
        elite = self._state.archive.elite(cell)
        return None if elite is None else Bar(elite.kernel.id, elite.objective, elite.interval, elite.samples)

    def _contested(self, cell: Cell | None) -> AbstractAsyncContextManager[object]:
        """Held while a cell's elite may change, so that nobody challenges one that is fighting already."""
        if cell is None:
            return nullcontext()
        lock = self._settling.get(cell)
        if lock is None:
            lock = self._settling[cell] = asyncio.Lock()
        return lock

    def _program(self, artifact: str) -> AbstractAsyncContextManager[object]:
        """Held while a program is measured, so that a twin in flight waits for the answer instead of measuring it too."""
        if not artifact:
            return nullcontext()
        lock = self._programs.get(artifact)
        if lock is None:
            lock = self._programs[artifact] = asyncio.Lock()
        return lock

    async def _insist(self, stage: str, call: Callable[[], Awaitable[T]]) -> T:
        answer = await insist(stage, call, pause=not self._executor.inline)
        if self.halted and not self._executor.inline:
            # Ctrl-C at a terminal reaches compilers too: what they say from then on is not the kernel's doing.
            raise asyncio.CancelledError
        return answer

    def _endure(self, trouble: Persistent) -> None:
        self.troubles += 1
        self.trouble = trouble
        self._watch(str(trouble).partition("\n")[0])


async def passed(turn: Turn) -> None:
    """Waits until a trip's turn has come."""
    if turn is not None:
        await turn.wait()


def _taken_over(known: Evaluation, prepared: Prepared) -> Evaluation:
    """The evaluation of an identical program, as this kernel's: its own static profile and build cost, nothing measured anew."""
    return replace(
        known,
        kernel_id=prepared.kernel.id,
        profile={**known.profile, **prepared.profile},
        cost=prepared.cost,
        reused=known.reused or known.kernel_id,
    )
