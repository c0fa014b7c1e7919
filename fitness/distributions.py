"""How inputs are drawn: six distributions for arguments of role `data`, one for every other role."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitness.argument import Argument, evaluate
from fitness.problem import Sizes

__all__ = ["DISTRIBUTIONS", "adapt", "draw", "generator"]

Array = NDArray[Any]

DISTRIBUTIONS = ("normal", "uniform", "x0.01", "x100", "sparse", "integer")
"""N(0,1); U[0,1), whose mean is not 0; N(0,1) x 0.01, where an epsilon counts; N(0,1) x 100, where exp overflows, everywhere or
in places only (`_patchy`); mostly zeros, some rows zero throughout; whole numbers in [-8, 8], with ties and exact sums."""

SCALES = {"x0.01": 0.01, "x100": 100.0}
DENSITIES = (0.0, 0.02, 0.1, 0.5)
"""A sparse row has one of these shares of nonzero elements."""
LARGEST_INTEGER = 8


def generator(seed: bytes) -> np.random.Generator:
    """The fastest of NumPy's generators, from 16 secret bytes."""
    return np.random.Generator(np.random.SFC64(int.from_bytes(seed, "little")))


def draw(argument: Argument, shape: tuple[int, ...], sizes: Sizes, distribution: str, rng: np.random.Generator) -> Array:
    """One input. Only role `data` depends on the distribution. Raises KeyError for an unknown distribution."""
    if distribution not in DISTRIBUTIONS:
        raise KeyError(distribution)
    dtype: np.dtype[Any] = np.dtype(argument.dtype)
    if argument.role == "index":
        return rng.integers(0, max(1, evaluate(argument.below or 1, sizes)), shape, dtype=dtype)
    if argument.role == "fixed":
        return np.full(shape, argument.value, dtype)
    if dtype.kind != "f":
        return _whole_numbers(shape, dtype, distribution if argument.role == "data" else "integer", rng)
    if argument.role == "data":
        return _data(shape, dtype, distribution, rng)
    values = _normal(shape, dtype, rng)
    return np.exp(values * dtype.type(0.5)) if argument.role == "positive" else values


def _normal(shape: tuple[int, ...], dtype: np.dtype[Any], rng: np.random.Generator) -> Array:
    if dtype == np.float64:
        return rng.standard_normal(shape)
    return np.asarray(rng.standard_normal(shape, dtype=np.float32)).astype(dtype, copy=False)


def _data(shape: tuple[int, ...], dtype: np.dtype[Any], distribution: str, rng: np.random.Generator) -> Array:
    if distribution == "uniform":
        return np.asarray(rng.random(shape, dtype=np.float32)).astype(dtype, copy=False)
    if distribution == "integer":
        return rng.integers(-LARGEST_INTEGER, LARGEST_INTEGER + 1, shape, dtype=np.int8).astype(dtype)
    return adapt(_normal(shape, dtype, rng), distribution, rng)


def adapt(values: Array, distribution: str, rng: np.random.Generator) -> Array:
    """Normal-like data as the problem drew them, turned towards a distribution: scaled, thinned out or rounded, else as they are."""
    if values.dtype.kind != "f":
        return values
    if distribution in SCALES:
        scaled: Array = values * values.dtype.type(SCALES[distribution])
        return _patchy(values, scaled, rng) if distribution == "x100" else scaled
    if distribution == "sparse":
        rows = (*values.shape[:-1], 1) if values.ndim else ()
        density = rng.choice(np.asarray(DENSITIES, np.float32), size=rows)
        return values * (np.asarray(rng.random(values.shape, dtype=np.float32)) < density)
    return np.rint(values * values.dtype.type(LARGEST_INTEGER / 2)) if distribution == "integer" else values


def _patchy(plain: Array, large: Array, rng: np.random.Generator) -> Array:
    """The large values everywhere, or in some rows, or from some element of every row on: a kernel that looks at a few elements to
    choose a short cut for tame data finds tame ones, and is wrong about the rest."""
    kind = rng.integers(3)
    if kind == 0 or plain.ndim == 0:
        return large
    if kind == 1 and plain.ndim > 1:
        return np.where(rng.random((*plain.shape[:-1], 1)) < 0.25, large, plain)
    return np.where(np.arange(plain.shape[-1]) >= rng.integers(plain.shape[-1]), large, plain)


def _whole_numbers(shape: tuple[int, ...], dtype: np.dtype[Any], distribution: str, rng: np.random.Generator) -> Array:
    """Integers and booleans: small ones, and for `x100` as large as normal data times 100."""
    if dtype.kind == "b":
        return np.asarray(rng.random(shape, dtype=np.float32) < (0.1 if distribution == "sparse" else 0.5))
    if distribution == "x100":
        values: Array = np.rint(100 * rng.standard_normal(shape, dtype=np.float32)).astype(np.int64)
    else:
        largest = 1 if distribution == "x0.01" else LARGEST_INTEGER
        values = rng.integers(-largest, largest + 1, shape, dtype=np.int64)
    if distribution == "sparse":
        values = values * (rng.random(shape) < 0.1)
    if dtype.kind == "u":
        values = np.abs(values)
    info = np.iinfo(dtype)
    return np.clip(values, info.min, info.max).astype(dtype)
