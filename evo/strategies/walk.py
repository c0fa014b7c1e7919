"""What single-solution searches share: a current solution, kicks away from it, and when to kick."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from random import Random
from typing import Annotated

from pydantic import Field

from archive.candidate import Candidate
from evo.strategies.bandit import OperatorChoice
from evo.strategies.base import Move, Strategy
from evo.strategies.random import sample_of_a_seed
from evo.strategies.variation import Scored, scored
from operators.base import View

__all__ = ["Patience", "Walk"]

Patience = Annotated[int, Field(ge=1)]


class Walk(Strategy):
    """Goes from one current solution to a neighbour of it. Where proposals overlap, whatever is told first decides.

    Args:
        steps: weights of the operators (of one parent) that a step may be.
        patience: evaluated steps without an improvement of the current solution before a kick.
        adaptive: steps that pay are chosen more often.
        spread: samples before the first step; the best of them is the start.
    """

    def __init__(self, steps: Mapping[str, float], *, patience: int, adaptive: bool, spread: int = 8) -> None:
        self._choice = OperatorChoice(steps, adaptive=adaptive)
        self._patience = patience
        self._spread = spread
        self._evaluated = 0
        self.current: Scored | None = None
        self.best: Scored | None = None
        self.since = 0
        """Evaluated steps since the current solution last improved."""

    def ask(self, view: View, rng: Random) -> Move:
        if self.current is None or self.best is None or self._evaluated < self._spread:
            return sample_of_a_seed(view, rng)
        if self.since >= self._patience:
            return self.kick(self.best[1], view, rng)
        step = self._choice.choose(rng, most_parents=1)
        assert step is not None  # every walk has steps of one parent
        return Move(step, (self.current[1],))

    def tell(self, candidate: Candidate) -> None:
        self._choice.tell(candidate)
        if candidate.evaluation is None:
            # A draft that is known or none at all: its neighbourhood is nearly used up.
            self.since += 1
            return
        self._evaluated += 1
        found = scored(candidate)
        if found is None:
            self.since += 1
            return
        kicked = self.since >= self._patience and candidate.proposal.operator in ("mutate_many", "sample")
        if kicked or self.current is None or found[0] > self.current[0]:
            self.current, self.since = found, 0
        elif self.accepts(found[0] - self.current[0], candidate):
            self.current, self.since = found, self.since + 1
        else:
            self.since += 1
        if self.best is None or found[0] > self.best[0]:
            self.best = found

    @abstractmethod
    def accepts(self, gain: float, candidate: Candidate) -> bool:
        """Whether a step to a solution that is not better (`gain` ≤ 0) is taken."""

    def kick(self, best: int, view: View, rng: Random) -> Move:
        """A move away from `best`, by `mutate_many` or `sample`."""
        return Move("mutate_many", (best,))
