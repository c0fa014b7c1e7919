"""What repeated timings say: what stands for them all, intervals, and when two kernels differ.

All quantities are natural logarithms of ratios, so that a product over shapes is a sum, `x` times faster and `x` times
slower are equally far from zero, and a 1 % difference is 0.01. A kernel's *objective* is the mean over shapes of the log
of its speedup there: the log of the geometric mean of its speedups.

What the speedup on a shape is depends on how times are disturbed (`Samples.only_longer`):

- Where either way is possible, it is the median over repetitions of baseline seconds / kernel seconds.
- A single call by the clock is only ever made longer, by whoever shares memory and caches with it, and by much: half of a machine's
  calls may take twice as long for seconds on end. The median follows that; the faster half of the calls hardly does. So there the
  time of a program is the geometric mean of the faster half of its repetitions, and the speedup the ratio of two of these. On
  a shared host that scatters less by a quarter (experiments/results/noise.txt), which is worth 1.7 times the repetitions. As for a median,
  a kernel has to be quick in half of its calls for that to count as its speed (J. Chen & J. Revels, "Robust benchmarking in noisy
  environments", 2016, argue on the same grounds for the minimum, which a single lucky call decides). The interval is from the
  variance of winsorised times (J. W. Tukey & D. H. McLaughlin, Sankhya A 25, 1963), paired, by Student's t.

Everything here is deterministic: bootstrap resamples are drawn once per size from a fixed seed and kept.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from archive.evaluation import Samples

__all__ = [
    "SITTING_NOISE",
    "Interval",
    "clearly_better",
    "clearly_worse",
    "difference",
    "geometric_mean",
    "log_ratios",
    "log_speedup",
    "merge",
    "prediction_interval",
    "summarise",
    "typical_seconds",
    "within_noise",
]

Floats = NDArray[np.float64]

RESAMPLES = 1000
SITTING_NOISE = 0.01
"""ln: what two sittings of one kernel differ by even when each is precise (placement, clocks): no interval of one sitting sees it."""

# Student's t, 97.5 % quantile, by degrees of freedom 1…30; 1.96 beyond.
T975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
Z975 = 1.959964


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate in ln with its 95 % interval, `low <= value <= high`; a single repetition leaves it unbounded."""

    value: float
    low: float
    high: float


def log_ratios(samples: Samples) -> Floats:
    """(n,) ln(baseline / kernel) of each pair: how many times faster the kernel was, repetition by repetition.

    Raises ValueError when a time is not positive and finite, or when the arrays differ in length: such a measurement is
    a fault of whoever made it, and no statistic may hide it.
    """
    if samples.seconds.shape != samples.baseline.shape or samples.seconds.ndim != 1 or samples.seconds.size == 0:
        raise ValueError(
            f"samples of {samples.shape!r}: expected two equally long, non-empty vectors of seconds, "
            f"found shapes {samples.seconds.shape} and {samples.baseline.shape}"
        )
    low = min(samples.seconds.min(), samples.baseline.min())
    high = max(samples.seconds.max(), samples.baseline.max())
    if not (low > 0.0 and high < math.inf):
        raise ValueError(f"samples of {samples.shape!r}: every time must be a positive, finite number of seconds")
    logs: Floats = np.log(samples.baseline) - np.log(samples.seconds)
    return logs


