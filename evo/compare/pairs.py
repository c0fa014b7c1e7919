"""Two strategies against each other: over all problems, and on each one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from evo.compare.config import CompareConfig
from evo.compare.statistics import a12, holm, rank_sum, seeds_needed, van_elteren

__all__ = ["Pair", "overall_pairs", "problem_pairs"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two strategies, on one problem or over all."""

    one: str
    other: str
    problem: str
    """Empty: over all problems."""
    difference: float
    """Of the mean areas, first minus second. It may point the other way than the ranks: one bad run moves a mean, not a rank."""
    a12: float
    """Above 0.5: the runs of the first rank higher. As many seeds everywhere, it points where van Elteren's statistic does."""
    p: float
    adjusted: float
    """After Holm's correction over all pairs (and problems) of its kind."""
    needed: float
    """Seeds per strategy that would tell a difference of this size apart, at the level shared out among all pairs of its kind; NaN
    where the test has no such figure (Wilcoxon's)."""

    def higher(self, level: float) -> str | None:
        """Whose runs rank higher, by the test at this level; None where they cannot be told apart."""
        if self.adjusted >= level:
            return None
        return self.one if self.a12 > 0.5 else self.other

    def agrees(self) -> bool:
        """Whether means and ranks point the same way."""
        return (self.difference > 0) == (self.a12 > 0.5)

    def turned(self) -> Pair:
        """The same with the second one first."""
        return replace(self, one=self.other, other=self.one, difference=-self.difference, a12=1 - self.a12)


def overall_pairs(config: CompareConfig, strategies: Sequence[str], areas: Floats) -> tuple[Pair, ...]:
    """Every two strategies over all problems.

    Args:
        areas: (problems, strategies, seeds).
    """
    seeds = areas.shape[2]
    found = []
    level = config.significance / max(1, math.comb(len(strategies), 2))
    for i, j in combinations(range(len(strategies)), 2):
        test = van_elteren(list(areas[:, i]), list(areas[:, j]))
        difference = float(areas[:, i].mean() - areas[:, j].mean())
        found.append((strategies[i], strategies[j], difference, test, seeds_needed(test.z, seeds, level)))
    adjusted = holm([test.p for _, _, _, test, _ in found])
    return tuple(
        Pair(one, other, "", difference, test.a12, test.p, p, needed)
        for (one, other, difference, test, needed), p in zip(found, adjusted, strict=True)
    )


def problem_pairs(config: CompareConfig, problems: Sequence[str], strategies: Sequence[str], areas: Floats) -> tuple[Pair, ...]:
    """Every two strategies on every problem. Seeds needed are those of the unpaired test, so that Wilcoxon's has none.

    Args:
        areas: (problems, strategies, seeds).
    """
    paired = config.test == "wilcoxon"
    level = config.significance / max(1, math.comb(len(strategies), 2) * len(problems))
    found = []
    for row, problem in enumerate(problems):
        for i, j in combinations(range(len(strategies)), 2):
            one, other = areas[row, i], areas[row, j]
            needed = math.nan if paired else seeds_needed(van_elteren([one], [other]).z, len(one), level)
            found.append((strategies[i], strategies[j], problem, one, other, rank_sum(one, other, paired=paired), needed))
    adjusted = holm([p for *_, p, _ in found])
    return tuple(
        Pair(one_name, other_name, problem, float(one.mean() - other.mean()), a12(one, other), p, corrected, needed)
        for (one_name, other_name, problem, one, other, p, needed), corrected in zip(found, adjusted, strict=True)
    )
