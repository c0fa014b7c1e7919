"""What is read off an anytime curve."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo.compare import metrics
from evo.compare.config import ProblemEntry
from evo.compare.curves import curves_csv
from evo.compare.matching import curves_of, matching
from evo.compare.outcome import Outcome
from evo.compare.reference import Reference, measured_reference
from evo.config import ArchiveSection


def outcome(*speedups: float | None, seconds: list[float] | None = None, cells: list[str] | None = None) -> Outcome:
    objective = np.array([math.nan if value is None else math.log(value) for value in speedups])
    at = np.array(seconds if seconds is not None else list(range(1, len(speedups) + 1)), dtype=float)
    return Outcome("p", "s", 0, objective, at, np.zeros(len(at)), tuple(cells or [""] * len(at)))


KNOWN = Reference("p", math.log(4.0), True)


def test_found_is_the_share_of_the_best_known_speed_at_a_number_of_evaluations() -> None:
    run = outcome(None, 1.0, 0.5, 2.0)
    assert [metrics.found_at(run, KNOWN, n) for n in (1, 2, 3, 4, 100)] == pytest.approx([0.0, 0.25, 0.25, 0.5, 0.5])


def test_found_counts_seconds_where_the_budget_does() -> None:
    run = outcome(1.0, 2.0, 4.0, seconds=[1.0, 2.5, 7.0])
    assert [metrics.found_at(run, KNOWN, at, "seconds") for at in (0.5, 1.0, 2.4, 2.5, 6.0, 9.0)] == pytest.approx(
        [0, 0.25, 0.25, 0.5, 0.5, 1]
    )
    slow = outcome(1.0, 2.0, 4.0, seconds=[2.0, 5.0, 14.0])
    grid = np.linspace(0, 8, 17)
    fast, late = (curves_of([each], {"p": KNOWN}, grid, "seconds") for each in (run, slow))
    assert matching(fast, late, grid, 100, 0.95, np.random.default_rng(0)).value == 2.5
    assert math.isinf(matching(late, fast, grid, 100, 0.95, np.random.default_rng(0)).value)


def test_area_is_the_mean_of_found_over_the_budget_and_a_short_run_keeps_what_it_had() -> None:
    run = outcome(None, 1.0, 0.5, 2.0)
    assert metrics.area(run, KNOWN, "evaluations", 4) == pytest.approx((0 + 0.25 + 0.25 + 0.5) / 4)
    assert metrics.area(run, KNOWN, "evaluations", 8) == pytest.approx((0 + 0.25 + 0.25 + 5 * 0.5) / 8)


def test_area_over_seconds_counts_what_was_known_while_the_clock_ran() -> None:
    run = outcome(1.0, 4.0, seconds=[2.0, 6.0])
    assert metrics.area(run, KNOWN, "seconds", 10.0) == pytest.approx((2 * 0 + 4 * 0.25 + 4 * 1.0) / 10)
    late = outcome(1.0, 4.0, seconds=[2.0, 60.0])
    assert metrics.area(late, KNOWN, "seconds", 10.0) == pytest.approx(8 * 0.25 / 10)


def test_evaluations_to_a_target_are_counted_from_one_and_infinite_when_it_is_missed() -> None:
    run = outcome(None, 1.0, 0.5, 2.0)
    assert metrics.evaluations_to(run, KNOWN, 0.25) == 2
    assert metrics.evaluations_to(run, KNOWN, 0.5) == 4
    assert math.isinf(metrics.evaluations_to(run, KNOWN, 0.6))


@given(st.lists(st.one_of(st.none(), st.floats(0.1, 4.0)), min_size=1, max_size=30))
def test_area_lies_between_the_first_and_the_last_of_found(speedups: list[float | None]) -> None:
    run = outcome(*speedups)
    first, last = metrics.found_at(run, KNOWN, 1), metrics.found_at(run, KNOWN, len(speedups))
    assert first - 1e-12 <= metrics.area(run, KNOWN, "evaluations", len(speedups)) <= last + 1e-12


def test_quality_and_coverage_are_shares_of_what_can_be_reached() -> None:
    known = Reference("p", 2.0, True, cells={"0": 2.0, "1": 1.0, "2": -1.0})
    assert metrics.qd_score({"0": 1.0, "2": -2.0}, known) == pytest.approx(1.0 / 3.0)
    assert metrics.coverage({"0": 1.0, "2": -2.0}, known) == pytest.approx(2 / 3)


def test_where_nothing_beats_the_baseline_there_is_no_quality_to_have_a_share_of() -> None:
    known = Reference("p", -0.1, True, cells={"0": -0.1, "1": -1.0})
    assert math.isnan(metrics.qd_score({"0": -0.1}, known))
    assert metrics.coverage({"0": -0.1}, known) == 0.5


def measured(elites: dict[str, float], remeasured: dict[str, float] | None, *speedups: float) -> Outcome:
    run = outcome(*speedups, cells=[str(index) for index in range(len(speedups))])
    return replace(run, elites=elites, remeasured=remeasured)


@pytest.mark.parametrize(
    "fresh",
    [{"0": 0.7}, {}, None, {"0": 1.5, "1": 0.9}],
    ids=["one failed when measured afresh", "all failed", "none was measured afresh", "measured better"],
)
def test_shares_of_a_measured_problem_are_never_above_one(fresh: dict[str, float] | None) -> None:
    runs = [measured({"0": 1.0, "1": 0.9}, fresh, math.e, math.exp(0.9)), measured({"1": 0.2}, None if fresh is None else {}, 1.0, 1.2)]
    known = measured_reference(ProblemEntry(problem="p"), runs, ArchiveSection())
    assert metrics.qd_score(runs[0].elites, known) == pytest.approx(1.0) and metrics.coverage(runs[0].elites, known) == 1.0
    assert metrics.qd_score(runs[1].elites, known) == pytest.approx(0.2 / 1.9) and metrics.coverage(runs[1].elites, known) == 0.5
    for run in runs if fresh else ():
        assert run.remeasured is not None
        assert 0 <= metrics.qd_score(run.remeasured, known, remeasured=True) <= 1.0 and metrics.coverage(run.remeasured, known) <= 1.0
    if fresh == {}:
        assert math.isnan(metrics.qd_score({}, known, remeasured=True)) and metrics.coverage({}, known) == 0.0
    curves = list(csv.DictReader(io.StringIO(curves_csv(runs, {"p": known}).decode())))
    assert max(float(row["qd_score"]) for row in curves) <= 1.0


# ── performance score ──

# Times and curves as made below; the expected figures are what the community's definition gives on them in an independent
# implementation of it (evaluations on the x axis, 95 % cutoff, 200 points).


def space() -> list[float]:
    import random

    rng = random.Random(7)
    return sorted(round(1 + 3 * rng.random() ** 2 + 0.01 * i, 4) for i in range(60))


def curves(times: list[float]) -> list[np.ndarray]:
    import random

    found = []
    for seed in range(4):
        rng = random.Random(seed)
        drawn = np.array([rng.choice(times) for _ in range(25)])
        curve = np.minimum.accumulate(drawn)
        if seed == 2:
            curve[:2] = np.nan
        found.append(curve)
    return found


def test_the_performance_score_agrees_with_an_independent_implementation() -> None:
    listed = space()
    times = np.array(listed)
    runs = curves(listed)
    points = metrics.score_points(times, 25)
    ranks = metrics.score_ranks(times, runs, points)
    assert metrics.score_cutoff(times) == 15
    assert metrics.performance_score(times, ranks, points)[0] == pytest.approx(0.034460140292212615, rel=1e-12)
    alone = metrics.performance_score(times, ranks, points, np.eye(4))
    assert alone == pytest.approx([-0.19155210291959657, -0.14662287257483095, -0.30106232481896666, -0.42375259081854594], rel=1e-12)


def test_ideal_random_search_is_the_published_expectation_of_the_best_of_m() -> None:
    times = np.array(space())
    expected = metrics.random_search(times, np.array([1, 2, 5, 10, 20]))
    assert expected == pytest.approx([1.7387, 1.5455, 1.2916, 1.1146, 1.0701])


def test_the_optimum_at_once_scores_one_and_ideal_random_search_zero() -> None:
    times = np.array(space())
    points = metrics.score_points(times, 400)
    at_once = metrics.score_ranks(times, [np.full(400, times[0])], points)
    assert metrics.performance_score(times, at_once, points)[0] == pytest.approx(1.0)
    random = metrics.score_ranks(times, [metrics.random_search(times, np.arange(1, 401))], points)
    assert metrics.performance_score(times, random, points)[0] == pytest.approx(0.0, abs=1e-12)


@given(st.integers(1, 400), st.integers(2, 300), st.integers(0, 50))
def test_ideal_random_search_scores_zero_however_long_it_goes_on(length: int, configurations: int, seed: int) -> None:
    times = np.sort(np.random.default_rng(seed).lognormal(0, 0.5, configurations))
    curve = metrics.random_search(times, np.arange(1, length + 1))
    points = metrics.score_points(times, length)
    score = metrics.performance_score(times, metrics.score_ranks(times, [curve], points), points)[0]
    assert points[-1] <= max(1, length) and (score == pytest.approx(0.0, abs=1e-12) or math.isnan(score))


@pytest.mark.parametrize("length", [10, 25, 100, 400])
def test_random_searches_score_about_zero_together_at_every_length_of_their_budget(length: int) -> None:
    rng = np.random.default_rng(1)
    times = 1 + np.linspace(0, 1, 3000)  # all apart, and evenly: the time of a mean rank is the mean time
    runs = [np.minimum.accumulate(rng.permutation(times)[:length]) for _ in range(400)]
    points = metrics.score_points(times, length)
    assert metrics.performance_score(times, metrics.score_ranks(times, runs, points), points)[0] == pytest.approx(0.0, abs=0.06)


def test_a_budget_beyond_the_cutoff_changes_no_score() -> None:
    times = np.array(space())
    assert [metrics.score_points(times, longest).tolist() for longest in (15, 25, 400, 9999)] == [list(range(1, 16))] * 4


@pytest.mark.parametrize("times", [[1.0], [1.0, 1.0, 1.0], [1.0, 2.0]])
@pytest.mark.filterwarnings("error")
def test_where_random_search_has_the_best_at_once_there_is_no_score_and_no_warning(times: list[float]) -> None:
    known = np.array(times)
    points = metrics.score_points(known, 10)
    score = metrics.performance_score(known, metrics.score_ranks(known, [np.array(times[:1])], points), points, np.ones((5, 1)))
    assert np.isnan(score).all() and len(score) == 5


def test_matching_is_where_the_mean_curve_reaches_the_others_end() -> None:
    slow = [np.array([[0.1, 0.2, 0.4, 0.5], [0.1, 0.2, 0.2, 0.7]])]  # ends at 0.6 on average
    fast = [np.array([[0.2, 0.6, 0.9, 0.9], [0.4, 0.6, 0.9, 1.0]])]
    rng = np.random.default_rng(0)
    grid = np.arange(1.0, 5.0)
    found = matching(fast, slow, grid, 500, 0.95, rng)
    assert (found.value, found.low) == (2.0, 2.0) and found.high == 3.0  # resampled, random may end at 0.7
    assert matching(slow, slow, grid, 500, 0.95, rng).value == 4.0
    assert math.isinf(matching(slow, fast, grid, 500, 0.95, rng).value)


def test_matching_weighs_problems_alike_whatever_their_seeds_and_keeps_what_short_runs_had() -> None:
    known = {name: Reference(name, 0.0, True) for name in ("one", "other")}
    runs = [replace(outcome(0.5, 1.0), problem="one"), replace(outcome(0.2), problem="other"), replace(outcome(0.4), problem="other")]
    grid = np.arange(1.0, 4.0)
    curves = curves_of(runs, known, grid)
    assert [each.tolist() for each in curves] == [[[0.5, 1.0, 1.0]], [[0.2] * 3, [0.4] * 3]]
    assert matching(curves, [np.array([[0.65]])], grid, 100, 0.95, np.random.default_rng(0)).value == 2.0
