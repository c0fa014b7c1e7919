"""Contests: side by side in different cells, one after the other in one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from archive.base import AddResult
from archive.candidate import AddStatus, Candidate, Proposal
from archive.elite import Change
from archive.evaluation import Evaluation, Outcome
from archive.kernel import Kernel
from evo.trip import Trips
from fitness.protocol import Duel, Prepared


class Contested:
    """A state whose every offer is a contest, and an executor that counts the duels that are fought at once."""

    inline = False
    deterministic = False

    def __init__(self) -> None:
        self.archive = SimpleNamespace(best=None, elite=lambda cell: None)
        self.fighting: dict[Any, int] = {}
        self.most_at_once = 0
        self.log: list[str] = []

    def offer(self, candidate: Candidate) -> AddResult:
        self.log.append(f"offer {candidate.number}")
        incumbent: Any = SimpleNamespace(candidate=candidate, number=99, kernel=candidate.kernel)
        return AddResult(AddStatus.CONTEST, candidate.cell, incumbent, incumbent)

    def settle(self, cell: Any, winner: Candidate, evaluations: Any) -> Change:
        self.log.append(f"settle {winner.number}")
        return Change(cell, None, None, ())

    def finish(self, candidate: Candidate) -> None: ...

    def commit(self, candidate: Candidate, event: Any) -> None: ...

    def event(self, event: Any) -> None: ...

    async def prepare(self, kernel: Kernel) -> Prepared:
        return Prepared(kernel)

    async def duel(self, challenger: Prepared, incumbent: Prepared) -> Duel:
        self.fighting[challenger.artifact] = self.fighting.get(challenger.artifact, 0) + 1
        self.most_at_once = max(self.most_at_once, sum(self.fighting.values()))
        await asyncio.sleep(0.05)
        self.fighting[challenger.artifact] -= 1
        evaluation = Evaluation(challenger.kernel.id, Outcome.OK)
        return Duel(1.0, (0.5, 1.5), evaluation, evaluation)


def fought(cells: list[tuple[int, ...]]) -> Contested:
    contested: Any = Contested()
    trips = Trips(contested, contested, contested, lambda line: None)

    async def all_at_once() -> None:
        offers = []
        for number, cell in enumerate(cells):
            kernel = Kernel("python", f"A = {number}\n")
            candidate = Candidate(Proposal(number, "seed"), kernel, Evaluation(kernel.id, Outcome.OK), cell)
            offers.append(trips._offer(candidate, Prepared(kernel, {}, str(number))))
        await asyncio.gather(*offers)

    asyncio.run(all_at_once())
    return contested  # type: ignore[no-any-return]


@pytest.mark.parametrize(("cells", "at_once"), [([(0,), (1,), (2,)], 3), ([(0,), (0,), (0,)], 1), ([(0,), (1,), (0,)], 2)])
def test_contests_of_different_cells_are_fought_side_by_side_and_those_of_one_in_turn(cells: list[tuple[int, ...]], at_once: int) -> None:
    assert fought(cells).most_at_once == at_once


def test_nobody_challenges_a_cell_that_is_being_fought_for() -> None:
    assert fought([(0,), (0,)]).log == ["offer 0", "settle 0", "offer 1", "settle 1"]
