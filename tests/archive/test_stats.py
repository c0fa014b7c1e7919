"""Statistics of paired timings: right on paper cases, honest in simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from archive.evaluation import Samples
from archive.stats import (
    Interval,
    clearly_better,
    clearly_worse,
    difference,
    geometric_mean,
    log_speedup,
    merge,
    prediction_interval,
    summarise,
    typical_seconds,
    within_noise,
)


def timed(ratio: float, n: int = 20, *, noise: float = 0.02, seed: int = 0, shape: str = "n=1") -> Samples:
    """A kernel `ratio` times as fast as its baseline, with lognormal noise on each time."""
    rng = np.random.default_rng(seed)
    baseline = 1e-3 * np.exp(noise * rng.standard_normal(n))
    return Samples(shape, 1e-3 / ratio * np.exp(noise * rng.standard_normal(n)), baseline)


def test_the_objective_is_the_mean_over_shapes_of_median_log_ratios() -> None:
    a = Samples("a", np.array([1.0, 1.0, 1.0]), np.array([2.0, 4.0, 100.0]))
    b = Samples("b", np.array([1.0, 2.0]), np.array([1.0, 8.0]))
    found = summarise([a, b])
    assert found.value == pytest.approx((math.log(4) + math.log(4) / 2) / 2)
    assert found.low <= found.value <= found.high


def test_the_same_samples_always_give_the_same_interval() -> None:
    samples = [timed(1.5, 17, seed=s, shape=str(s)) for s in range(3)]
    assert summarise(samples) == summarise([Samples(s.shape, s.seconds.copy(), s.baseline.copy()) for s in samples])


def test_order_of_the_pairs_does_not_matter_but_pairing_does() -> None:
    drift = np.linspace(1.0, 2.0, 20)
    paired = Samples("n=1", 1e-3 * drift, 2e-3 * drift)
    shuffled = Samples("n=1", paired.seconds[::-1].copy(), paired.baseline[::-1].copy())
    torn = Samples("n=1", paired.seconds[::-1].copy(), paired.baseline)
    assert summarise([paired]) == summarise([shuffled])
    assert summarise([paired]).high - summarise([paired]).low < 1e-9
    assert summarise([torn]).high - summarise([torn]).low > 0.2


def test_one_repetition_leaves_the_interval_open_and_two_leave_it_wide() -> None:
    assert summarise([timed(2.0, 1)]).high == math.inf
    widths = {n: np.mean([(i := summarise([timed(2.0, n, seed=s)])).high - i.low for s in range(50)]) for n in (2, 5, 20)}
    assert widths[2] > 3 * widths[20] and widths[5] > 1.5 * widths[20]


@pytest.mark.parametrize("seconds", [[0.0, 1.0], [-1.0, 1.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_impossible_times_are_refused(seconds: list[float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        summarise([Samples("n=1", np.array(seconds), np.ones(2))])


def test_unpaired_lengths_and_missing_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="equally long"):
        summarise([Samples("n=1", np.ones(2), np.ones(3))])
    with pytest.raises(ValueError, match="no samples"):
        summarise([])


@pytest.mark.parametrize(("n", "shapes"), [(5, 1), (6, 3), (10, 1), (20, 3)])
def test_the_nominal_95_percent_interval_covers_the_truth_at_least_90_percent_of_the_time(n: int, shapes: int) -> None:
    rng = np.random.default_rng(n * 100 + shapes)
    covered = 0
    for _ in range(400):
        samples = []
        for shape in range(shapes):
            # Timing noise has a tail to the right: a few repetitions are disturbed.
            noise = 0.02 * rng.standard_normal((2, n)) + 0.2 * (rng.random((2, n)) < 0.05) * rng.random((2, n))
            samples.append(Samples(str(shape), 1e-3 * np.exp(noise[0]), 1.3e-3 * np.exp(noise[1])))
        found = summarise(samples)
        covered += found.low <= math.log(1.3) <= found.high
    assert covered / 400 >= 0.90


def test_the_interval_is_not_needlessly_wide() -> None:
    widths = [(s := summarise([timed(1.3, 20, seed=i)])).high - s.low for i in range(100)]
    # The median of 20 has a standard error of 1.25 * sqrt(2) * 2 % / sqrt(20) = 0.8 %; four of those make a 95 % interval.
    assert np.mean(widths) < 1.5 * 4 * 0.008


# -- where disturbances only make times longer ---------------------------------------------------------------------------


def disturbed(rng: np.random.Generator, n: int, ratio: float = 1.3, *, share: float = 0.3, shape: str = "n=1") -> Samples:
    """A share of the rounds falls into moments in which memory is slow: kernel and baseline take longer, each by its own amount."""
    busy = rng.random(n) < share
    longer = np.where(busy, rng.uniform(0.2, 0.8, (2, n)), 0.0) + rng.exponential(0.03, (2, n))
    return Samples(shape, 1e-3 / ratio * np.exp(longer[0]), 1e-3 * np.exp(longer[1]), True)


def test_a_time_is_the_geometric_mean_of_the_faster_half() -> None:
    assert typical_seconds(np.array([9.0, 1.0, 4.0, 7.0]), only_longer=True) == pytest.approx(2.0)
    assert typical_seconds(np.array([8.0, 1.0, 50.0, 27.0, 8.0]), only_longer=True) == pytest.approx(4.0), "of five, the fastest three"
    assert typical_seconds(np.array([9.0, 1.0, 4.0, 7.0]), only_longer=False) == pytest.approx(5.5)
    assert typical_seconds(np.array([3.0]), only_longer=True) == pytest.approx(3.0)


def test_a_speedup_is_the_ratio_of_two_such_times() -> None:
    samples = Samples("a", np.array([1.0, 4.0, 9.0, 9.0]), np.array([90.0, 8.0, 32.0, 70.0]), True)
    assert log_speedup(samples) == pytest.approx(math.log(8.0))
    assert summarise([samples]).value == pytest.approx(math.log(8.0))


def test_disturbances_of_nearly_half_of_the_calls_hardly_change_it() -> None:
    times = np.full(16, 1e-3)
    times[:7] *= 2
    assert typical_seconds(times, only_longer=True) == pytest.approx(1e-3)


def test_a_kernel_that_is_quick_in_few_of_its_calls_is_not_a_quick_kernel() -> None:
    times = np.full(16, 1e-3)
    times[:2] *= 0.1
    assert typical_seconds(times, only_longer=True) > 0.5e-3


def test_it_scatters_less_than_the_median_does_on_a_disturbed_machine() -> None:
    rng = np.random.default_rng(5)
    drawn = [disturbed(rng, 16, share=share) for share in rng.uniform(0.1, 0.6, 400)]
    medians = [Samples(s.shape, s.seconds, s.baseline) for s in drawn]
    assert np.std([log_speedup(s) for s in drawn]) < 0.8 * np.std([log_speedup(s) for s in medians])


@pytest.mark.parametrize(("n", "shapes"), [(4, 1), (5, 1), (6, 3), (10, 1), (16, 3), (64, 2)])
@pytest.mark.parametrize("share", [0.0, 0.3])
def test_its_nominal_95_percent_interval_covers_the_truth_at_least_90_percent_of_the_time(n: int, shapes: int, share: float) -> None:
    rng = np.random.default_rng(n * 100 + shapes)
    found = [summarise([disturbed(rng, n, share=share, shape=str(k)) for k in range(shapes)]) for _ in range(400)]
    assert np.mean([one.low <= math.log(1.3) <= one.high for one in found]) >= 0.90


def test_its_interval_is_not_needlessly_wide() -> None:
    rng = np.random.default_rng(8)
    found = [summarise([disturbed(rng, 16, share=0.0)]) for _ in range(300)]
    assert np.mean([one.high - one.low for one in found]) < 1.6 * 4 * np.std([one.value for one in found])


def test_what_disturbs_both_programs_of_a_pair_alike_makes_its_interval_no_wider() -> None:
    drift = np.linspace(1.0, 2.0, 20)
    paired = Samples("n=1", 1e-3 * drift, 2e-3 * drift, True)
    torn = Samples("n=1", paired.seconds[::-1].copy(), paired.baseline, True)
    assert summarise([paired]).value == summarise([torn]).value == pytest.approx(math.log(2))
    assert summarise([paired]).high - summarise([paired]).low < 1e-9
    assert summarise([torn]).high - summarise([torn]).low > 0.2


def test_one_repetition_of_such_times_leaves_the_interval_open() -> None:
    rng = np.random.default_rng(0)
    assert summarise([disturbed(rng, 1)]).high == math.inf
    assert math.isfinite(summarise([disturbed(rng, 2)]).high)


def test_merged_samples_stay_what_they_are() -> None:
    rng = np.random.default_rng(0)
    assert all(s.only_longer for s in merge([disturbed(rng, 3)], [disturbed(rng, 3), disturbed(rng, 3, shape="b")]))
    assert not any(s.only_longer for s in merge([timed(1.0, 3)], [timed(1.0, 3)]))


def test_certificates_of_such_times_hold_the_next_one_too() -> None:
    rng, held = np.random.default_rng(4), 0
    for _ in range(200):
        one, two = (prediction_interval([[disturbed(rng, 5)] for _ in range(9)], noise=0.0) for _ in range(2))
        held += one.low <= two.value <= one.high
    assert held / 200 >= 0.90


def test_clearly_different_kernels_are_told_apart_and_equal_ones_are_not() -> None:
    slow, fast = [timed(1.0, seed=1)], [timed(1.2, seed=2)]
    assert clearly_worse(slow, fast) and clearly_better(fast, slow)
    assert not clearly_worse(fast, slow) and not within_noise(slow, fast)
    assert within_noise(slow, [timed(1.005, seed=3)])


def test_exactly_one_of_worse_noise_better_holds() -> None:
    for seed in range(50):
        a, b = [timed(1.0, 6, seed=seed)], [timed(1.0 + seed / 500, 6, seed=1000 + seed)]
        assert clearly_worse(a, b) + within_noise(a, b) + clearly_better(a, b) == 1


def test_two_kernels_5_percent_apart_are_never_ordered_wrongly_beyond_doubt() -> None:
    wrong = sum(clearly_worse([timed(1.05, 10, seed=2 * s)], [timed(1.0, 10, seed=2 * s + 1)]) for s in range(200))
    assert wrong == 0


def test_kernels_are_compared_on_the_shapes_that_both_were_timed_on() -> None:
    first = timed(1.0, shape="small")
    both = [timed(1.0, seed=5, shape="small"), timed(50.0, seed=6, shape="large")]
    assert within_noise([first], both)
    assert within_noise([first], [timed(9.0, shape="other")])


def test_a_difference_of_asymmetric_estimates_takes_the_limits_that_face_each_other() -> None:
    gap = difference(Interval(1.0, 0.7, 1.1), Interval(0.5, 0.4, 0.9))
    assert gap.value == 0.5
    assert gap.low == pytest.approx(0.5 - math.hypot(0.3, 0.4))
    assert gap.high == pytest.approx(0.5 + math.hypot(0.1, 0.1))


def test_the_geometric_mean_is_that_of_positive_ratios_only() -> None:
    assert geometric_mean([1.0, 4.0]) == pytest.approx(2.0)
    with pytest.raises(ValueError):
        geometric_mean([1.0, 0.0])
    with pytest.raises(ValueError):
        geometric_mean([])


def test_merging_appends_pairs_by_shape_and_keeps_new_shapes() -> None:
    held, fresh = [timed(1.0, 3, shape="a")], [timed(1.0, 2, shape="b"), timed(1.0, 4, shape="a")]
    merged = merge(held, fresh)
    assert [(s.shape, s.seconds.size, s.baseline.size) for s in merged] == [("a", 7, 7), ("b", 2, 2)]
    assert np.array_equal(merged[0].seconds, np.concatenate((held[0].seconds, fresh[1].seconds)))


def certification(rng: np.random.Generator, processes: int, between: float) -> list[list[Samples]]:
    """Processes differ by `between` (placement in memory), repetitions within by 2 %."""
    runs = []
    for _ in range(processes):
        shift = between * rng.standard_normal()
        runs.append([Samples(str(k), 1e-3 * np.exp(shift + 0.02 * rng.standard_normal(12)), np.full(12, 2e-3)) for k in range(3)])
    return runs


@pytest.mark.parametrize(("processes", "between"), [(5, 0.0), (5, 0.03), (8, 0.01), (3, 0.02)])
def test_the_prediction_interval_holds_the_next_certification_at_least_90_percent_of_the_time(processes: int, between: float) -> None:
    rng = np.random.default_rng(processes)
    held = 0
    for _ in range(300):
        stated = prediction_interval(certification(rng, processes, between), noise=0.0)
        again = prediction_interval(certification(rng, processes, between), noise=0.0)
        held += stated.low <= again.value <= stated.high
    assert held / 300 >= 0.90


def test_the_prediction_interval_does_not_count_the_noise_of_repetitions_twice() -> None:
    """Where all scatter is that of repetitions, it is about as wide as Student's interval for the next of two means."""
    rng, widths, ideal = np.random.default_rng(3), [], []
    for _ in range(200):
        found = certification(rng, 9, 0.0)
        interval = prediction_interval(found, noise=0.0)
        widths.append(interval.high - interval.low)
        objectives = [summarise(process).value for process in found]
        ideal.append(2 * 2.306 * np.std(objectives, ddof=1) * math.sqrt(2 / 9))
    assert 0.85 < np.median(widths) / np.median(ideal) < 1.15


def test_one_process_predicts_nothing_and_the_floor_is_never_undercut() -> None:
    rng = np.random.default_rng(0)
    assert prediction_interval(certification(rng, 1, 0.0)).high == math.inf
    exact = [[Samples("a", np.full(5, 1e-3), np.full(5, 2e-3))]] * 5
    found = prediction_interval(exact, noise=0.01)
    assert found.value - found.low == pytest.approx(0.01) and found.high - found.value == pytest.approx(0.01)


def test_processes_timed_on_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="same shapes"):
        prediction_interval([[timed(1.0, shape="a")], [timed(1.0, shape="b")]])
