"""MAP-Elites: vary the elites of a grid of behaviours, keep the best of each.

J.-B. Mouret & J. Clune, "Illuminating search spaces by mapping elites", arXiv:1504.04909, 2015. The preference for cells
that were tried less is the curiosity of A. Cully & Y. Demiris, "Quality and Diversity Optimization: A Unifying Modular
Framework", IEEE Trans. Evol. Comp. 22(2), 2018, in its simplest form.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Annotated

from pydantic import Field

from archive.candidate import Candidate, Cell
from archive.elite import Elite
from evo.strategies.base import Move, Strategy
from evo.strategies.random import sample_of_a_seed
from evo.strategies.variation import DEFAULT_OPERATORS, Variation
from operators.base import View

__all__ = ["DEFAULT_OPERATORS", "MapElites"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class MapElites(Strategy):
    """Random samples first, then variations of elites.

    Args:
        initial: evaluated candidates, seeds included, before elites are varied.
        greed: probability that a parent is the better of two uniformly drawn elites instead of one of them.
        curiosity: probability, where greed does not decide, that it is the one whose cell had fewer children.
        adaptive: operators that pay are chosen more often (`evo.strategies.bandit`).
        operators: weights by operator name.
    """

    def __init__(
        self,
        *,
        initial: Annotated[int, Field(ge=0)] = 16,
        greed: Share = 0.5,
        curiosity: Share = 0.25,
        adaptive: bool = False,
        operators: Mapping[str, float] | None = None,
    ) -> None:
        self._initial = initial
        self._greed = greed
        self._curiosity = curiosity
        self._variation = Variation(operators or DEFAULT_OPERATORS, adaptive=adaptive)
        self._evaluated = 0
        self._children: dict[Cell, int] = {}
        self._homes: dict[int, Cell] = {}

    def ask(self, view: View, rng: Random) -> Move:
        elites = self.elites(view)
        if not elites or self._evaluated < self._initial:
            return sample_of_a_seed(view, rng)
        parent = self._choose(elites, rng)
        return self._variation.move(parent.number, lambda: _another(elites, parent.number, rng), rng)

    def elites(self, view: View) -> tuple[Elite, ...]:
        """Whom parents are chosen from."""
        return view.archive.elites()

    def tell(self, candidate: Candidate) -> None:
        self._variation.tell(candidate)
        self._evaluated += candidate.evaluation is not None
        if candidate.cell is not None and candidate.ok:
            self._homes[candidate.number] = candidate.cell
        if candidate.proposal.parents and (cell := self._homes.get(candidate.proposal.parents[0])) is not None:
            self._children[cell] = self._children.get(cell, 0) + 1

    def _choose(self, elites: tuple[Elite, ...], rng: Random) -> Elite:
        first = elites[rng.randrange(len(elites))]
        draw = rng.random()
        if draw >= self._greed + (1.0 - self._greed) * self._curiosity:
            return first
        second = elites[rng.randrange(len(elites))]
        if draw < self._greed:
            return first if first.objective >= second.objective else second
        return first if self._visits(first) <= self._visits(second) else second

    def _visits(self, elite: Elite) -> int:
        cell = elite.candidate.cell
        return 0 if cell is None else self._children.get(cell, 0)


def _another(elites: tuple[Elite, ...], number: int, rng: Random) -> int | None:
    """Another one, uniformly; None when there is none."""
    if len(elites) == 1:
        return None
    partner = elites[rng.randrange(len(elites) - 1)]
    return elites[-1].number if partner.number == number else partner.number