def typical_seconds(seconds: Floats, *, only_longer: bool) -> float:
    """What stands for (n,) seconds of one program, n >= 1: the geometric mean of the faster half, else the median."""
    ordered: list[float] = sorted(seconds.tolist())
    if only_longer:
        faster = ordered[: (len(ordered) + 1) // 2]
        return math.exp(math.fsum(map(math.log, faster)) / len(faster))
    return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2


def log_speedup(samples: Samples) -> float:
    """ln of how many times faster the kernel is than its baseline. Raises ValueError as `log_ratios` does."""
    ratios = log_ratios(samples)
    if not samples.only_longer:
        return _median(np.sort(ratios))
    baseline, kernel = (typical_seconds(times, only_longer=True) for times in (samples.baseline, samples.seconds))
    return math.log(baseline) - math.log(kernel)


def _error(samples: Samples) -> tuple[float, int]:
    """Squared standard error of `log_speedup` where it is made of faster halves, and its degrees of freedom; n >= 2.

    Each repetition's share in the estimate is that of its winsorised logarithms, of both programs at once: what disturbed them both alike
    cancels.
    """
    n = samples.seconds.size
    half = (n + 1) // 2
    influence = np.zeros(n)
    for sign, times in ((1, samples.baseline), (-1, samples.seconds)):
        logs = np.log(times)
        winsorised = np.minimum(logs, np.partition(logs, half - 1)[half - 1])
        influence += sign * (winsorised - winsorised.mean())
    return float(influence @ influence) * (n / half) ** 2 / (n * (n - 1)), max(1, half - 1)


def expansion(n: int) -> float:
    """How much wider than the plain bootstrap interval an honest one is, for n observations (infinite for one).

    The bootstrap of a small sample is too narrow by sqrt((n-1)/n), and takes normal for t quantiles (T. Hesterberg, "What
    Teachers Should Know About the Bootstrap", The American Statistician 69(4), 2015, section 4.2.1).
    """
    if n < 2:
        return math.inf
    t = T975[n - 2] if n - 2 < len(T975) else Z975
    return t / Z975 * math.sqrt(n / (n - 1))


@lru_cache(maxsize=512)
def _median_ranks(n: int, stream: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(RESAMPLES,) ranks whose mean value is the median of each bootstrap resample of n *sorted* values.

    The median of a resample depends only on which ranks it drew. So the sort is done once here, for all data, and a
    bootstrap of medians costs two gathers.
    """
    drawn = np.sort(np.random.default_rng((n, stream)).integers(0, n, (RESAMPLES, n)), axis=1)
    return np.ascontiguousarray(drawn[:, (n - 1) // 2]), np.ascontiguousarray(drawn[:, n // 2])


def _bootstrap_medians(ordered: Floats, stream: int) -> Floats:
    lower, upper = _median_ranks(ordered.size, stream)
    medians: Floats = (ordered[lower] + ordered[upper]) * 0.5
    return medians


def _median(ordered: Floats) -> float:
    n = ordered.size
    return float(ordered[(n - 1) // 2] + ordered[n // 2]) * 0.5


def _quantiles(values: Floats) -> tuple[float, float]:
    """2.5 % and 97.5 % of (RESAMPLES,) values."""
    low, high = round(0.025 * (values.size - 1)), round(0.975 * (values.size - 1))
    parted = np.partition(values, (low, high))
    return float(parted[low]), float(parted[high])


def _expanded(value: float, low: float, high: float, factor: float) -> Interval:
    if math.isinf(factor):
        return Interval(value, -math.inf, math.inf)
    return Interval(value, min(value, value - (value - low) * factor), max(value, value + (high - value) * factor))


def summarise(samples: Sequence[Samples]) -> Interval:
    """The objective of a kernel and its 95 % interval, from its samples on every shape.

    By a bootstrap where medians are taken: repetitions are resampled within each shape; shapes are fixed (the problem names
    them), not resampled. Nominal 95 % covers 90 % or more from 5 pairs a shape. Raises ValueError without samples or with impossible times.
    """
    if not samples:
        raise ValueError("no samples to summarise: an objective needs at least one shape with one repetition")
    if any(s.only_longer for s in samples):
        return _summarised_halves(samples)
    ordered = [np.sort(log_ratios(s)) for s in samples]
    value = sum(_median(o) for o in ordered) / len(ordered)
    fewest = min(o.size for o in ordered)
    if fewest < 2:
        return Interval(value, -math.inf, math.inf)
    means = _bootstrap_medians(ordered[0], 0)
    for stream, o in enumerate(ordered[1:], 1):
        means = means + _bootstrap_medians(o, stream)
    low, high = _quantiles(means / len(ordered))
    return _expanded(value, low, high, expansion(fewest))


def _summarised_halves(samples: Sequence[Samples]) -> Interval:
    value = sum(map(log_speedup, samples)) / len(samples)
    if min(s.seconds.size for s in samples) < 2:
        return Interval(value, -math.inf, math.inf)
    errors = [_error(s) for s in samples]
    total = math.fsum(squared for squared, _ in errors)
    if total == 0.0:
        return Interval(value, value, value)
    # Degrees of freedom of a sum of variances: F. E. Satterthwaite, Biometrics Bulletin 2, 1946.
    freedom = int(total**2 / math.fsum(squared**2 / degrees for squared, degrees in errors))
    width = (T975[freedom - 1] if freedom <= len(T975) else Z975) * math.sqrt(total) / len(samples)
    return Interval(value, value - width, value + width)


def geometric_mean(ratios: Iterable[float]) -> float:
    """exp(mean(ln x)) of positive ratios. Raises ValueError when there is none, or one is not positive."""
    values = list(ratios)
    if not values or not all(v > 0.0 for v in values):
        raise ValueError(f"a geometric mean needs positive numbers, found {values}")
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def difference(a: Interval, b: Interval) -> Interval:
    """a - b for independent estimates, with its 95 % interval; positive: `a` is faster.

    The limits are recovered from those of the parts (MOVER: G. Y. Zou & A. Donner, "Construction of confidence limits
    about effect measures: a general approach", Statistics in Medicine 27, 2008), so asymmetric bootstrap intervals stay so.
    """
    value = a.value - b.value
    return Interval(value, value - math.hypot(a.value - a.low, b.high - b.value), value + math.hypot(a.high - a.value, b.value - b.low))


def clearly_worse(a: Sequence[Samples], b: Sequence[Samples], noise: float = SITTING_NOISE) -> bool:
    """Whether kernel `a` is slower than `b` beyond doubt: even the optimistic 95 % bound of a - b is under `-noise`.

    Judged on the shapes that both were timed on; False when there is none. Both are ratios to the same baseline, timed
    beside it, so that drift of the machine between the two sittings cancels.
    """
    gap = _gap(a, b)
    return gap is not None and gap.high < -noise


def clearly_better(a: Sequence[Samples], b: Sequence[Samples], noise: float = SITTING_NOISE) -> bool:
    """Whether kernel `a` is faster than `b` beyond doubt; `clearly_worse` with its arguments exchanged."""
    return clearly_worse(b, a, noise)


def within_noise(a: Sequence[Samples], b: Sequence[Samples], noise: float = SITTING_NOISE) -> bool:
    """Whether the samples leave open which of the two kernels is faster (neither is clearly worse)."""
    return not clearly_worse(a, b, noise) and not clearly_worse(b, a, noise)


def _gap(a: Sequence[Samples], b: Sequence[Samples]) -> Interval | None:
    shapes = {s.shape for s in a} & {s.shape for s in b}
    if not shapes:
        return None
    return difference(summarise([s for s in a if s.shape in shapes]), summarise([s for s in b if s.shape in shapes]))


def merge(held: Sequence[Samples], fresh: Sequence[Samples]) -> tuple[Samples, ...]:
    """All samples of one kernel: `fresh` pairs appended to those held for the same shape, new shapes added behind."""
    added = {s.shape: s for s in fresh}
    merged = []
    for s in held:
        f = added.pop(s.shape, None)
        if f is not None:
            seconds, baseline = np.concatenate((s.seconds, f.seconds)), np.concatenate((s.baseline, f.baseline))
        merged.append(s if f is None else replace(f, seconds=seconds, baseline=baseline))
    return (*merged, *added.values())


def prediction_interval(processes: Sequence[Sequence[Samples]], noise: float = SITTING_NOISE) -> Interval:
    """Where the next certification of the same kernel will land, with 95 % probability: a hierarchical bootstrap.

    `processes[p]` holds the samples of process p, one `Samples` per shape, the same shapes in each. The estimate is the
    mean over processes of each one's objective. Processes are resampled with replacement, the repetitions within them
    without: a process' own estimate scatters already by its repetitions, and drawing them anew as well would count that
    twice, which doubles the interval where repetitions are noisier than processes (A. C. Davison & D. V. Hinkley,
    "Bootstrap Methods and their Application", 1997, section 3.8, compare both and recommend this one). Shapes are kept,
    as the next certification will use the same. The interval is for another *estimate* of as many processes, not for
    the true mean: sqrt(2) wider, expanded for few processes (`expansion`), and never narrower than `noise`, which no
    single sitting can see. One process says nothing about the next: unbounded. Raises ValueError without processes, or
    when they were timed on different shapes.
    """
    shapes = [tuple(s.shape for s in p) for p in processes]
    if not shapes or not shapes[0] or any(s != shapes[0] for s in shapes):
        raise ValueError(f"a prediction interval needs processes that were timed on the same shapes, found {shapes}")
    objectives = np.array([sum(map(log_speedup, process)) / len(process) for process in processes])
    value = float(objectives.mean())
    low, high = _quantiles(objectives[_process_picks(len(processes))].mean(axis=1))
    wide = _expanded(value, low, high, math.sqrt(2.0) * expansion(len(processes)))
    return Interval(value, value - math.hypot(value - wide.low, noise), value + math.hypot(wide.high - value, noise))


@lru_cache(maxsize=32)
def _process_picks(n: int) -> NDArray[np.intp]:
    """(RESAMPLES, n) which processes each resample draws."""
    return np.random.default_rng((n, 1 << 20)).integers(0, n, (RESAMPLES, n))
