"""Adaptive choice: arms that paid lately are pulled more often, and none is ever given up.

Discounted Thompson sampling (V. Raj & S. Kalyani, "Taming Non-stationary Bandits: A Bayesian Approach", arXiv:1707.09727, 2017).
For the choice of operators the reward is what the archive says of the child, as in A. Fialho et al., "Analyzing bandit-based
adaptive operator selection mechanisms", Ann. Math. Artif. Intell. 60, 2010, with the archive's answer in the place of a rank.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from random import Random

from archive.candidate import AddStatus, Candidate
from operators.base import operator_class, pick

__all__ = ["Bandit", "OperatorChoice", "reward"]

LEAST = 0.05
"""Share of an arm's prior weight that it keeps, however badly it does."""


class Bandit:
    """Arms with Beta posteriors over their rewards (0…1), in which old rewards fade.

    Args:
        memory: pulls after which a reward counts 1/e.
    """

    def __init__(self, memory: float = 200.0) -> None:
        self._fade = 1.0 - 1.0 / memory
        self._won: dict[str, float] = {}
        self._lost: dict[str, float] = {}

    def tell(self, arm: str, reward: float) -> None:
        """A pull of this arm brought `reward`."""
        for sums in (self._won, self._lost):
            for name in sums:
                sums[name] *= self._fade
        self._won[arm] = self._won.get(arm, 0.0) + reward
        self._lost[arm] = self._lost.get(arm, 0.0) + 1.0 - reward

    def draw(self, arm: str, rng: Random) -> float:
        """A sample of what the arm is believed to pay on average."""
        return rng.betavariate(1.0 + self._won.get(arm, 0.0), 1.0 + self._lost.get(arm, 0.0))

    def choose(self, arms: Iterable[str], rng: Random) -> str:
        """The arm with the highest draw. Raises ValueError without arms."""
        return max(((self.draw(arm, rng), arm) for arm in arms), key=lambda drawn: drawn[0])[1]


def reward(candidate: Candidate) -> float:
    """1 for a new elite, a little for what works and loses, nothing for failures, duplicates and drafts without a kernel."""
    if candidate.status in (AddStatus.NEW, AddStatus.IMPROVE):
        return 1.0
    if candidate.status is AddStatus.CONTEST:
        return 0.5
    return 0.05 if candidate.ok else 0.0


class OperatorChoice:
    """Operators by weight, or, when adaptive, by weight times what they were found to pay.

    Args:
        weights: by operator name; those of weight 0 are left out.
        adaptive: whether rewards count.

    Raises:
        ValueError: no weight is above 0.
        OperatorError: an operator is unknown.
    """

    def __init__(self, weights: Mapping[str, float], *, adaptive: bool) -> None:
        self.weights = {name: weight for name, weight in weights.items() if weight > 0}
        if not self.weights:
            raise ValueError("no operator has a weight above 0")
        self.parents = {name: operator_class(name).parents for name in self.weights}
        self._bandit = Bandit() if adaptive else None

    def choose(self, rng: Random, *, most_parents: int = 2) -> str | None:
        """An operator that needs at most so many parents; None when there is none."""
        able = {name: weight for name, weight in self.weights.items() if self.parents[name] <= most_parents}
        if not able:
            return None
        if self._bandit is not None:
            able = {name: weight * (LEAST + self._bandit.draw(name, rng)) for name, weight in able.items()}
        return pick(able, rng)

    def tell(self, candidate: Candidate) -> None:
        if self._bandit is not None and candidate.proposal.operator in self.weights:
            self._bandit.tell(candidate.proposal.operator, reward(candidate))
