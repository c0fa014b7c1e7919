"""Rounding of values to floating-point formats that NumPy does not hold."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MANTISSA", "coarser", "round_mantissa"]

Array = NDArray[Any]

MANTISSA = {"float64": 52, "float32": 23, "tf32": 10, "float16": 10, "bfloat16": 7, "fp8": 3}
"""Stored mantissa bits; fp8 is e4m3."""
NEXT = {"float64": "float32", "float32": "tf32", "tf32": "bfloat16", "float16": "fp8", "bfloat16": "fp8"}
"""The next coarser format that somebody would be tempted to compute in."""


def round_mantissa(values: Array, bits: int) -> Array:
    """Values rounded to `bits` stored mantissa bits, ties to even; exponents are kept. Same dtype as given."""
    mantissa, exponent = np.frexp(values.astype(np.float64))
    scale = 2.0 ** (bits + 1)
    return np.ldexp(np.rint(mantissa * scale) / scale, exponent).astype(values.dtype)


def coarser(values: Array, compute_dtype: str) -> Array:
    """Output values rounded one format coarser than the problem allows: fp32 → tf32, 16 bit → fp8."""
    allowed = min((values.dtype.name, compute_dtype), key=lambda name: MANTISSA[name])
    with np.errstate(all="ignore"):
        return round_mantissa(values, MANTISSA[NEXT[allowed]])
