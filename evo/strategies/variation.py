"""What the classical strategies share: operators by weight or by success, told objectives, and comparisons of parents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random

from archive.candidate import Candidate
from evo.strategies.bandit import OperatorChoice
from evo.strategies.base import Move

__all__ = ["DEFAULT_OPERATORS", "MUTATIONS", "Scored", "Variation", "better_of", "scored"]

DEFAULT_OPERATORS: Mapping[str, float] = {
    "mutate_neighbour": 4.0,
    "mutate_uniform": 2.0,
    "mutate_many": 2.0,
    "crossover": 2.0,
    "sample": 1.0,
}
MUTATIONS: Mapping[str, float] = {"mutate_neighbour": 3.0, "mutate_uniform": 2.0, "mutate_many": 1.0}

WIDER = "mutate_many"
"""The operator for parents whose neighbourhood is used up."""

Scored = tuple[float, int]
"""Objective and number of a candidate that works."""


def scored(candidate: Candidate) -> Scored | None:
    """None for a candidate that cannot be a parent."""
    objective = candidate.objective
    return (objective, candidate.number) if candidate.ok and candidate.kernel is not None and objective is not None else None


def better_of(members: Sequence[Scored], size: int, rng: Random) -> int:
    """The number of the best of `size` uniformly drawn members."""
    best = members[rng.randrange(len(members))]
    for _ in range(size - 1):
        best = max(best, members[rng.randrange(len(members))])
    return best[1]


class Variation:
    """Turns a parent into a move.

    Args:
        weights: by operator name.
        adaptive: whether operators that pay are chosen more often (`evo.strategies.bandit`).

    Raises:
        ValueError: no weight is above 0.
    """

    def __init__(self, weights: Mapping[str, float], *, adaptive: bool = False) -> None:
        self._choice = OperatorChoice(weights, adaptive=adaptive)
        self._worn: set[int] = set()
        """Parents whose near neighbours were all proposed: looking for one more costs more than it brings."""

    def move(self, parent: int, partner: Callable[[], int | None], rng: Random) -> Move:
        """A move from `parent`; `partner` gives a second one (None: there is none) when the operator needs it."""
        if parent in self._worn and WIDER in self._choice.weights:
            return Move(WIDER, (parent,))
        name = self._choice.choose(rng) or "mutate_uniform"
        if self._choice.parents.get(name, 1) > 1:
            other = partner()
            if other is not None and other != parent:
                return Move(name, (parent, other))
            name = self._choice.choose(rng, most_parents=1) or "mutate_uniform"
        return Move(name, (parent,))

    def tell(self, candidate: Candidate) -> None:
        self._choice.tell(candidate)
        if candidate.notes.get("widened") and candidate.proposal.parents:
            self._worn.add(candidate.proposal.parents[0])
