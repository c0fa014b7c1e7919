"""Residual addition and RMS normalisation of bfloat16 rows in one, for a GPU.

    s[r, c] = x[r, c] + residual[r, c]          (rounded to bfloat16 as an output; normalise the unrounded sum or the rounded one)
    y[r, c] = s[r, c] / sqrt(mean over j of s[r, j]² + 1e-5) · w[c]

All arrays are bfloat16, contiguous, and do not overlap; compute in float32.
"""

from array_api_compat import array_namespace

EPSILON = 1e-5

sizes = ("rows", "cols")
inputs = {
    "x": {"dtype": "bfloat16", "shape": ("rows", "cols"), "role": "data"},
    "residual": {"dtype": "bfloat16", "shape": ("rows", "cols"), "role": "data"},
    "w": {"dtype": "bfloat16", "shape": ("cols",), "role": "weight"},
}
outputs = {
    "s": {"dtype": "bfloat16", "shape": ("rows", "cols")},
    "y": {"dtype": "bfloat16", "shape": ("rows", "cols")},
}
shapes = [{"rows": 8192, "cols": 8192}, {"rows": 16384, "cols": 2048}]
small_shapes = [{"rows": 7, "cols": 33}, {"rows": 31, "cols": 1024}, {"rows": 3, "cols": 4099}]
held_out_shapes = [{"rows": 8192, "cols": 7168}, {"rows": 16384, "cols": 4096}]


def accumulation(rows, cols):
    return cols


def bytes_moved(rows, cols):
    return 2 * (4 * rows * cols + cols)


def flops(rows, cols):
    return 5 * rows * cols


def reference(x, residual, w):
    xp = array_namespace(x)
    s = x + residual
    return s, s / xp.sqrt(xp.mean(s * s, axis=-1, keepdims=True) + EPSILON) * w


def _no_epsilon(x, residual, w):
    xp = array_namespace(x)
    s = x + residual
    return s, s / xp.sqrt(xp.mean(s * s, axis=-1, keepdims=True)) * w


mutants = {"no_epsilon": _no_epsilon}
