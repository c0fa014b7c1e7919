"""A bounded population of candidates as DEAP individuals, and DEAP's functions made to use a generator of ours."""

from __future__ import annotations

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
def borrowed(rng: Random) -> Iterator[Random]:
    """Lets DEAP's selections, which draw from the `random` module, draw from a generator that comes from `rng`, and yields that one.

    They are given one in the place of the module: to seed the module and to put its state back costs more than a selection.
    """
    from deap.tools import emo, selection

    kept = selection.random
    drawn = selection.random = emo.random = Random(rng.getrandbits(64))
    try:
        yield drawn
    finally:
        selection.random = emo.random = kept
