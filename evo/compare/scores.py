"""The performance score of every strategy on every problem that has one, and why the others have none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evo.compare import metrics
from evo.compare.config import CompareConfig
from evo.compare.outcome import Outcome
from evo.compare.reference import Reference
from evo.compare.statistics import Interval, resampled_weights

__all__ = ["Scores", "score_table"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Performance scores, and what they rest on."""

    values: Floats
    """(problems, strategies); NaN on problems that have none."""
    samples: Floats
    """(problems, strategies, resamples) of a bootstrap over runs."""
    cutoffs: dict[str, int]
    """Evaluations over which each problem's score goes, before it is cut where the runs end; only of those that have one."""
    partial: tuple[str, ...]
    """Problems whose runs ended before the cutoff."""
    measured: tuple[str, ...]
    """Problems without a score because nobody knows the times of all their configurations."""
    trivial: tuple[str, ...]
    """Problems without a score because an ideal random search has the optimum at once."""

    def mean(self, strategy: int, confidence: float) -> Interval | None:
        """Of one strategy, over the problems that have a score, with its bootstrap interval; None where none has."""
        scored = ~np.isnan(self.values[:, strategy])
        if not scored.any():
            return None
        drawn = self.samples[scored, strategy].mean(axis=0)
        low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
        return Interval(float(self.values[scored, strategy].mean()), float(low), float(high))


def score_table(
    config: CompareConfig,
    problems: Sequence[str],
    strategies: Sequence[str],
    runs: Mapping[tuple[str, str, int], Outcome],
    references: Mapping[str, Reference],
    rng: np.random.Generator,
) -> Scores:
    """Scores go as far as the longest run of the problem; where seconds or dollars end runs, as far as the shortest."""
    values = np.full((len(problems), len(strategies)), np.nan)
    samples = np.full((len(problems), len(strategies), config.resamples), np.nan)
    cutoffs: dict[str, int] = {}
    partial, measured, trivial = [], [], []
    for row, problem in enumerate(problems):
        known = references[problem].objectives
        if known is None:
            measured.append(problem)
            continue
        times = np.exp(-known[::-1])  # in units of the baseline's time
        mine = [[runs[problem, name, seed] for seed in config.seed_list] for name in strategies]
        lengths = [len(run.objective) for each in mine for run in each]
        end = max(lengths) if config.axis == "evaluations" else min(lengths)
        points = metrics.score_points(times, end)
        for column, each in enumerate(mine):
            curves = [np.exp(-metrics.best_so_far(run.objective)) for run in each]
            ranks = metrics.score_ranks(times, curves, points)
            values[row, column] = metrics.performance_score(times, ranks, points)[0]
            weights = resampled_weights(len(each), config.resamples, rng)
            samples[row, column] = metrics.performance_score(times, ranks, points, weights)
        if np.isnan(values[row]).any():  # which does not depend on the strategy
            trivial.append(problem)
            continue
        cutoffs[problem] = metrics.score_cutoff(times)
        if end < cutoffs[problem]:
            partial.append(problem)
    return Scores(values, samples, cutoffs, tuple(partial), tuple(measured), tuple(trivial))
