"""Iterated local search: climb to where no neighbour is better, kick the best, climb again.

H. R. Lourenço, O. C. Martin & T. Stützle, "Iterated Local Search", Handbook of Metaheuristics, 2003.
"""

from __future__ import annotations

from random import Random
from typing import Annotated

from pydantic import Field

from archive.candidate import Candidate
from evo.strategies.base import Move
from evo.strategies.random import sample_of_a_seed
from evo.strategies.walk import Patience, Walk
from operators.base import View

__all__ = ["IteratedLocalSearch"]

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class IteratedLocalSearch(Walk):
    """First-improvement climbing by one tunable at a time.

    Args:
        patience: steps without an improvement that count as a local optimum.
        restart: share of kicks that are fresh samples of a seed's space instead of changes of the best.
        adaptive: of the two kinds of step, to a neighbour or to any other value, the one that pays is taken more often.
    """

    def __init__(self, *, patience: Patience = 20, restart: Share = 0.1, adaptive: bool = False) -> None:
        super().__init__({"mutate_neighbour": 0.5, "mutate_uniform": 0.5}, patience=patience, adaptive=adaptive)
        self._restart = restart

    def accepts(self, gain: float, candidate: Candidate) -> bool:
        return False

    def kick(self, best: int, view: View, rng: Random) -> Move:
        return sample_of_a_seed(view, rng) if rng.random() < self._restart else super().kick(best, view, rng)
