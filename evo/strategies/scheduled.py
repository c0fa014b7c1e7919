"""`with_schedule`: any strategy, its operators chosen by fixed weights or by a bandit on improvement per dollar or second."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random

from archive.candidate import Candidate
from evo.strategies.base import Move, Strategy
from operators.bandit import chooser
from operators.base import View, operator_class
from operators.llm.studio import gain_of

__all__ = ["Scheduled", "with_schedule"]

NOTHING = 1e-6
"""Dollars or seconds that anything costs at least, so that what is free is cheap and not infinitely good."""


class Scheduled(Strategy):
    """Takes parents and goal from the inner strategy and the operator from a chooser.

    A move whose operator takes no parents (a fresh sample), or has a goal that the chosen operator does not serve, is left as
    it is. An operator that needs more parents than the move has gets elites for the rest.
    """

    def __init__(self, inner: Strategy, weights: Mapping[str, float], kind: str, credit: str) -> None:
        self.inner = inner
        self.chooser = chooser(kind, weights)
        self.credit = credit
        self._finished: dict[int, Candidate] = {}

    def ask(self, view: View, rng: Random) -> Move:
        move = self.inner.ask(view, rng)
        if not move.parents or move.operator == "sample":
            return move
        name = self.chooser.choose(rng)
        operator = operator_class(name)
        if move.goal is not None and not isinstance(move.goal, operator.goals):
            return move
        parents = move.parents
        elites = [elite.number for elite in view.archive.elites() if elite.number not in parents]
        while len(parents) < operator.parents and elites:
            parents = (*parents, elites.pop(rng.randrange(len(elites))))
        if len(parents) < operator.parents:
            return move
        return replace(move, operator=name, parents=parents)

    def tell(self, candidate: Candidate) -> None:
        self.inner.tell(candidate)
        if candidate.kernel is not None and candidate.objective is not None:
            self._finished[candidate.number] = candidate
        parents = tuple(self._finished[number] for number in candidate.proposal.parents if number in self._finished)
        self.chooser.learn(candidate.proposal.operator, gain_of(candidate, parents), self._cost(candidate))

    def _cost(self, candidate: Candidate) -> float:
        notes, evaluation = candidate.notes, candidate.evaluation
        if self.credit == "dollars":
            dollars = notes.get("dollars")
            return NOTHING + (float(dollars) if isinstance(dollars, (int, float)) else 0.0)
        seconds = notes.get("model_seconds")
        measured = 0.0 if evaluation is None else sum(evaluation.cost.get(stage, 0.0) for stage in ("build", "measure"))
        return NOTHING + measured + (float(seconds) if isinstance(seconds, (int, float)) else 0.0)


def with_schedule(strategy: Strategy, weights: Mapping[str, float], kind: str, *, credit: str = "seconds") -> Strategy:
    """`strategy` with operators chosen by `kind`: `weights`, `ucb` or `thompson`; `credit`: per `dollars` or `seconds`."""
    return Scheduled(strategy, weights, kind, credit)
