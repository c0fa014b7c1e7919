"""How much sooner: what a strategy has spent when it has, on average, what another one has at the end of its budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from evo.compare.metrics import best_so_far, on_grid, spent_by
from evo.compare.outcome import Outcome
from evo.compare.reference import Reference
from evo.compare.statistics import Interval, resampled_weights

__all__ = ["curves_of", "matching"]

Floats = NDArray[np.float64]


def curves_of(outcomes: Sequence[Outcome], references: Mapping[str, Reference], grid: Floats, axis: str = "evaluations") -> list[Floats]:
    """Per problem (runs, points) of found at each point of a grid of what was spent; a run that ended early keeps what it had."""
    by_problem: dict[str, list[Floats]] = {}
    for outcome in outcomes:
        values = on_grid(best_so_far(outcome.objective), spent_by(outcome, axis), grid)
        by_problem.setdefault(outcome.problem, []).append(references[outcome.problem].share(values))
    return [np.array(runs) for runs in by_problem.values()]


def matching(
    mine: Sequence[Floats], others: Sequence[Floats], grid: Floats, resamples: int, confidence: float, rng: np.random.Generator
) -> Interval:
    """The first point of the grid at which the mean of `mine` is at least the mean of `others` at their end.

    Both are (runs, points) per problem; runs are averaged within problems, then problems. Infinite when it never is. The interval
    is a bootstrap percentile interval, runs resampled within problems on both sides.
    """

    def means(curves: Sequence[Floats], weights: Sequence[Floats]) -> Floats:
        total: Floats = np.mean([weight @ runs for weight, runs in zip(weights, curves, strict=True)], axis=0)
        return total

    def first(curves: Floats, levels: Floats) -> Floats:
        reached = curves >= levels[:, None] - 1e-12
        return np.where(reached.any(axis=1), grid[reached.argmax(axis=1)], math.inf)

    once = [np.full((1, len(runs)), 1 / len(runs)) for runs in mine], [np.full((1, len(runs)), 1 / len(runs)) for runs in others]
    value = first(means(mine, once[0]), means(others, once[1])[:, -1])[0]
    drawn = first(
        means(mine, [resampled_weights(len(runs), resamples, rng) for runs in mine]),
        means([runs[:, -1:] for runs in others], [resampled_weights(len(runs), resamples, rng) for runs in others])[:, -1],
    )
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], method="inverted_cdf")
    return Interval(float(value), float(low), float(high))
