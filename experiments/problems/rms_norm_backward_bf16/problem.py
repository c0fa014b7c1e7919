"""Gradients of root-mean-square normalisation with a scale, in bfloat16, for a GPU.

The forward pass is, for each of the `rows` rows of x (each `cols` long), with epsilon = 1e-5:

    inverse[r] = 1 / sqrt(mean over j of x[r, j]² + epsilon)
    out[r, c]  = x[r, c] · inverse[r] · w[c]

Given dy, the gradient at out, compute those at x and at w:

    dot[r]   = mean over j of dy[r, j] · w[j] · x[r, j]
    dx[r, c] = inverse[r] · (dy[r, c] · w[c] − x[r, c] · inverse[r]² · dot[r])
    dw[c]    = sum over r of dy[r, c] · x[r, c] · inverse[r]

All arrays are bfloat16, contiguous, and do not overlap; compute in float32. Sums may be formed in any order.
"""

from array_api_compat import array_namespace

EPSILON = 1e-5

sizes = ("rows", "cols")
inputs = {
    "x": {"dtype": "bfloat16", "shape": ("rows", "cols"), "role": "data"},
    "w": {"dtype": "bfloat16", "shape": ("cols",), "role": "weight"},
    # normal in every distribution: where x and dy had a single nonzero element, the two terms of dx would cancel
    "dy": {"dtype": "bfloat16", "shape": ("rows", "cols"), "role": "weight"},
}
outputs = {
    "dx": {"dtype": "bfloat16", "shape": ("rows", "cols")},
    "dw": {"dtype": "bfloat16", "shape": ("cols",)},
}
shapes = [{"rows": 8192, "cols": 4096}]
small_shapes = [{"rows": 7, "cols": 33}, {"rows": 70, "cols": 1024}, {"rows": 3, "cols": 2051}]
held_out_shapes = [{"rows": 6000, "cols": 4096}, {"rows": 16384, "cols": 3072}]


def accumulation(rows, cols):
    return max(rows, cols)


def bytes_moved(rows, cols):
    return 2 * (3 * rows * cols + 2 * cols)


def flops(rows, cols):
    return 13 * rows * cols


def _gradients(x, w, dy, *, projected=1.0, rows=None, cols=None):
    xp = array_namespace(x)
    part = x[:, : cols or x.shape[1]]
    inverse = 1.0 / xp.sqrt(xp.mean(part * part, axis=-1, keepdims=True) + EPSILON)
    dot = xp.mean(dy * w * x, axis=-1, keepdims=True)
    dx = inverse * (dy * w - projected * x * inverse * inverse * dot)
    return dx, xp.sum((dy * x * inverse)[: rows or x.shape[0]], axis=0)


def reference(x, w, dy):
    return _gradients(x, w, dy)


def _no_projection(x, w, dy):
    """Treats the root mean square as a constant."""
    return _gradients(x, w, dy, projected=0.0)


def _last_row_missing(x, w, dy):
    return _gradients(x, w, dy, rows=max(1, x.shape[0] - 1))


def _half_row(x, w, dy):
    return _gradients(x, w, dy, cols=(x.shape[1] + 1) // 2)


mutants = {"no_projection": _no_projection, "last_row_missing": _last_row_missing, "half_row": _half_row}
