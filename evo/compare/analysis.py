"""Everything that a comparison's report says, as plain values: figures per strategy, tests per pair, ranks over problems."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evo.compare import metrics
from evo.compare.config import CompareConfig
from evo.compare.matching import curves_of, matching
from evo.compare.outcome import Outcome
from evo.compare.pairs import Pair, overall_pairs, problem_pairs
from evo.compare.reference import Reference
from evo.compare.scores import Scores, score_table
from evo.compare.statistics import (
    Friedman,
    Interval,
    friedman,
    interquartile_mean,
    stratified_bootstrap,
)

__all__ = ["PLAIN", "Analysis", "Standing", "analyse"]

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
PLAIN = "random"
"""The strategy that the others are measured against in evaluations."""
POINTS = 401
"""Of the grid of seconds or dollars on which curves are matched."""
SEED = 20240607
"""Of the bootstrap: a report made again from the same runs says the same."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One strategy over all problems."""

    strategy: str
    area: Interval
    """Interquartile mean over all runs."""
    found: tuple[Interval, ...]
    """At each checkpoint: mean over problems of the mean over seeds."""
    score: Interval | None
    """Performance score, mean over the problems that have one; None where none has."""
    reached: tuple[float, ...]
    """Share of runs that reached each target."""
    qd: float | None
    """Mean over the problems that have a QD-score; None where none has: nothing there beats its baseline."""
    coverage: float
    matched: Interval | None = None
    """Evaluations (or seconds or dollars, as the budget is) after which it has, on average, what `PLAIN` has at the end; None for that
    one itself."""
    qd_remeasured: float | None = None
    coverage_remeasured: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """All of it. Strategies are in order of their area, best first."""

    config: CompareConfig
    problems: tuple[str, ...]
    strategies: tuple[str, ...]
    seeds: int
    axis: str
    budget: float
    checkpoints: tuple[float, ...]
    """In evaluations, or where the budget is one of seconds or dollars, in those."""
    references: dict[str, Reference]
    areas: Floats
    """(problems, strategies, seeds)."""
    scores: Scores
    found: Floats
    """(problems, strategies, checkpoints) mean over seeds."""
    standings: tuple[Standing, ...]
    overall: tuple[Pair, ...]
    by_problem: tuple[Pair, ...]
    ranks: Friedman | None

    def pair(self, one: str, other: str) -> Pair:
        """The overall comparison of two strategies, the first one first."""
        for pair in self.overall:
            if (pair.one, pair.other) == (one, other):
                return pair
            if (pair.one, pair.other) == (other, one):
                return pair.turned()
        raise KeyError((one, other))


def analyse(config: CompareConfig, outcomes: Sequence[Outcome], references: dict[str, Reference]) -> Analysis:
    """Raises UserError when a statistics library is missing."""
    problems = tuple(entry.label for entry in config.problems)
    given = tuple(entry.shown for entry in config.contestants)
    runs = {(outcome.problem, outcome.strategy, outcome.seed): outcome for outcome in outcomes}
    axis = config.axis
    budget = float(getattr(config.budget, axis))
    checkpoints = checkpoints_of(config, outcomes)

    def table(measure: object) -> Floats:
        assert callable(measure)
        return np.array(
            [[[measure(runs[p, s, seed], references[p]) for seed in config.seed_list] for s in given] for p in problems], dtype=np.float64
        )

    areas = table(lambda run, known: metrics.area(run, known, axis, budget))
    order = sorted(range(len(given)), key=lambda index: (-float(interquartile_mean(areas[:, index].ravel())), given[index]))
    strategies = tuple(given[index] for index in order)
    found = np.stack([table(lambda run, known, b=b: metrics.found_at(run, known, b, axis)) for b in checkpoints], axis=-1)
    areas, found = areas[:, order], found[:, order]
    rng = np.random.default_rng(SEED)
    scores = score_table(config, problems, strategies, runs, references, rng)
    standings = tuple(standing(config, index, name, areas, found, scores, runs, references, rng) for index, name in enumerate(strategies))
    return Analysis(
        config, problems, strategies, len(config.seed_list), axis, budget, checkpoints, references, areas, scores, found.mean(axis=2),
        standings, overall_pairs(config, strategies, areas), problem_pairs(config, problems, strategies, areas),
        friedman(areas.mean(axis=2), config.significance),
    )  # fmt: skip


