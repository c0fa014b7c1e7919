"""Anytime curves of a comparison: the CSV with every evaluation of every run, and the bands that are drawn."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evo.compare import metrics
from evo.compare.outcome import Outcome
from evo.compare.reference import Reference
from evo.compare.statistics import interquartile_mean
from evo.plots.anytime import Band

__all__ = ["COLUMNS", "band", "curves_csv", "pooled_band"]

COLUMNS = ("problem", "strategy", "seed", "evaluation", "seconds", "dollars", "speedup", "best_speedup", "found", "cells", "qd_score")
POINTS = 400
"""Of a curve against time."""
POOLED, RESAMPLES = 200, 200
"""Points of the curve over all problems, and bootstrap resamples behind its interval."""


def curves_csv(outcomes: Sequence[Outcome], references: Mapping[str, Reference]) -> bytes:
    """One row per evaluation. Speedups are over the problem's baseline; what is not known is empty.

    cells and qd_score (a share of the most that is possible) are of the archive so far, each cell by the best that was seen in it.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for outcome in outcomes:
        writer.writerows(rows(outcome, references[outcome.problem]))
    return buffer.getvalue().encode()


def rows(outcome: Outcome, reference: Reference) -> Iterable[tuple[object, ...]]:
    best = metrics.best_so_far(outcome.objective)
    found = reference.share(best)
    most = reference.qd_optimum
    elites: dict[str, float] = {}
    quality = 0.0
    for index, objective in enumerate(outcome.objective.tolist()):
        cell = outcome.cells[index]
        if cell and objective > elites.get(cell, -math.inf):
            quality += max(0.0, objective) - max(0.0, elites.get(cell, 0.0))
            elites[cell] = objective
        yield (
            outcome.problem,
            outcome.strategy,
            outcome.seed,
            index + 1,
            figure(outcome.seconds[index]),
            figure(outcome.dollars[index]),
            figure(math.exp(objective)) if not math.isnan(objective) else "",
            figure(math.exp(best[index])) if not math.isnan(best[index]) else "",
            figure(found[index]),
            len(elites),
            figure(quality / most) if most > 0 else "",
        )


def figure(value: float) -> str:
    return f"{value:.7g}"


def band(outcomes: Sequence[Outcome], reference: Reference, axis: Literal["evaluations", "seconds", "dollars"], end: float) -> Band:
    """Median and quartiles over seeds of one strategy on one problem, from nothing spent to `end`.

    Raises:
        ValueError: no outcomes.
    """
    if not outcomes:
        raise ValueError("no runs")
    values, grid = on_one_grid([(outcome, reference) for outcome in outcomes], axis, end)
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    return Band(outcomes[0].strategy, grid, middle, low, high)


def pooled_band(name: str, runs: Mapping[str, Sequence[tuple[Outcome, Reference]]], end: float) -> Band:
    """Interquartile mean over all runs of a strategy, by problem, with a 95 % stratified bootstrap interval at every point."""
    grids = [on_one_grid(each, "evaluations", end) for each in runs.values()]
    every = np.stack([values for values, _ in grids])
    grid = grids[0][1]
    shown = np.unique(np.linspace(0, len(grid) - 1, min(len(grid), POOLED)).round().astype(int))
    every, grid = every[:, :, shown], grid[shown]
    problems, seeds, points = every.shape
    drawn = np.random.default_rng(0).integers(0, seeds, (RESAMPLES, problems, seeds, 1))
    means = [interquartile_mean(np.take_along_axis(every, each, axis=1).reshape(-1, points), axis=0) for each in drawn]
    low, high = np.quantile(np.array(means), [0.025, 0.975], axis=0)
    return Band(name, grid, interquartile_mean(every.reshape(-1, points), axis=0), low, high)


def on_one_grid(runs: Sequence[tuple[Outcome, Reference]], axis: str, end: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(runs, points) found, and the (points,) grid."""
    grid = np.arange(1.0, math.floor(end) + 1) if axis == "evaluations" else np.linspace(0.0, end, POINTS)
    values = []
    for outcome, reference in runs:
        best = metrics.best_so_far(outcome.objective)
        at = np.arange(1.0, len(best) + 1) if axis == "evaluations" else getattr(outcome, axis)
        values.append(reference.share(metrics.on_grid(best, at, grid)))
    return np.array(values), grid
