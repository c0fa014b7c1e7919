"""Two parents: uniform crossover of their tunables, and grafting one's tunables onto the other's text."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import chain
from typing import ClassVar

from archive.kernel import Kernel
from archive.space import Key, Space
from archive.values import kind_of
from operators.tunable import TunableOperator

__all__ = ["Crossover", "Graft"]

MOST_REPAIRED = 2
"""Illegal mixtures that are moved to their nearest legal configuration when no mixture is legal and new."""


class Crossover(TunableOperator):
    """The first parent's text; each shared tunable has the value of one parent or the other, with equal probability.

    A tunable is shared when both texts declare it and the second parent's value is in the first one's domain. A mixture
    that is one of the parents again is not tried; one that breaks a constraint is repaired when no legal one is new.
    """

    name = "crossover"
    parents: ClassVar[int] = 2
    weight: ClassVar[float] = 2.0

    def impossible(self, parents: tuple[Kernel, ...]) -> str:
        if any(not parent.template.tunables for parent in parents[:2]):
            return "no_parent_tunables"
        return "" if shared(parents[0], parents[1]) else "no_shared_tunables"

    def moves(self, parents: tuple[Kernel, ...], space: Space, rng: random.Random) -> Iterator[Key]:
        key, theirs = parents[0].key, shared(parents[0], parents[1])
        differing = [dimension for dimension, index in theirs.items() if index != key[dimension]]
        illegal: list[Key] = []
        for taken in _subsets(len(differing), self.retries, rng):
            mixed = list(key)
            for dimension in (dimension for position, dimension in enumerate(differing) if taken >> position & 1):
                mixed[dimension] = theirs[dimension]
            mixture = tuple(mixed)
            if space.legal_key(mixture):
                yield mixture
            elif len(illegal) < MOST_REPAIRED:
                illegal.append(mixture)
        yield from _repaired(illegal, space)


class Graft(Crossover):
    """The first parent's text with all of the second one's shared tunables; when that is not new, with some of them."""

    name = "graft"
    weight: ClassVar[float] = 1.0

    def moves(self, parents: tuple[Kernel, ...], space: Space, rng: random.Random) -> Iterator[Key]:
        grafted = list(parents[0].key)
        for dimension, index in shared(parents[0], parents[1]).items():
            grafted[dimension] = index
        whole = tuple(grafted)
        first = [whole] if space.legal_key(whole) else _repaired([whole], space)
        return chain(first, super().moves(parents, space, rng))


def shared(receiver: Kernel, giver: Kernel) -> dict[int, int]:
    """Per shared tunable its dimension in the receiver's space and the index of the giver's value there."""
    if receiver.template is giver.template:
        return dict(enumerate(giver.key))
    found: dict[int, int] = {}
    template = receiver.template
    for name, value in giver.values.items():
        position = template.positions.get(name)
        if position is not None and value in template.indices[position] and template.tunables[position].kind == kind_of(value):
            found[position] = template.indices[position][value]
    return found


def _subsets(count: int, most: int, rng: random.Random) -> Iterator[int]:
    """Bit masks of the proper, non-empty subsets of `count` things: all in random order when they are few, else `most` random ones."""
    full = (1 << count) - 1
    if full <= most:
        yield from rng.sample(range(1, full), full - 1) if full > 1 else ()
        return
    for _ in range(most):
        yield rng.randrange(1, full)


def _repaired(keys: list[Key], space: Space) -> Iterator[Key]:
    for key in keys:
        near = space.nearest_key(key)
        if near is not None:
            yield near