def checkpoints_of(config: CompareConfig, outcomes: Sequence[Outcome]) -> tuple[float, ...]:
    """Those that the config names, as far as the runs go; else a sixteenth, an eighth, … of the evaluations, and all of them. A
    quarter, a half and all of a budget of seconds or dollars."""
    if config.axis != "evaluations":
        return tuple(float(getattr(config.budget, config.axis)) / part for part in (4, 2, 1))
    most = most_evaluations(config, outcomes)
    if config.checkpoints:
        return tuple(sorted({min(each, most) for each in config.checkpoints}))
    return tuple(sorted({max(1, round(most / part)) for part in (16, 8, 4, 2, 1)}))


def most_evaluations(config: CompareConfig, outcomes: Iterable[Outcome]) -> int:
    return config.budget.evaluations or max(len(outcome.objective) for outcome in outcomes)


def standing(
    config: CompareConfig,
    index: int,
    name: str,
    areas: Floats,
    found: Floats,
    scores: Scores,
    runs: dict[tuple[str, str, int], Outcome],
    references: dict[str, Reference],
    rng: np.random.Generator,
) -> Standing:
    mine = [(run, references[run.problem]) for run in runs.values() if run.strategy == name]
    quantiles = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    at = []
    seeds = found.shape[2]
    drawn = rng.integers(0, seeds, (config.resamples, found.shape[0], seeds))
    for checkpoint in range(found.shape[3]):
        values = found[:, index, :, checkpoint]
        low, high = np.quantile(np.take_along_axis(values[None], drawn, axis=2).mean(axis=(1, 2)), quantiles)
        at.append(Interval(float(values.mean()), float(low), float(high)))
    fresh = [(run.remeasured, known) for run, known in mine if run.remeasured is not None]
    return Standing(
        name,
        stratified_bootstrap(areas[:, index], config.resamples, CONFIDENCE, rng),
        tuple(at),
        scores.mean(index, CONFIDENCE),
        tuple(
            float(np.mean([math.isfinite(metrics.evaluations_to(run, known, target)) for run, known in mine])) for target in config.targets
        ),
        _defined_mean([metrics.qd_score(run.elites, known) for run, known in mine]),
        float(np.mean([metrics.coverage(run.elites, known) for run, known in mine])),
        matched(config, name, runs, references, rng),
        _defined_mean([metrics.qd_score(elites, known, remeasured=True) for elites, known in fresh]),
        float(np.mean([metrics.coverage(elites, known) for elites, known in fresh])) if fresh else None,
    )


def _defined_mean(values: Sequence[float]) -> float | None:
    defined = [value for value in values if not math.isnan(value)]
    return float(np.mean(defined)) if defined else None


def matched(
    config: CompareConfig, name: str, runs: dict[tuple[str, str, int], Outcome], references: dict[str, Reference], rng: np.random.Generator
) -> Interval | None:
    plain = next((entry.shown for entry in config.contestants if entry.name == PLAIN and not entry.parameters), None)
    if plain is None or name == plain:
        return None
    if config.axis == "evaluations":
        grid = np.arange(1.0, most_evaluations(config, runs.values()) + 1)
    else:
        grid = np.linspace(0.0, float(getattr(config.budget, config.axis)), POINTS)
    mine, others = (
        curves_of([run for run in runs.values() if run.strategy == each], references, grid, config.axis) for each in (name, plain)
    )
    return matching(mine, others, grid, config.resamples, CONFIDENCE, rng)
