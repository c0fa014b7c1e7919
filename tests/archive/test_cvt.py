"""The CVT archive's own: cells are the nearest of seeded centroids."""

from __future__ import annotations

import numpy as np
import pytest

from archive.cvt import CVTArchive, centroids
from archive.descriptors import Categorical, Descriptors, Log2

AXES = Descriptors([Log2("tile", "tile", 1, 1 << 12), Log2("ws", "ws", 1 << 10, 1 << 25), Categorical("nt", "nt", values=(False, True))])


def test_the_same_seed_gives_the_same_cells_and_another_seed_others() -> None:
    first, again, other = CVTArchive(AXES, cells=32), CVTArchive(AXES, cells=32), CVTArchive(AXES, cells=32, seed=1)
    assert np.array_equal(first.centroids, again.centroids)
    assert not np.array_equal(first.centroids, other.centroids)


def test_a_profile_falls_to_its_nearest_centroid() -> None:
    archive = CVTArchive(AXES, cells=64)
    for tile in (1, 7, 300, 4096):
        profile = {"tile": tile, "ws": tile * 4096, "nt": tile > 100}
        point = np.array(AXES.embed(profile))
        assert archive.cell_of(profile) == (int(np.argmin(np.linalg.norm(archive.centroids - point, axis=1))),)


def test_centroids_share_the_space_out_evenly() -> None:
    points = AXES.random_points(np.random.default_rng(1), 20_000)
    archive = CVTArchive(AXES, cells=32)
    nearest = np.argmin(((points[:, None] - archive.centroids[None]) ** 2).sum(axis=2), axis=1)
    shares = np.bincount(nearest, minlength=32) / len(points)
    assert shares.min() > 0.2 / 32 and shares.max() < 4 / 32


def test_there_are_no_more_cells_than_distinguishable_points() -> None:
    archive = CVTArchive(Descriptors([Categorical("nt", "nt", values=(False, True), out_of_range="drop")]), cells=10)
    assert archive.cells == 2
    assert archive.cell_of({"nt": True}) != archive.cell_of({"nt": False})
    assert archive.cell_of({}) is None


def test_a_number_of_cells_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="cells=0"):
        CVTArchive(AXES, cells=0)


def test_k_means_finds_well_separated_groups() -> None:
    rng = np.random.default_rng(0)
    middles = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    points = np.concatenate([m + 0.01 * rng.standard_normal((100, 2)) for m in middles])
    found = min((centroids(points, 3, np.random.default_rng(seed)) for seed in range(5)), key=lambda c: _loss(points, c))
    assert np.allclose(np.sort(found, axis=0), np.sort(middles, axis=0), atol=0.01)


def _loss(points: np.ndarray, centres: np.ndarray) -> float:
    return float(((points[:, None] - centres[None]) ** 2).sum(axis=2).min(axis=1).sum())
