"""Mutations: one tunable to any other value, one to a neighbouring value, several at once."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import ClassVar

from archive.kernel import Kernel
from archive.space import Key, Space
from operators.base import OperatorError
from operators.tunable import TunableOperator, scatter

__all__ = ["MutateMany", "MutateNeighbour", "MutateUniform"]


class MutateUniform(TunableOperator):
    """One tunable, drawn uniformly, to another value, drawn uniformly."""

    name = "mutate_uniform"
    weight: ClassVar[float] = 2.0

    def moves(self, parents: tuple[Kernel, ...], space: Space, rng: random.Random) -> Iterator[Key]:
        key = parents[0].key
        for _ in range(self.retries):
            yield scatter(key, 1, space, rng)
        # Chance may have missed the last ones.
        yield from _shuffled(space.neighbour_keys(key, "any"), rng)


class MutateNeighbour(TunableOperator):
    """One tunable to the next legal value below or above; strings and bools to any other."""

    name = "mutate_neighbour"
    weight: ClassVar[float] = 4.0

    def moves(self, parents: tuple[Kernel, ...], space: Space, rng: random.Random) -> Iterator[Key]:
        yield from _shuffled(space.neighbour_keys(parents[0].key), rng)


class MutateMany(TunableOperator):
    """Several tunables at once to random other values: two, and each further one with probability `more`.

    Args:
        more: 0 ≤ more < 1; the number changed is 2 + a geometric variable with mean more / (1 - more).
        retries: see `TunableOperator`.
    """

    name = "mutate_many"
    weight: ClassVar[float] = 2.0

    def __init__(self, *, more: float = 0.5, retries: int = 12) -> None:
        super().__init__(retries=retries)
        if not 0.0 <= more < 1.0:
            raise OperatorError(f"operators.{self.name}.more: found {more}, expected a probability under 1")
        self.more = more

    def moves(self, parents: tuple[Kernel, ...], space: Space, rng: random.Random) -> Iterator[Key]:
        key = parents[0].key
        for _ in range(self.retries):
            count = 2
            while count < len(key) and rng.random() < self.more:
                count += 1
            yield scatter(key, count, space, rng)


def _shuffled(keys: list[Key], rng: random.Random) -> list[Key]:
    rng.shuffle(keys)
    return keys
