"""How good a run was: anytime curves, and the figures that are read off them.

All of them are functions of one run's best-so-far, or of the best-so-fars of all seeds of a strategy on a problem.

* *found*: speed of the best so far as a share of the optimum's (best time / found time), 0..1.
* *area*: the mean of *found* over the budget, evaluation by evaluation: how good a run was at whatever moment it is stopped.
* *performance score*: F.-J. Willemsen, R. Schoonhoven, J. Filipovič, J. O. Tørring, R. van Nieuwpoort & B. van Werkhoven, "A
  methodology for comparing optimization algorithms for auto-tuning", Future Generation Computer Systems 159, 2024. 0 is an
  ideal random search (drawing without replacement), 1 is the optimum at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from evo.compare.outcome import Outcome
from evo.compare.reference import Reference

__all__ = [
    "area",
    "best_so_far",
    "coverage",
    "evaluations_to",
    "found_at",
    "on_grid",
    "performance_score",
    "qd_score",
    "random_search",
    "score_cutoff",
    "score_points",
    "score_ranks",
    "spent_by",
]

Floats = NDArray[np.float64]


def best_so_far(objective: Floats) -> Floats:
    """(n,) running maximum; NaN before the first that is right."""
    if not objective.size:
        return objective
    running = np.maximum.accumulate(np.where(np.isnan(objective), -np.inf, objective))
    return np.where(np.isinf(running), np.nan, running)


def on_grid(values: Floats, at: Floats, grid: Floats) -> Floats:
    """A step function at the points of a grid: the value that was reached at or before each; NaN before the first.

    Args:
        values: (n,) values.
        at: (n,) where each is reached, ascending.
        grid: (m,) points.
    """
    place = np.searchsorted(at, grid, side="right") - 1
    return np.where(place >= 0, values[np.maximum(place, 0)], np.nan) if values.size else np.full(len(grid), np.nan)


def found_at(outcome: Outcome, reference: Reference, spent: float, axis: str = "evaluations") -> float:
    """Found after so many evaluations, seconds or dollars; a run that ended earlier keeps what it had."""
    best = best_so_far(outcome.objective)
    return float(reference.share(on_grid(best, spent_by(outcome, axis), np.array([spent])))[0])


def spent_by(outcome: Outcome, axis: str) -> Floats:
    """(n,) evaluations, seconds or dollars that were spent when each evaluation was over."""
    if axis == "evaluations":
        return np.arange(1.0, len(outcome.objective) + 1)
    at: Floats = getattr(outcome, axis)
    return at


def area(outcome: Outcome, reference: Reference, axis: str, budget: float) -> float:
    """Mean of found over the budget.

    Args:
        axis: `evaluations`, `seconds` or `dollars`: what the budget counts.
        budget: its limit; what a run did beyond it (the last evaluation may cross it) does not count.
    """
    best = reference.share(best_so_far(outcome.objective))
    if axis == "evaluations":
        length = int(budget)
        padded = np.concatenate([best[:length], np.full(max(0, length - len(best)), best[-1] if len(best) else 0.0)])
        return float(padded.mean())
    at = np.minimum(spent_by(outcome, axis), budget)
    steps = np.diff(np.concatenate([at, [budget]]))
    return float(np.sum(best * steps) / budget)


def evaluations_to(outcome: Outcome, reference: Reference, target: float) -> float:
    """Evaluations until found reaches `target`; infinite when it never does."""
    reached = np.flatnonzero(reference.share(best_so_far(outcome.objective)) >= target)
    return float(reached[0] + 1) if reached.size else math.inf


# ── performance score ──


def score_cutoff(times: Floats, share: float = 0.95) -> int:
    """Evaluations that an ideal random search needs to come `share` of the way from the median to the best time.

    Args:
        times: ascending times of all working configurations.
    """
    falling, n = times[::-1], len(times)
    best, median = times[0], float(np.median(times))
    slower = int(np.argmax(falling <= best + (median - best) * (1 - share)))
    return math.ceil(slower / (n + 1 - slower))


def random_search(times: Floats, evaluations: NDArray[np.intp]) -> Floats:
    """Expected best time of drawing that many working configurations without replacement, by mean rank."""
    falling, n = times[::-1], len(times)
    return np.array([falling[min(n - 1, round(m * (n + 1) / (m + 1)))] for m in evaluations.tolist()])


def score_points(times: Floats, longest: int, points: int = 200) -> NDArray[np.intp]:
    """The numbers of evaluations at which the score compares: evenly up to the cutoff, and no further than the runs go.

    Beyond a run's end an ideal random search would go on where the run cannot: however good, it would fall behind.
    """
    end = max(2, score_cutoff(times))
    grid = sorted({max(1, round(1 + (end - 1) * k / (points - 1))) for k in range(points)})
    return np.array([point for point in grid if point <= longest] or [1], dtype=np.intp)


def score_ranks(times: Floats, found: Sequence[Floats], points: NDArray[np.intp]) -> Floats:
    """(runs, points) rank of each run's best time among all times, 0 the best, the last before anything worked."""
    rows = np.full((len(found), len(points)), float(len(times) - 1))
    for row, curve in zip(rows, found, strict=True):
        if len(curve):
            values = curve[np.minimum(points, len(curve)) - 1]
            known = ~np.isnan(values)
            row[known] = np.searchsorted(times, values[known], side="left")
    return rows


def performance_score(times: Floats, ranks: Floats, points: NDArray[np.intp], weights: Floats | None = None) -> Floats:
    """The score of runs together: their ranks are averaged, then compared with an ideal random search at every point.

    Args:
        times: ascending times of all working configurations.
        ranks: of `score_ranks`.
        weights: (k, runs) k ways to weigh the runs, each row summing to 1 (for a bootstrap); all alike by default.

    Returns:
        (k,) scores; k = 1 without weights. NaN where an ideal random search has the optimum from the first point on, as in spaces
        of a handful of configurations: nothing is left to be better at.
    """
    weights = np.full((1, len(ranks)), 1 / len(ranks)) if weights is None else weights
    mean = np.rint(weights @ ranks).astype(np.intp)
    expected = random_search(times, points)
    room = expected - times[0]
    usable = room > 0
    if not usable.any():
        return np.full(len(weights), np.nan)
    gained = (expected - times[mean])[:, usable] / room[usable]
    scores: Floats = gained.mean(axis=1)
    return scores


# ── quality and diversity ──


def qd_score(elites: Mapping[str, float], reference: Reference, *, remeasured: bool = False) -> float:
    """Sum over cells of the elites' objectives above 0, as a share of the most that is known to be possible (0..1).

    NaN where that is 0, because nothing that is known beats the baseline: there is nothing to have a share of.

    Args:
        remeasured: whether these objectives were measured afresh; they are a share of the best that was measured so.
    """
    most = reference.qd_remeasured_optimum if remeasured else reference.qd_optimum
    return math.fsum(max(0.0, objective) for objective in elites.values()) / most if most > 0 else math.nan


def coverage(elites: Mapping[str, float], reference: Reference) -> float:
    """Filled cells as a share of those that are known to be reachable (0..1)."""
    return len(elites) / len(reference.cells) if reference.cells else 0.0
