"""When is enough measured? Stop early on the hopeless, go on until the interval is narrow.

Racing after Maron & Moore, *Hoeffding races* (NIPS 1993), with a normal bound on paired log-ratios instead of Hoeffding's,
which needs bounded times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fitness.protocol import Bar

__all__ = ["SCREEN_ROUNDS", "hopeless", "optimistic"]

SCREEN_ROUNDS = 2
"""Rounds (one pair on every shape) after which a candidate may first be stopped."""
NOISE_FLOOR = 0.02
"""Standard deviation of one paired log-ratio that is assumed at least, however well few pairs happen to agree."""
DEVIATIONS = 3.0


def optimistic(ratios: Sequence[NDArray[np.float64]]) -> float:
    """Upper bound on the objective from per-shape log-ratios ln(baseline / kernel), each (n,), n ≥ 1.

    The mean over shapes plus three standard errors, the deviation pooled over shapes and never under 2 %.
    """
    means = [float(np.mean(r)) for r in ratios]
    residual = sum(float(np.sum((r - np.mean(r)) ** 2)) for r in ratios)
    freedom = sum(len(r) - 1 for r in ratios)
    deviation = max(NOISE_FLOOR, math.sqrt(residual / freedom) if freedom else 0.0)
    error = deviation * math.sqrt(sum(1 / len(r) for r in ratios)) / len(ratios)
    return float(np.mean(means)) + DEVIATIONS * error


def hopeless(ratios: Sequence[NDArray[np.float64]], bar: Bar | None) -> bool:
    """Whether even the optimistic bound stays under the lower end of the bar's interval."""
    return bar is not None and optimistic(ratios) < bar.interval[0]
