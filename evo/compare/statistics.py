"""The statistics of a comparison. SciPy, statsmodels and scikit-posthocs do the work; each method says where it comes from.

* Interquartile means with stratified bootstrap intervals: R. Agarwal, M. Schwarzer, P. S. Castro, A. C. Courville & M. G.
  Bellemare, "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021 (rliable).
* A12: A. Vargha & H. D. Delaney, "A Critique and Improvement of the CL Common Language Effect Size Statistics of McGraw and
  Wong", J. Educational and Behavioral Statistics 25(2), 2000.
* Two strategies over all problems: the stratified rank-sum test of P. van Elteren, "On the combination of independent two
  sample tests of Wilcoxon", Bulletin of the International Statistical Institute 37, 1960. Problems are the strata, so it asks
  about *these* problems; on one problem it is the Wilcoxon–Mann–Whitney test.
* Strategies over problems as a sample of all problems: Friedman's test with Nemenyi's critical difference, after J. Demšar,
  "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006.
* Sample sizes: G. E. Noether, "Sample Size Determination for Some Common Nonparametric Tests", JASA 82(398), 1987.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evo.errors import UserError

__all__ = [
    "Friedman",
    "Interval",
    "Stratified",
    "a12",
    "cliques",
    "friedman",
    "holm",
    "interquartile_mean",
    "need",
    "rank_sum",
    "resampled_weights",
    "seeds_needed",
    "stratified_bootstrap",
    "van_elteren",
]

Floats = NDArray[np.float64]
POWER = 0.8
"""Probability with which a difference that is there should be found."""
NEEDED = ("scipy", "statsmodels", "scikit_posthocs")


def need() -> None:
    """Raises UserError when a library of the `[compare]` extra is missing."""
    import importlib.util

    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            "Comparing strategies needs statistics libraries that are not installed.",
            found=f"no {', '.join(missing)}",
            expected="the [compare] extra",
            remedy="pip install 'evo-kernels[compare]' (in a clone: pip install -e '.[compare]').",
        )


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with a confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Stratified:
    """Two strategies over several problems."""

    z: float
    """Standard normal under no difference; positive: the first is better."""
    p: float
    """Two-sided."""
    a12: float
    """Mean over problems."""


@dataclass(frozen=True, slots=True)
class Friedman:
    """Strategies ranked on every problem."""

    statistic: float
    """Friedman's chi square."""
    p: float
    ranks: tuple[float, ...]
    """Mean rank of each strategy, 1 the best."""
    critical_difference: float
    """Mean ranks that differ by less cannot be told apart (Nemenyi)."""
    pairs: NDArray[np.float64]
    """(k, k) Nemenyi p-values."""


# ── one strategy ──


def interquartile_mean(values: Floats, axis: int = -1) -> Any:
    """Mean of the middle half along an axis."""
    from scipy.stats import trim_mean

    return trim_mean(values, 0.25, axis=axis)


def stratified_bootstrap(scores: Floats, resamples: int, confidence: float, rng: np.random.Generator) -> Interval:
    """The interquartile mean over all runs and problems with its percentile interval; seeds are resampled within each problem.

    Args:
        scores: (problems, seeds).
    """
    problems, seeds = scores.shape
    drawn = rng.integers(0, seeds, (resamples, problems, seeds))
    values = np.take_along_axis(scores[None], drawn, axis=2).reshape(resamples, -1)
    means = interquartile_mean(values, axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(interquartile_mean(scores.ravel())), float(low), float(high))


def resampled_weights(runs: int, resamples: int, rng: np.random.Generator) -> Floats:
    """(resamples, runs) how often each run is in each bootstrap resample, as shares."""
    return rng.multinomial(runs, np.full(runs, 1 / runs), resamples) / runs


# ── two strategies ──


def a12(one: Floats, other: Floats) -> float:
    """Probability that a run of the first beats one of the second, ties counting half; 0.5: no difference."""
    from scipy.stats import rankdata

    m, n = len(one), len(other)
    ranks = rankdata(np.concatenate([one, other]))[:m]
    return float((ranks.sum() / m - (m + 1) / 2) / n)


