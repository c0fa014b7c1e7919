"""A centroidal Voronoi archive: a chosen number of cells, however many descriptors there are.

V. Vassiliades, K. Chatzilygeroudis & J.-B. Mouret, "Using Centroidal Voronoi Tessellations to Scale Up the
Multidimensional Archive of Phenotypic Elites Algorithm", IEEE Transactions on Evolutionary Computation 22(4), 2018.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from archive.base import Archive
from archive.candidate import Cell
from archive.descriptors import Descriptors
from archive.evaluation import EMPTY
from archive.tunables import Value

__all__ = ["CVTArchive", "centroids"]

Floats = NDArray[np.float64]


class CVTArchive(Archive):
    """Cells are `(i,)`, the nearest of `cells` centroids in the descriptors' numeric embedding.

    The centroids come from a seeded k-means over random points of the embedding: the same descriptors, `cells` and `seed`
    give the same archive on every machine with the same NumPy stream. A grid of d descriptors needs the product of their
    bins; this needs `cells`, at the price of cells without names.
    """

    def __init__(
        self, descriptors: Descriptors, *, cells: int = 128, seed: int = 0, samples: int = 8192, deterministic: bool = False
    ) -> None:
        """`cells` >= 1 centroids from `samples` >= `cells` random points. Raises ValueError otherwise."""
        super().__init__(deterministic=deterministic)
        if not 1 <= cells <= samples:
            raise ValueError(f"a CVT archive needs 1 <= cells <= samples, found cells={cells}, samples={samples}")
        self.descriptors = descriptors
        rng = np.random.default_rng(seed)
        self.centroids = centroids(descriptors.random_points(rng, samples), cells, rng)
        self._norms = (self.centroids**2).sum(axis=1)

    @property
    def cells(self) -> int:
        return len(self.centroids)

    def cell_of(self, profile: Mapping[str, Value], tunables: Mapping[str, Value] = EMPTY) -> Cell | None:
        point = self.descriptors.embed(profile, tunables)
        if point is None:
            return None
        return (int(np.argmin(self._norms - 2.0 * (self.centroids @ np.asarray(point)))),)


def centroids(points: Floats, k: int, rng: np.random.Generator, rounds: int = 30) -> Floats:
    """(k, d) centres of (n, d) points: Lloyd's algorithm from k distinct points; a centre that loses all its points stays.

    Where there are fewer distinct points than `k` (categorical axes only), there are as many centres as distinct points.
    """
    distinct = np.unique(points, axis=0)
    if len(distinct) <= k:
        return distinct
    centres = distinct[rng.choice(len(distinct), k, replace=False)]
    for _ in range(rounds):
        nearest = np.argmin((centres**2).sum(axis=1) - 2.0 * (points @ centres.T), axis=1)
        counts = np.bincount(nearest, minlength=k)
        sums = np.stack([np.bincount(nearest, weights=column, minlength=k) for column in points.T], axis=1)
        moved = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
        if np.allclose(moved, centres, atol=1e-9):
            break
        centres = moved
    return centres
