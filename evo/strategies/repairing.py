"""`with_repair`: any strategy, and a bounded number of attempts to repair what it had made and what failed."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from random import Random

from archive.candidate import Candidate, Repair
from archive.evaluation import Outcome
from evo.strategies.base import Move, Strategy
from operators.base import View

__all__ = ["Repairing", "with_repair"]

REPAIRABLE = (Outcome.BUILD_ERROR, Outcome.WRONG, Outcome.CRASH, Outcome.TIMEOUT, Outcome.REJECTED, Outcome.OUT_OF_MEMORY)
MOST_WAITING = 16
"""Failures that wait for a repair; the oldest are forgotten."""
REPAIR = "llm_repair"


class Repairing(Strategy):
    """Proposes a repair for each failed candidate before it asks the inner strategy again.

    Args:
        inner: hears of everything, repairs included.
        attempts: repairs of one kernel and of what came of repairing it, together.
        operators: whose failures are repaired; None for all but tunable operators' (a repair itself counts with its origin).
    """

    def __init__(self, inner: Strategy, attempts: int, operators: Collection[str] | None = None) -> None:
        self.inner = inner
        self.attempts = attempts
        self._operators = operators
        self._depth: dict[int, int] = {}
        self._waiting: deque[int] = deque(maxlen=MOST_WAITING)

    def ask(self, view: View, rng: Random) -> Move:
        if self._waiting:
            number = self._waiting.popleft()
            return Move(REPAIR, (number,), Repair(number))
        return self.inner.ask(view, rng)

    def tell(self, candidate: Candidate) -> None:
        self.inner.tell(candidate)
        proposal, evaluation = candidate.proposal, candidate.evaluation
        depth = 0
        if isinstance(proposal.goal, Repair):
            depth = self._depth.pop(proposal.goal.candidate, 0) + 1
            if proposal.goal.candidate in self._waiting:  # in replay: what was asked for then is not asked for again
                self._waiting.remove(proposal.goal.candidate)
        elif self._operators is not None and proposal.operator not in self._operators:
            return
        if candidate.kernel is not None and evaluation is not None and evaluation.outcome in REPAIRABLE and depth < self.attempts:
            self._depth[candidate.number] = depth
            self._waiting.append(candidate.number)


def with_repair(strategy: Strategy, attempts: int, operators: Collection[str] | None = None) -> Strategy:
    """`strategy`, with up to `attempts` repairs by a model of each failed candidate; the strategy itself for 0."""
    return Repairing(strategy, attempts, operators) if attempts > 0 else strategy
