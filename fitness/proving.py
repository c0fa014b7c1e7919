"""Which calls prove a kernel right before it is timed (EVALUATION.md, *Verify*): secret draws, secretly dealt and shuffled."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Protocol, TypeVar

from fitness.inputs import DISTRIBUTIONS
from fitness.problem import Problem, Sizes, shape_label

__all__ = ["Supply", "proofs"]

Drawn = TypeVar("Drawn", covariant=True)

DRAWS = 5
"""Secret draws per distribution on the small shapes."""
FULL_DISTRIBUTIONS = 2
"""Distributions besides the timed one that each full shape is verified on per evaluation, drawn at random: over an elite's
re-measurements all come round, and certification runs every one."""
AT_ONCE = 24 << 30
"""Bytes of cases that are held at the same time, of a problem whose shapes are not ours to choose."""


class Supply(Protocol[Drawn]):
    """What makes cases, for whatever device."""

    @property
    def timed_distribution(self) -> str: ...

    def drawn(self, sizes: Sizes, distribution: str, index: int) -> Drawn: ...


def proofs(problem: Problem, supply: Supply[Drawn]) -> Iterator[tuple[Drawn, bool]]:
    """(a case, whether it has to be called twice and agree): small shapes on every distribution, then full ones on a secret choice."""
    secret = random.SystemRandom()
    if problem.foreign is not None:
        yield from _foreign(problem, supply, secret)
        return
    small = problem.small_shapes
    first = secret.randrange(len(small))
    # Five draws of every distribution, dealt out over the small shapes so that each shape is met as well.
    dealt = [
        (small[(first + turn + number) % len(small)], distribution, number)
        for number in range(DRAWS)
        for turn, distribution in enumerate(DISTRIBUTIONS)
    ]
    secret.shuffle(dealt)
    draws = secret.sample(range(DRAWS), DRAWS)
    repeated = secret.randrange(len(dealt))
    for position, (sizes, distribution, number) in enumerate(dealt):
        yield supply.drawn(sizes, distribution, draws[number]), position == repeated
    others = [distribution for distribution in DISTRIBUTIONS if distribution != supply.timed_distribution]
    # Races show on large inputs: where bits are promised, one of those is repeated as well.
    repeated = secret.randrange(len(problem.shapes)) if problem.deterministic else -1
    for position, sizes in enumerate(problem.shapes):
        for turn, distribution in enumerate(secret.sample(others, min(FULL_DISTRIBUTIONS, len(others)))):
            yield supply.drawn(sizes, distribution, 0), position == repeated and turn == 0


def _foreign(problem: Problem, supply: Supply[Drawn], secret: random.SystemRandom) -> Iterator[tuple[Drawn, bool]]:
    """Every shape, on as many distributions as memory allows: problems of others have no small shapes, or none that say enough."""
    shapes = list({shape_label(sizes): sizes for sizes in (*problem.small_shapes, *problem.shapes)}.values())
    repeated = secret.randrange(len(shapes))
    for position, sizes in enumerate(shapes):
        most = max(1, min(len(DISTRIBUTIONS), AT_ONCE // (2 * len(shapes) * problem.footprint(sizes))))
        for turn, distribution in enumerate(secret.sample(DISTRIBUTIONS, most)):
            yield supply.drawn(sizes, distribution, 0), position == repeated and turn == 0
