"""A bounded population of candidates as DEAP individuals, and DEAP's functions made to use a generator of ours."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

from archive.candidate import Candidate
from evo.strategies.variation import scored

__all__ = ["Individual", "borrowed", "individual"]


class Individual:
    """A candidate with the fitness that DEAP's selections read.

    Args:
        values: of the objectives, all to be maximised.
    """

    __slots__ = ("fitness", "number")

    def __init__(self, number: int, values: tuple[float, ...]) -> None:
        self.number = number
        self.fitness: Any = _fitness_class(len(values))(values)


def individual(candidate: Candidate, *others: float) -> Individual | None:
    """None for a candidate that cannot be a parent. `others` are objectives beside its own, to be maximised too."""
    found = scored(candidate)
    return None if found is None else Individual(candidate.number, (found[0], *others))


_classes: dict[int, type[Any]] = {}


def _fitness_class(objectives: int) -> type[Any]:
    if objectives not in _classes:
        from deap import base

        _classes[objectives] = type(f"Fitness{objectives}", (base.Fitness,), {"weights": (1.0,) * objectives})
    return _classes[objectives]


@contextmanager
def borrowed(rng: Random) -> Iterator[None]:
    """Lets code that draws from the `random` module (all of DEAP does) draw from `rng`, and leaves no trace of it there."""
    kept = random.getstate()
    random.seed(rng.getrandbits(64))
    try:
        yield
    finally:
        random.setstate(kept)
