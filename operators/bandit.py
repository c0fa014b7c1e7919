"""Choosing among arms by what they earned per unit of cost, under uncertainty; and the fixed weights they compete with.

`UCB`: P. Auer, N. Cesa-Bianchi & P. Fischer, "Finite-time Analysis of the Multiarmed Bandit Problem", Machine Learning 47,
2002 (UCB1). `Thompson`: W. R. Thompson, Biometrika 25, 1933, here with a normal posterior over the mean reward. Rewards are
divided by cost (L. Tran-Thanh et al., "Knapsack based optimal policies for budget-limited multi-armed bandits", AAAI 2012)
and scaled by the largest seen, so that dollars and seconds need no unit.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from operators.base import OperatorError, pick

__all__ = ["CHOOSERS", "UCB", "Chooser", "Thompson", "Weights", "chooser"]


@dataclass
class Arm:
    """What is known of an arm."""

    weight: float
    pulls: int = 0
    earned: float = 0.0
    squares: float = 0.0
    top: float = 0.0
    """The largest reward."""
    cost: float = 0.0


class Chooser(ABC):
    """Chooses an arm, hears what it brought.

    Args:
        weights: prior shares by arm; an arm of weight 0 is never chosen.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.arms = {name: Arm(weight) for name, weight in weights.items() if weight > 0}
        if not self.arms:
            raise OperatorError("weights: found no positive weight, expected at least one to choose from")

    @abstractmethod
    def choose(self, rng: random.Random) -> str:
        """An arm's name; a function of what was told and of `rng`."""

    def learn(self, name: str, earned: float, cost: float) -> None:
        """An arm brought `earned` (>= 0, e.g. ln of an improvement) for `cost` (dollars or seconds)."""
        arm = self.arms.get(name)
        if arm is not None:
            arm.pulls += 1
            arm.earned += max(0.0, earned)
            arm.squares += max(0.0, earned) ** 2
            arm.top = max(arm.top, earned)
            arm.cost += max(0.0, cost)

    def rate(self, name: str) -> float:
        """Earned per unit of cost so far, on the scale of the best arm, 0..1."""
        top = max((_rate(arm) for arm in self.arms.values()), default=0.0)
        return _rate(self.arms[name]) / top if top > 0 else 0.0

    def _unknown(self, rng: random.Random) -> str | None:
        """An arm that was never tried, by weight."""
        fresh = {name: arm.weight for name, arm in self.arms.items() if arm.pulls == 0}
        return pick(fresh, rng) if fresh else None


class Weights(Chooser):
    """By fixed weights, whatever is learned."""

    def choose(self, rng: random.Random) -> str:
        return pick({name: arm.weight for name, arm in self.arms.items()}, rng)


class UCB(Chooser):
    """The arm with the highest optimistic rate; weights only break the ties of the beginning."""

    exploration = math.sqrt(2.0)

    def choose(self, rng: random.Random) -> str:
        unknown = self._unknown(rng)
        if unknown is not None:
            return unknown
        total = sum(arm.pulls for arm in self.arms.values())
        return max(self.arms, key=lambda name: self.rate(name) + self.exploration * math.sqrt(math.log(total) / self.arms[name].pulls))


class Thompson(Chooser):
    """The arm with the highest rate drawn from what is believed of each; a small share goes by weight, so that none is given up."""

    share = 0.05

    def choose(self, rng: random.Random) -> str:
        unknown = self._unknown(rng)
        if unknown is not None:
            return unknown
        if rng.random() < self.share:
            return pick({name: arm.weight for name, arm in self.arms.items()}, rng)
        return max(self.arms, key=lambda name: self._draw(name, rng))

    def _draw(self, name: str, rng: random.Random) -> float:
        arm = self.arms[name]
        top = max(other.top for other in self.arms.values()) or 1.0
        # One imagined half of the largest reward keeps an arm that only failed so far from being certain.
        mean = (arm.earned + 0.5 * top) / (arm.pulls + 1)
        spread = math.sqrt(max(arm.squares / arm.pulls - (arm.earned / arm.pulls) ** 2, 0.0) + 0.25 * top**2 / (arm.pulls + 1))
        per_pull = arm.cost / arm.pulls or 1.0
        return rng.gauss(mean, spread / math.sqrt(arm.pulls + 1)) / per_pull


CHOOSERS: Mapping[str, type[Chooser]] = {"weights": Weights, "ucb": UCB, "thompson": Thompson}


def chooser(kind: str, weights: Mapping[str, float]) -> Chooser:
    """Raises OperatorError for an unknown kind."""
    if kind not in CHOOSERS:
        raise OperatorError(f"choose: found `{kind}`, expected one of {', '.join(CHOOSERS)}")
    return CHOOSERS[kind](weights)


def _rate(arm: Arm) -> float:
    if not arm.pulls:
        return 0.0
    return arm.earned / arm.cost if arm.cost > 0 else arm.earned / arm.pulls
