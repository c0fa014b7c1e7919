"""Recognises how an output is wrong: what kind of values it holds, and where the wrong elements lie.

Works on NumPy arrays after a verdict has fallen; it explains and never decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pattern", "kind_of_values", "region", "unwritten"]

Array = NDArray[Any]
Mask = NDArray[np.bool_]

SAMPLE = 4096
"""Wrong elements that are looked at to recognise a kind."""
AGREEMENT = 2e-3
"""Relative spread up to which ratios count as one constant factor."""
COARSE = {"tf32 or half (10 mantissa bits)": 10, "bfloat16 (7 mantissa bits)": 7, "fp8 (3 mantissa bits)": 3}


@dataclass(frozen=True, slots=True)
class Pattern:
    """One recognised pattern."""

    name: str
    """A stable slug: `zeros`, `constant`, `transposed`, `tail_of_rows`, …"""
    text: str
    """A sentence for whoever repairs the kernel."""


def unwritten(got: Array) -> Mask:
    """Elements that still hold the poison: NaNs with a payload, which arithmetic on finite inputs does not make.

    An element computed *from* unwritten memory keeps the payload too and is reported with them.
    """
    if got.dtype.kind != "f":
        return np.zeros(got.shape, np.bool_)
    word = {2: np.uint16, 4: np.uint32, 8: np.uint64}[got.dtype.itemsize]
    mantissa = int(np.finfo(got.dtype).nmant)
    bits = np.ascontiguousarray(got).view(word)
    payload = word((1 << (mantissa - 1)) - 1)
    return np.asarray(np.isnan(got) & ((bits & payload) != 0))


def _sample(mask: Mask) -> NDArray[np.intp]:
    """Up to SAMPLE flat indices of the wrong elements, evenly spread."""
    indices = np.flatnonzero(mask)
    return indices[:: max(1, indices.size // SAMPLE)]


def kind_of_values(got: Array, expected: Array, wrong: Mask, inputs: Sequence[Array]) -> Pattern | None:
    """What the wrong elements hold instead, or None when nothing is recognised. Finite and infinite values only."""
    at = _sample(wrong)
    g, y = got.reshape(-1)[at].astype(np.float64), expected.reshape(-1)[at].astype(np.float64)
    if not np.isfinite(g).all() or not np.isfinite(y).all() or g.size == 0:
        return None
    if not g.any():
        return Pattern("zeros", "Every wrong element is 0.")
    if g.size > 1 and (g == g[0]).all() and not (y == y[0]).all():
        return Pattern("constant", f"Every wrong element is {g[0]:.9g}, whatever was expected.")
    return _moved(got, expected, at, inputs) or _scaled(got, expected, at, g, y)


def _close(g: NDArray[np.float64], y: NDArray[np.float64]) -> bool:
    scale = np.abs(y).mean() or 1.0
    return bool((np.abs(g - y) <= 1e-4 * (np.abs(y) + scale)).mean() > 0.98)


def _moved(got: Array, expected: Array, at: NDArray[np.intp], inputs: Sequence[Array]) -> Pattern | None:
    """Right values in the wrong place."""
    if at.size < 2:
        return None
    g = got.reshape(-1)[at].astype(np.float64)
    for position, array in enumerate(inputs):
        if array.dtype.kind == "f" and array.size == got.size and _close(g, array.reshape(-1)[at].astype(np.float64)):
            return Pattern("copied_input", f"The wrong elements are those of input {position} at the same place.")
    if expected.ndim == 2:
        swapped = np.ascontiguousarray(expected.T).reshape(-1)
        if _close(g, swapped[at].astype(np.float64)):
            return Pattern("transposed", "The output holds the transposed result: row and column indices are exchanged.")
    for axis in range(max(0, expected.ndim - 2), expected.ndim):
        for shift in (1, -1):
            if expected.shape[axis] > 1 and _close(g, np.roll(expected, shift, axis=axis).reshape(-1)[at].astype(np.float64)):
                name = "wrong_row" if axis == expected.ndim - 2 else "shifted"
                other = "previous" if shift == 1 else "next"
                what = "row" if axis == expected.ndim - 2 else "element along the last axis"
                return Pattern(name, f"Wrong elements hold the expected value of the {other} {what}: an index is off by one.")
    if expected.ndim >= 1 and _close(g, expected.reshape(-1)[::-1][at].astype(np.float64)):
        return Pattern("reversed", "The output is reversed.")
    return None


def _scaled(got: Array, expected: Array, at: NDArray[np.intp], g: NDArray[np.float64], y: NDArray[np.float64]) -> Pattern | None:
    """Off by a factor, an offset, a factor per row, or by rounding."""
    if at.size < 2:
        return None
    solid = np.abs(y) > 0.01 * np.abs(y).max()
    ratio = g[solid] / y[solid]
    if ratio.size > 1:
        middle = float(np.median(ratio))
        if np.abs(ratio - middle).max() <= AGREEMENT * abs(middle) and abs(middle - 1) > AGREEMENT:
            return Pattern("constant_factor", f"Every wrong element is {middle:.6g} times the expected value.")
    offset = g - y
    if abs(np.median(offset)) > 0 and np.abs(offset - np.median(offset)).max() <= AGREEMENT * abs(np.median(offset)):
        return Pattern("constant_offset", f"Every wrong element is off by {float(np.median(offset)):+.6g}.")
    for name, bits in COARSE.items():
        mantissa, exponent = np.frexp(g)
        if (np.ldexp(mantissa, bits + 1) == np.rint(np.ldexp(mantissa, bits + 1))).all() and np.isfinite(exponent).all():
            return Pattern("coarse_values", f"The values are rounded to {name}.")
    per_row = _factor_per_row(got, expected, at)
    if per_row is not None:
        return per_row
    error = np.abs(g - y) / (np.abs(y) + np.sqrt(np.mean(y * y)) + 1e-300)
    if float(error.max()) < 2e-2:
        return Pattern(
            "imprecise", f"The values are close (relative error up to {float(error.max()):.1e}), not precise enough: is something summed "
            "or rounded in lower precision, or approximated too coarsely?"
        )  # fmt: skip
    return None


def _factor_per_row(got: Array, expected: Array, at: NDArray[np.intp]) -> Pattern | None:
    if expected.ndim < 2 or expected.shape[-1] < 3:
        return None
    cols = expected.shape[-1]
    rows = np.unique(at // cols)[:32]
    rows = rows[np.abs(expected.reshape(-1, cols)[rows]).max(axis=1) > 0]
    if rows.size == 0:
        return None
    g, y = got.reshape(-1, cols)[rows].astype(np.float64), expected.reshape(-1, cols)[rows].astype(np.float64)
    with np.errstate(all="ignore"):
        ratio = np.where(np.abs(y) > 0.01 * np.abs(y).max(axis=1, keepdims=True), g / y, np.nan)
        middle = np.nanmedian(ratio, axis=1, keepdims=True)
        spread = np.nanmax(np.abs(ratio - middle), axis=1, keepdims=True)
    if not (spread <= np.minimum(AGREEMENT * np.abs(middle), 0.1 * np.abs(middle - 1))).all():
        return None
    low, high = float(middle.min()), float(middle.max())
    return Pattern(
        "factor_per_row", f"Each row is off by a factor of its own ({low:.4g} to {high:.4g}): the value computed once per row (a sum, a "
        "maximum, a variance) is wrong."
    )  # fmt: skip


def region(wrong: Mask) -> Pattern:
    """Where the wrong elements lie. `wrong` has at least one True."""
    count, total = int(wrong.sum()), wrong.size
    grid = wrong.reshape(-1, wrong.shape[-1] if wrong.ndim else 1)
    rows, cols = grid.shape
    if count == total:
        return Pattern("everything", f"All {total} elements are wrong.")
    flat = np.flatnonzero(wrong)
    if count == 1:
        return Pattern("one_element", "Exactly one element is wrong.")
    bad_rows, bad_cols = np.flatnonzero(grid.any(axis=1)), np.flatnonzero(grid.any(axis=0))
    block = grid[bad_rows[0] : bad_rows[-1] + 1, bad_cols[0] : bad_cols[-1] + 1]
    full = block.mean() > 0.9
    c0, c1, r0, r1 = int(bad_cols[0]), int(bad_cols[-1]), int(bad_rows[0]), int(bad_rows[-1])
    if full and cols > 1 and c1 == cols - 1 and c0 > 0 and block.shape[0] == rows:
        return Pattern("tail_of_rows", f"The tail of every row is wrong: from column {c0} to the end ({cols - c0} of {cols} columns).")
    if full and rows > 1 and r1 == rows - 1 and r0 > 0 and block.shape[1] == cols:
        return Pattern("last_rows", f"The last {rows - r0} of {rows} rows are wrong, from row {r0} on.")
    if full and r1 == rows - 1 and c1 == cols - 1 and r0 > 0 and c0 > 0:
        return Pattern("last_tile", f"The last tile is wrong: rows from {r0}, columns from {c0} to the end.")
    if flat[-1] == total - 1 and count == total - flat[0]:
        return Pattern("tail", f"The last {count} of {total} elements are wrong, from flat index {int(flat[0])} on.")
    if full and block.shape != grid.shape:
        return Pattern("block", f"A block is wrong: rows {r0} to {r1}, columns {c0} to {c1} of {rows} x {cols}.")
    steps = np.unique(np.diff(flat[:SAMPLE]))
    if steps.size == 1 and steps[0] > 1:
        return Pattern("every_nth", f"Every {int(steps[0])}th element is wrong, from flat index {int(flat[0])} on.")
    whole = grid.all(axis=1)
    if rows > 1 and whole.sum() * cols == count:
        return Pattern("whole_rows", f"{int(whole.sum())} of {rows} rows are wrong, each entirely; the first is row {r0}.")
    if rows > 1 and bad_rows.size <= rows // 2:
        return Pattern("some_rows", f"{bad_rows.size} of {rows} rows have wrong elements; the first is row {r0}.")
    return Pattern("scattered", f"{count} of {total} elements ({100 * count / total:.2g} %) are wrong, spread over the output.")
