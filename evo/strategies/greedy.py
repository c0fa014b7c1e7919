"""Stochastic hill climbing: always vary the best.

S. Forrest & M. Mitchell, "Relative building-block fitness and the building-block hypothesis", FOGA 2, 1993 (random mutation).
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Annotated

from pydantic import Field

from archive.candidate import Candidate
from evo.strategies.base import Move, Strategy
from evo.strategies.random import sample_of_a_seed
from evo.strategies.variation import MUTATIONS, Variation
from operators.base import View

__all__ = ["Greedy"]


class Greedy(Strategy):
    """Samples at first, then mutations of the archive's best.

    Args:
        initial: evaluated candidates, seeds included, before the best is varied.
        adaptive: operators that pay are chosen more often.
        operators: weights by operator name.
    """

    def __init__(
        self, *, initial: Annotated[int, Field(ge=0)] = 16, adaptive: bool = False, operators: Mapping[str, float] | None = None
    ) -> None:
        self._initial = initial
        self._variation = Variation(operators or MUTATIONS, adaptive=adaptive)
        self._evaluated = 0

    def ask(self, view: View, rng: Random) -> Move:
        best = view.archive.best
        if best is None or self._evaluated < self._initial:
            return sample_of_a_seed(view, rng)
        elites = view.archive.elites()
        return self._variation.move(best.number, lambda: elites[rng.randrange(len(elites))].number, rng)

    def tell(self, candidate: Candidate) -> None:
        self._evaluated += candidate.evaluation is not None
        self._variation.tell(candidate)
