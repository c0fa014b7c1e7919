"""The statistics of a comparison, against published values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evo.compare.statistics import (
    a12,
    cliques,
    friedman,
    holm,
    interquartile_mean,
    rank_sum,
    seeds_needed,
    stratified_bootstrap,
    van_elteren,
)

DEMSAR = np.array(
    # J. Demšar, JMLR 7, 2006, table 6: AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets.
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],  # printed as 0.975 twice, ranked 2 and 3
        [0.957, 0.978, 0.946, 0.970],
    ]
)
MALES, FEMALES = np.array([19.0, 22, 16, 29, 24]), np.array([20.0, 11, 17, 12])
"""Ages at diagnosis, the example in SciPy's documentation: U = 17, exact p = 0.111."""


def test_friedman_and_nemenyi_give_demsars_published_figures() -> None:
    found = friedman(DEMSAR, 0.05)
    assert found is not None
    assert np.allclose(found.ranks, [3.143, 2.000, 2.893, 1.964], atol=5e-4)
    assert found.critical_difference == pytest.approx(1.25, abs=5e-3)
    # He gives 9.28 without a correction for ties, from his formula (1); SciPy corrects for them.
    k, n = 4, len(DEMSAR)
    uncorrected = 12 * n / (k * (k + 1)) * (sum(rank**2 for rank in found.ranks) - k * (k + 1) ** 2 / 4)
    assert uncorrected == pytest.approx(9.28, abs=5e-3)
    assert found.statistic >= uncorrected and found.p < 0.05
    # "at p = 0.10 CD is 1.12": there C4.5 is worse than C4.5+m and C4.5+m+cf, at 0.05 nothing is.
    lenient = friedman(DEMSAR, 0.10)
    assert lenient is not None and lenient.critical_difference == pytest.approx(1.12, abs=5e-3)
    assert found.pairs.min() > 0.05 and lenient.pairs[0, 1] < 0.10 and lenient.pairs[0, 3] < 0.10


def test_demsars_diagram_joins_what_he_joins() -> None:
    found = friedman(DEMSAR, 0.10)
    assert found is not None
    # Figure 1 (b): one bar over C4.5+m+cf, C4.5+m and C4.5+cf, another over C4.5+cf and C4.5.
    assert cliques(found.ranks, found.critical_difference) == [(3, 1, 2), (2, 0)]


def test_holm_gives_the_textbook_adjustment() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_a12_is_the_share_of_pairs_won_and_ties_count_half() -> None:
    assert a12(MALES, FEMALES) == pytest.approx(17 / 20)
    assert a12(FEMALES, MALES) == pytest.approx(3 / 20)
    assert a12(np.array([1.0, 2.0]), np.array([1.0, 2.0])) == 0.5


def test_mann_whitney_gives_the_published_exact_p() -> None:
    assert rank_sum(MALES, FEMALES) == pytest.approx(0.1111, abs=1e-4)


def test_wilcoxon_gives_darwins_maize() -> None:
    # Heights of cross- and self-fertilised maize, C. Darwin 1876 (SciPy's example): W = 24, exact p = 0.0413.
    differences = np.array([6.0, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75])
    assert rank_sum(differences, np.zeros(15), paired=True) == pytest.approx(0.04126, abs=1e-5)


def test_equal_runs_differ_by_nothing() -> None:
    same = np.array([0.4, 0.5, 0.6])
    assert rank_sum(same, same) == 1.0 and rank_sum(same, same, paired=True) == 1.0
    assert van_elteren([same], [same]).p == 1.0


def test_van_elteren_on_one_problem_is_the_normal_mann_whitney_test() -> None:
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(1)
    one, other = np.round(rng.normal(0.3, 1, 12), 1), np.round(rng.normal(0, 1, 15), 1)
    expected = mannwhitneyu(one, other, method="asymptotic", use_continuity=False)
    assert van_elteren([one], [other]).p == pytest.approx(float(expected.pvalue), rel=1e-12)


def test_van_elteren_over_problems_agrees_with_permuting_labels_within_each() -> None:
    rng = np.random.default_rng(2)
    ones = [rng.normal(shift + 0.5, 1, 8) for shift in (0, 10, 100)]
    others = [rng.normal(shift, 1, 8) for shift in (0, 10, 100)]
    found = van_elteren(ones, others)
    at_least = 0
    for _ in range(2000):
        mixed = [rng.permutation(np.concatenate(pair)) for pair in zip(ones, others, strict=True)]
        at_least += abs(van_elteren([m[:8] for m in mixed], [m[8:] for m in mixed]).z) >= abs(found.z) - 1e-12
    assert found.p == pytest.approx(at_least / 2000, abs=0.03)
    assert found.a12 == pytest.approx(np.mean([a12(one, other) for one, other in zip(ones, others, strict=True)]))


def test_seeds_needed_is_noethers_sample_size() -> None:
    # Noether (1987): p = 0.7, two-sided 5 %, power 80 %: N = (1.96 + 0.84)^2 / (3 (p - 1/2)^2) = 65.4, so 33 in each group.
    n, p = 1000, 0.7
    z = (p - 0.5) * n * n / math.sqrt(n * n * (2 * n) / 12)  # of U = p n^2, large samples
    assert seeds_needed(z, n, 0.05) == 33
    assert math.isinf(seeds_needed(0.0, 10, 0.05))


def test_seeds_needed_find_the_difference_as_often_as_they_promise() -> None:
    rng = np.random.default_rng(3)
    big = 400
    z = van_elteren([rng.normal(0.8, 1, big)], [rng.normal(0, 1, big)]).z
    n = int(seeds_needed(z, big, 0.05))
    found = np.mean([van_elteren([rng.normal(0.8, 1, n)], [rng.normal(0, 1, n)]).p < 0.05 for _ in range(600)])
    assert found == pytest.approx(0.8, abs=0.08)


def test_the_interquartile_mean_drops_a_quarter_at_each_end() -> None:
    # rliable's IQM is scipy's 25 % trimmed mean: the mean of 4, 5, 6, 7, 8, 9 for 1..12.
    assert interquartile_mean(np.arange(1.0, 13.0)) == 6.5
    assert interquartile_mean(np.array([0.0, 1.0, 1.0, 1000.0])) == 1.0


def test_the_stratified_interval_covers_the_truth_as_often_as_it_says_and_ignores_how_problems_differ() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(200):
        scores = rng.normal(0.5, 0.1, (5, 20))
        interval = stratified_bootstrap(scores, 200, 0.95, rng)
        covered += interval.low <= 0.5 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99
    # Problems far apart, each without spread: nothing is uncertain.
    apart = np.repeat(np.arange(5.0)[:, None], 20, axis=1)
    interval = stratified_bootstrap(apart, 200, 0.95, rng)
    assert interval.low == interval.value == interval.high


def test_too_few_strategies_or_problems_have_no_ranking() -> None:
    assert friedman(DEMSAR[:, :2], 0.05) is None
    assert friedman(DEMSAR[:1], 0.05) is None
