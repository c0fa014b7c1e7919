"""Beam search over the lineage: the best few are expanded equally often, then the best few of all of them go on.

P. S. Ow & T. E. Morton, "Filtered beam search in scheduling", Int. J. Production Research 26, 1988; as a graph search over
kernels: KernelEvolve, arXiv:2512.23236, 2025.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Annotated

from pydantic import Field

from archive.candidate import Candidate
from evo.strategies.base import Move, Strategy
from evo.strategies.random import sample_of_a_seed
from evo.strategies.variation import MUTATIONS, Scored, Variation, scored
from operators.base import View

__all__ = ["Beam"]

Count = Annotated[int, Field(ge=1)]


class Beam(Strategy):
    """Generations of `width` × `branch` children.

    Args:
        width: members of the beam.
        branch: children of each before the beam moves on.
        initial: evaluated candidates, seeds included, before the first beam.
        adaptive: operators that pay are chosen more often.
        operators: weights by operator name.
    """

    def __init__(
        self,
        *,
        width: Count = 4,
        branch: Count = 6,
        initial: Annotated[int, Field(ge=0)] = 16,
        adaptive: bool = False,
        operators: Mapping[str, float] | None = None,
    ) -> None:
        self._width, self._branch, self._initial = width, branch, initial
        self._variation = Variation(operators or MUTATIONS, adaptive=adaptive)
        self._evaluated = 0
        self._beam: list[Scored] = []
        self._next: list[Scored] = []
        self._children: dict[int, int] = {}

    def ask(self, view: View, rng: Random) -> Move:
        if not self._beam or self._evaluated < self._initial:
            return sample_of_a_seed(view, rng)
        fewest = min(self._children.get(number, 0) for _, number in self._beam)
        least = [number for _, number in self._beam if self._children.get(number, 0) == fewest]
        parent = least[rng.randrange(len(least))]
        others = [number for _, number in self._beam if number != parent]
        return self._variation.move(parent, lambda: rng.choice(others) if others else None, rng)

    def tell(self, candidate: Candidate) -> None:
        self._variation.tell(candidate)
        self._evaluated += candidate.evaluation is not None
        if (found := scored(candidate)) is not None:
            self._next.append(found)
        if candidate.proposal.parents:
            parent = candidate.proposal.parents[0]
            self._children[parent] = self._children.get(parent, 0) + 1
        full = all(self._children.get(number, 0) >= self._branch for _, number in self._beam)
        if self._next and (full or self._evaluated <= self._initial):
            self._move_on()

    def _move_on(self) -> None:
        """The best of the beam and its children; a member that was expanded in vain gives way to a child in its place."""
        stale = {number for _, number in self._beam if self._children.get(number, 0) >= 4 * self._branch}
        every = sorted({*self._beam, *self._next}, key=lambda entry: (-entry[0], entry[1]))
        fresh = [entry for entry in every if entry[1] not in stale]
        self._beam = (fresh or every)[: self._width]
        self._children = {number: self._children.get(number, 0) for _, number in self._beam}
        for number in self._children:
            self._children[number] -= self._children[number] % self._branch
        self._next = []
