"""A Gaussian process over a growing data set and a changing pool of points, with every posterior kept up to date.

Covariance: s² exp(-Σ_g |x - x'|_g / l_g), a product of exponentials (C. E. Rasmussen & C. K. I. Williams, *Gaussian Processes for
Machine Learning*, MIT Press 2006, section 4.2.1): rough functions, as times over tile sizes are, one lengthscale per tunable. The
scale s² has its maximum-likelihood value in closed form; lengthscales and noise climb the marginal likelihood (section 5.4.1) under a
log-normal prior, by a fixed number of steps of Adam (D. P. Kingma & J. Ba, arXiv:1412.6980). Nothing in here is random.

With n points and a pool of m, a new point costs O(n² + n m) and a new pool member O(n²): the rows of the inverse Cholesky
factor, and what it makes of the pool, are appended, never made anew, until lengthscales change.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Posterior", "log_expected_improvement"]

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

PRIOR_WIDTH = 1.6
"""Standard deviation of the log-normal prior on lengthscales."""
SHORTEST, LONGEST = 0.05, 50.0
LEAST_NOISE, MOST_NOISE = 1e-6, 0.5
FLOOR = 1e-10


class Posterior:
    """Data, pool and lengthscales.

    Args:
        groups: (columns,) the number of the lengthscale that each column of a point uses, from 0.
        typical: the prior's median of every lengthscale.
        pool: how many pool members there is room for at first.
        noise: share of the variance that is noise, to begin with; fitted from there.
    """

    def __init__(self, groups: Ints, *, typical: float, pool: int = 512, noise: float = 1e-3) -> None:
        self._groups = groups
        self._one_to_one = bool(len(groups) == len(set(groups.tolist())))
        self.lengthscales: Floats = np.full(int(groups.max(initial=-1)) + 1, typical)
        self.noise = noise
        self._typical = typical
        self.n = self.m = 0
        self._x = np.empty((64, len(groups)))
        self._inverse = np.zeros((64, 64))
        self._pool = np.empty((pool, len(groups)))
        self._rows = np.empty((pool, 64))
        self._explained = np.empty(pool)

    # ── data and pool ──

    @property
    def points(self) -> Floats:
        """(n, columns) in the order in which they were added; not to be changed."""
        return self._x[: self.n]

    @property
    def members(self) -> Floats:
        """(m, columns) of the pool; not to be changed."""
        return self._pool[: self.m]

    def add_point(self, point: Floats) -> None:
        n = self.n
        if n == len(self._x):
            self._grow_points()
        near = self._covariance(point[None], self._x[:n])[0]
        inverse = self._inverse
        left = inverse[:n, :n] @ near
        root = math.sqrt(max(1.0 + self.noise - float(left @ left), FLOOR))
        inverse[n, :n] = -(left @ inverse[:n, :n]) / root
        inverse[n, n] = 1.0 / root
        self._x[n] = point
        if self.m:
            row = (self._covariance(point[None], self.members)[0] - self._rows[: self.m, :n] @ left) / root
            self._rows[: self.m, n] = row
            self._explained[: self.m] += row * row
        self.n = n + 1

    def add_members(self, points: Floats) -> None:
        """Appends (k, columns) points to the pool."""
        first, last = self.m, self.m + len(points)
        if last > len(self._pool):
            self._grow_pool(last)
        self._pool[first:last] = points
        self._explain(first, last)
        self.m = last

    def keep_members(self, kept: Ints) -> None:
        """The pool becomes its members `kept`, in that order."""
        count = len(kept)
        self._pool[:count] = self._pool[kept]
        self._rows[:count, : self.n] = self._rows[kept, : self.n]
        self._explained[:count] = self._explained[kept]
        self.m = count

    def drop_member(self, place: int) -> None:
        """The last member takes the place of this one."""
        last = self.m - 1
        self._pool[place] = self._pool[last]
        self._rows[place, : self.n] = self._rows[last, : self.n]
        self._explained[place] = self._explained[last]
        self.m = last

    def replace_points(self, points: Floats) -> None:
        """Other data altogether."""
        while len(points) > len(self._x):
            self._grow_points()
        self.n = len(points)
        self._x[: self.n] = points
        self.refresh()

    def refresh(self) -> None:
        """Everything anew, from points, pool and lengthscales: O(n³ + n² m)."""
        n = self.n
        covariance = self._covariance(self.points, self.points)
        covariance[np.diag_indices(n)] += self.noise
        self._inverse[:n, :n] = np.tril(np.linalg.inv(_factor(covariance)))
        self._explain(0, self.m)

    def _explain(self, first: int, last: int) -> None:
        n = self.n
        rows = self._covariance(self._pool[first:last], self.points) @ self._inverse[:n, :n].T
        self._rows[first:last, :n] = rows
        self._explained[first:last] = np.einsum("ij,ij->i", rows, rows)

    def _grow_points(self) -> None:
        size = 2 * len(self._x)
        inverse = np.zeros((size, size))
        inverse[: self.n, : self.n] = self._inverse[: self.n, : self.n]
        self._inverse = inverse
        self._x = np.concatenate([self._x, np.empty_like(self._x)])
        self._rows = np.concatenate([self._rows, np.empty_like(self._rows)], axis=1)

    def _grow_pool(self, least: int) -> None:
        more = max(least - len(self._pool), len(self._pool))
        self._pool = np.concatenate([self._pool, np.empty((more, self._pool.shape[1]))])
        self._rows = np.concatenate([self._rows, np.empty((more, self._rows.shape[1]))])
        self._explained = np.concatenate([self._explained, np.empty(more)])

    # ── what it predicts ──

    def predict(self, targets: Floats) -> tuple[Floats, Floats, Floats]:
        """The pool's posterior for the given values at the data.

        Args:
            targets: (n,) values at the points, their mean already taken off.

        Returns:
            (m,) means, (m,) standard deviations, (n,) posterior means at the points.
        """
        n = self.n
        inverse = self._inverse[:n, :n]
        white = inverse @ targets
        scale = math.sqrt(max(FLOOR, float(white @ white) / n))
        left = np.maximum(FLOOR, 1.0 - self._explained[: self.m])
        return self._rows[: self.m, :n] @ white, scale * np.sqrt(left), targets - self.noise * (white @ inverse)

    def covariance_with_members(self, place: int) -> Floats:
        """(m,) prior correlations of a member with all members."""
        near: Floats = self._covariance(self._pool[place : place + 1], self.members)[0]
        return near

    def _covariance(self, a: Floats, b: Floats) -> Floats:
        """(len(a), len(b)) correlations."""
        weights = 1.0 / self.lengthscales[self._groups]
        scaled_a, scaled_b = a * weights, b * weights
        distances = np.zeros((len(a), len(b)))
        for column in range(a.shape[1]):
            distances += np.abs(scaled_a[:, column, None] - scaled_b[None, :, column])
        result: Floats = np.exp(-distances)
        return result

    # ── lengthscales ──

    def tune(self, targets: Floats, chosen: Ints, steps: int = 15, rate: float = 0.2) -> None:
        """Climbs the marginal likelihood of `targets` (n,) at the points `chosen`; `refresh` has to follow.

        The best lengthscales of the whole climb are kept, those at its start among them.
        """
        points, values = self._x[chosen], targets[chosen] - float(targets[chosen].mean())
        apart = np.abs(points[:, None] - points[None]).reshape(-1, points.shape[1])
        if not self._one_to_one:
            summed = np.zeros((len(apart), len(self.lengthscales)))
            for column, group in enumerate(self._groups):
                summed[:, group] += apart[:, column]
            apart = summed
        here = np.append(np.log(self.lengthscales), math.log(self.noise))
        best, best_value = here, -math.inf
        first, second = np.zeros_like(here), np.zeros_like(here)
        for step in range(1, steps + 1):
            value, slope = self._likelihood(apart, values, here)
            if value > best_value:
                best, best_value = here, value
            first = 0.8 * first + 0.2 * slope
            second = 0.95 * second + 0.05 * slope**2
            here = here + rate * (first / (1 - 0.8**step)) / (np.sqrt(second / (1 - 0.95**step)) + 1e-8)
            here[:-1] = np.clip(here[:-1], math.log(SHORTEST), math.log(LONGEST))
            here[-1] = min(max(here[-1], math.log(LEAST_NOISE)), math.log(MOST_NOISE))
        if self._likelihood(apart, values, here)[0] > best_value:
            best = here
        self.lengthscales = np.exp(best[:-1])
        self.noise = float(np.exp(best[-1]))

    def _likelihood(self, apart: Floats, values: Floats, at: Floats) -> tuple[float, Floats]:
        """Log marginal likelihood (s² maximised out) plus log prior, and its slope in (log lengthscales, log noise)."""
        n, inverse_lengths, noise = len(values), np.exp(-at[:-1]), math.exp(at[-1])
        correlation = np.exp(-(apart @ inverse_lengths)).reshape(n, n)
        covariance = correlation.copy()
        covariance[np.diag_indices(n)] += noise
        factor = _factor(covariance)
        inverse = np.linalg.inv(covariance)
        weights = inverse @ values
        scale = max(FLOOR, float(values @ weights) / n)
        off = (at[:-1] - math.log(self._typical)) / PRIOR_WIDTH
        noise_off = (at[-1] - math.log(1e-3)) / 3.0
        value = -0.5 * n * math.log(scale) - float(np.log(np.diag(factor)).sum()) - 0.5 * float(off @ off) - 0.5 * noise_off**2
        pull = np.outer(weights, weights) / scale - inverse
        slope = np.empty_like(at)
        slope[:-1] = 0.5 * ((pull * correlation).reshape(-1) @ apart) * inverse_lengths - off / PRIOR_WIDTH
        slope[-1] = 0.5 * noise * float(np.trace(pull)) - noise_off / 3.0
        return value, slope


def _factor(covariance: Floats) -> Floats:
    """Cholesky factor, with as much added to the diagonal as it takes."""
    jitter = 0.0
    while True:
        try:
            return np.asarray(np.linalg.cholesky(covariance + jitter * np.eye(len(covariance)) if jitter else covariance), dtype=np.float64)
        except np.linalg.LinAlgError:
            jitter = max(1e-8, 10 * jitter)


_GRID: Floats = np.linspace(-30.0, 6.0, 721)
_LOGS: Floats = np.array(
    [
        # z < -8: the asymptotic series of the Mills ratio, where the difference of the exact terms has no digits left.
        -0.5 * z * z - 0.5 * math.log(2 * math.pi) + math.log(1 / z**2 - 3 / z**4)
        if z < -8
        else math.log(math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) + z * 0.5 * math.erfc(-z / math.sqrt(2)))
        for z in _GRID.tolist()
    ]
)


def log_expected_improvement(means: Floats, deviations: Floats, best: float) -> Floats:
    """ln E[max(0, f - best)] of normal f, elementwise; from a table, good to 1e-3.

    D. R. Jones, M. Schonlau & W. J. Welch, "Efficient Global Optimization of Expensive Black-Box Functions", J. Global
    Optimization 13, 1998; in logarithms after S. Ament et al., "Unexpected Improvements to Expected Improvement", NeurIPS 2023.
    """
    z = (means - best) / deviations
    tail = np.minimum(z, 6.0)
    logs = np.interp(tail, _GRID, _LOGS) + np.log(deviations)
    result: Floats = np.where(z > 6.0, np.log(np.maximum(means - best, 1e-300)), logs)
    return result