def rank_sum(one: Floats, other: Floats, *, paired: bool = False) -> float:
    """Two-sided p-value of the Mann–Whitney test, or of Wilcoxon's signed-rank test when runs are paired by seed."""
    from scipy.stats import mannwhitneyu, wilcoxon

    if np.array_equal(one, other) or min(len(one), len(other)) < 2:
        return 1.0
    if paired:
        return float(wilcoxon(one, other).pvalue)
    return float(mannwhitneyu(one, other, alternative="two-sided").pvalue)


def van_elteren(ones: Sequence[Floats], others: Sequence[Floats]) -> Stratified:
    """The stratified rank-sum test; each stratum weighs 1 / (m + n + 1), ties are corrected for, normal approximation."""
    from scipy.stats import norm, rankdata

    excess = variance = 0.0
    for one, other in zip(ones, others, strict=True):
        m, n = len(one), len(other)
        ranks = rankdata(np.concatenate([one, other]))
        weight = 1 / (m + n + 1)
        excess += weight * (ranks[:m].sum() - m * (m + n + 1) / 2)
        spread = ((ranks - (m + n + 1) / 2) ** 2).sum() / (m + n - 1) if m + n > 1 else 0.0
        variance += weight**2 * m * n / (m + n) * spread
    z = 0.0 if variance == 0 else excess / math.sqrt(variance)
    effect = float(np.mean([a12(one, other) for one, other in zip(ones, others, strict=True)]))
    return Stratified(float(z), float(2 * norm.sf(abs(z))), effect)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that control the chance of any false finding among all of them (S. Holm, 1979)."""
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method="holm")[1]] if p_values else []


def seeds_needed(z: float, seeds: int, significance: float) -> float:
    """Seeds per strategy at which a difference as large as the observed one is found with 80 % probability.

    After Noether: z grows with the root of the number of seeds, and has to reach z(1 - significance / 2) + z(power). On one
    problem and with A12 = p that is his n = (z + z)² / (6 (p - 1/2)²) for each strategy. Infinite when z is 0.
    """
    from scipy.stats import norm

    if z == 0:
        return math.inf
    wanted = norm.ppf(1 - significance / 2) + norm.ppf(POWER)
    return math.ceil(max(2.0, seeds * float(wanted / abs(z)) ** 2))


# ── many strategies ──


def friedman(scores: Floats, significance: float) -> Friedman | None:
    """Friedman's test and Nemenyi's critical difference; None with fewer than three strategies or two problems.

    Args:
        scores: (problems, strategies), higher is better.
    """
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    problems, strategies = scores.shape
    if problems < 2 or strategies < 3:
        return None
    ranks = np.array([rankdata(-row) for row in scores])
    if np.ptp(ranks, axis=1).max() == 0:
        return Friedman(0.0, 1.0, tuple(ranks.mean(axis=0).tolist()), math.inf, np.ones((strategies, strategies)))
    from scikit_posthocs import posthoc_nemenyi_friedman

    statistic, p = friedmanchisquare(*scores.T)
    quantile = float(studentized_range.ppf(1 - significance, strategies, np.inf)) / math.sqrt(2)
    difference = quantile * math.sqrt(strategies * (strategies + 1) / (6 * problems))
    pairs = np.asarray(posthoc_nemenyi_friedman(scores), dtype=np.float64)
    return Friedman(float(statistic), float(p), tuple(ranks.mean(axis=0).tolist()), difference, pairs)


def cliques(ranks: Sequence[float], difference: float) -> list[tuple[int, ...]]:
    """Largest groups of strategies, by index in order of rank, whose mean ranks all lie within `difference`; none of one."""
    order = sorted(range(len(ranks)), key=lambda index: (ranks[index], index))
    found: list[tuple[int, ...]] = []
    last = -1
    for start in range(len(order)):
        end = max(k for k in range(start, len(order)) if ranks[order[k]] - ranks[order[start]] < difference)
        if end > start and end > last:
            found.append(tuple(order[start : end + 1]))
            last = end
    return found
