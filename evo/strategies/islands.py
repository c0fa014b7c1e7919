"""Islands: archives that search apart and send each other their best.

R. Tanese, "Distributed genetic algorithms", ICGA 1989; as archives of programs: B. Romera-Paredes et al., "Mathematical
discoveries from program search with large language models" (FunSearch), Nature 625, 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Annotated

from pydantic import Field

from archive.candidate import Candidate, Cell
from evo.strategies.base import Move, Strategy
from evo.strategies.random import sample_of_a_seed
from evo.strategies.variation import DEFAULT_OPERATORS, Scored, Variation, better_of, scored
from operators.base import View

__all__ = ["Islands"]

Count = Annotated[int, Field(ge=1)]


class Island:
    """The best of each cell."""

    def __init__(self) -> None:
        self.cells: dict[Cell | None, Scored] = {}
        self.members: list[Scored] = []
        self.evaluated = 0

    def take(self, found: Scored, cell: Cell | None) -> None:
        held = self.cells.get(cell)
        if held is None or found[0] > held[0]:
            self.cells[cell] = found
            self.members = list(self.cells.values())


class Islands(Strategy):
    """Children belong where their first parent lives; a kernel that came over lives on both.

    Args:
        islands: how many.
        interval: evaluated candidates between two migrations; each sends the best of every island to the next in a ring.
        initial: evaluated samples on each island before its members are varied.
        adaptive: operators that pay are chosen more often.
        operators: weights by operator name.
    """

    def __init__(
        self,
        *,
        islands: Count = 3,
        interval: Count = 50,
        initial: Count = 8,
        adaptive: bool = False,
        operators: Mapping[str, float] | None = None,
    ) -> None:
        self._islands = [Island() for _ in range(islands)]
        self._interval, self._initial = interval, initial
        self._variation = Variation(operators or DEFAULT_OPERATORS, adaptive=adaptive)
        self._home: dict[int, int] = {}
        self._cell: dict[int, Cell | None] = {}
        self._evaluated = 0

    def ask(self, view: View, rng: Random) -> Move:
        unsettled = [island for island in self._islands if island.evaluated < self._initial or not island.members]
        if unsettled:
            return sample_of_a_seed(view, rng)
        members = self._islands[rng.randrange(len(self._islands))].members
        parent = better_of(members, 2, rng)
        return self._variation.move(parent, lambda: members[rng.randrange(len(members))][1], rng)

    def tell(self, candidate: Candidate) -> None:
        self._variation.tell(candidate)
        if candidate.evaluation is None:
            return
        self._evaluated += 1
        parents = candidate.proposal.parents
        sampled = not parents or candidate.proposal.operator == "sample"
        place = min(range(len(self._islands)), key=lambda i: self._islands[i].evaluated) if sampled else self._home.get(parents[0], 0)
        island = self._islands[place]
        island.evaluated += 1
        if (found := scored(candidate)) is not None:
            self._home[candidate.number] = place
            self._cell[candidate.number] = candidate.cell
            island.take(found, candidate.cell)
        if self._evaluated % self._interval == 0:
            self._migrate()

    def _migrate(self) -> None:
        best = [max(island.members, default=None) for island in self._islands]
        for place, emigrant in enumerate(best):
            if emigrant is not None:
                self._islands[(place + 1) % len(self._islands)].take(emigrant, self._cell[emigrant[1]])
