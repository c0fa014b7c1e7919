"""Simulated annealing, with reheating.

S. Kirkpatrick, C. D. Gelatt & M. P. Vecchi, "Optimization by Simulated Annealing", Science 220, 1983.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field

from archive.candidate import Candidate
from evo.strategies.walk import Patience, Walk

__all__ = ["Annealing"]

Positive = Annotated[float, Field(gt=0)]


class Annealing(Walk):
    """Steps to worse solutions with probability exp(gain / temperature).

    Args:
        temperature: at the start and after each kick, in units of the objective (ln of the speedup).
        halving: evaluated steps in which it halves.
        patience: steps without an improvement before the best is kicked and the temperature is back.
        adaptive: of the two kinds of step, to a neighbour or to any other value, the one that pays is taken more often.
    """

    def __init__(self, *, temperature: Positive = 0.3, halving: Positive = 25.0, patience: Patience = 60, adaptive: bool = False) -> None:
        super().__init__({"mutate_neighbour": 0.7, "mutate_uniform": 0.3}, patience=patience, adaptive=adaptive)
        self._hottest = temperature
        self._halving = halving
        self._steps = 0

    def tell(self, candidate: Candidate) -> None:
        if self.since >= self._patience:
            self._steps = 0
        self._steps += candidate.evaluation is not None
        super().tell(candidate)

    def accepts(self, gain: float, candidate: Candidate) -> bool:
        assert candidate.kernel is not None
        # The kernel's hash is as good as a random number, and the same on every resume.
        draw = int(candidate.kernel.id[:12], 16) / 16**12
        return draw < math.exp(gain / (self._hottest * 0.5 ** (self._steps / self._halving)))
