"""Uniform samples of the seeds' spaces: what every other strategy has to beat."""

from __future__ import annotations

from random import Random

from evo.strategies.base import Move, Strategy
from operators.base import View

__all__ = ["RandomStrategy"]


class RandomStrategy(Strategy):
    """Proposes a uniform sample of the space of a seed that works (of any seed, while none does)."""

    not_adaptive = "its one operator, `sample`, is the whole of it: chosen by success, it would be another strategy"

    def ask(self, view: View, rng: Random) -> Move:
        return sample_of_a_seed(view, rng)


def sample_of_a_seed(view: View, rng: Random) -> Move:
    """A uniform sample of one of the seeds' spaces."""
    seeds = [seed for seed in view.seeds if seed.ok] or list(view.seeds)
    return Move("sample", (seeds[0 if len(seeds) == 1 else rng.randrange(len(seeds))].number,))
