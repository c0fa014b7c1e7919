"""N independent attempts at the same start: what any search that learns from its results has to beat.

B. Brown et al., "Large Language Monkeys: Scaling Inference Compute with Repeated Sampling", arXiv:2407.21787, 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

from archive.candidate import Candidate
from evo.strategies.base import Move, Strategy
from evo.strategies.variation import Variation
from operators.base import View

__all__ = ["BestOfN"]


class BestOfN(Strategy):
    """Every proposal starts from a seed that works, never from what was found.

    Args:
        adaptive: operators that pay are chosen more often; the attempts are then independent in where they start alone.
        operators: weights by operator name; by default half are samples, half change several of the seed's tunables.
    """

    def __init__(self, *, adaptive: bool = False, operators: Mapping[str, float] | None = None) -> None:
        self._variation = Variation(operators or {"sample": 1.0, "mutate_many": 1.0}, adaptive=adaptive)

    def ask(self, view: View, rng: Random) -> Move:
        seeds = [seed.number for seed in view.seeds if seed.ok] or [seed.number for seed in view.seeds]
        first = seeds[rng.randrange(len(seeds))]
        others = [number for number in seeds if number != first]
        return self._variation.move(first, lambda: rng.choice(others) if others else None, rng)

    def tell(self, candidate: Candidate) -> None:
        self._variation.tell(candidate)
