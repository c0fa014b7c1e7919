"""Gradients of root-mean-square normalisation with a scale.

The forward pass is, for each of the `rows` rows of x (each `cols` long), with epsilon = 1e-6:

    inverse[r] = 1 / sqrt(sum over j of x[r, j]^2 / cols + epsilon)
    out[r, c]  = x[r, c] * inverse[r] * gamma[c]

Given dy, the gradient at out, compute those at x and at gamma:

    dot[r]     = sum over j of dy[r, j] * gamma[j] * x[r, j]
    dx[r, c]   = inverse[r] * (dy[r, c] * gamma[c] - x[r, c] * inverse[r]^2 * dot[r] / cols)
    dgamma[c]  = sum over r of dy[r, c] * x[r, c] * inverse[r]

Everything is float32, row-major, contiguous, without overlap. Sums may be formed in any order, in float32.
"""

from array_api_compat import array_namespace

EPSILON = 1e-6

sizes = ("rows", "cols")
inputs = {
    "x": {"dtype": "float32", "shape": ("rows", "cols"), "role": "data"},
    "gamma": {"dtype": "float32", "shape": ("cols",), "role": "weight"},
    # normal in every distribution: where x and dy had a single nonzero element, the two terms of dx would cancel in float32
    "dy": {"dtype": "float32", "shape": ("rows", "cols"), "role": "weight"},
}
outputs = {"dx": {"dtype": "float32", "shape": ("rows", "cols")}, "dgamma": {"dtype": "float32", "shape": ("cols",)}}
shapes = [{"rows": 2048, "cols": 2048}, {"rows": 512, "cols": 8192}]
small_shapes = [
    {"rows": 7, "cols": 33},
    {"rows": 1, "cols": 1021},
    {"rows": 33, "cols": 24},
    {"rows": 5, "cols": 127},
    {"rows": 31, "cols": 16},
    {"rows": 3, "cols": 4099},
]
held_out_shapes = [{"rows": 1500, "cols": 3000}, {"rows": 4096, "cols": 1000}, {"rows": 1021, "cols": 4093}]


def accumulation(rows, cols):
    return max(rows, cols)


def bytes_moved(rows, cols):
    return 4 * (3 * rows * cols + 2 * cols)


def flops(rows, cols):
    return 13 * rows * cols


def _gradients(x, gamma, dy, *, epsilon=EPSILON, projected=1.0, rows=None, cols=None):
    xp = array_namespace(x, gamma, dy)
    part = x[:, : cols or x.shape[1]]
    inverse = 1.0 / xp.sqrt(xp.mean(part**2, axis=-1, keepdims=True) + epsilon)
    dot = xp.mean(dy * gamma * x, axis=-1, keepdims=True)
    dx = inverse * (dy * gamma - projected * x * inverse**2 * dot)
    return dx, xp.sum((dy * x * inverse)[: rows or x.shape[0]], axis=0)


def reference(x, gamma, dy):
    return _gradients(x, gamma, dy)


def _no_projection(x, gamma, dy):
    """Treats the root mean square as a constant."""
    return _gradients(x, gamma, dy, projected=0.0)


def _no_epsilon(x, gamma, dy):
    return _gradients(x, gamma, dy, epsilon=0.0)


def _last_row_missing(x, gamma, dy):
    return _gradients(x, gamma, dy, rows=max(1, x.shape[0] - 1))


def _half_row(x, gamma, dy):
    return _gradients(x, gamma, dy, cols=(x.shape[1] + 1) // 2)


def _scaled_dgamma(x, gamma, dy):
    dx, dgamma = _gradients(x, gamma, dy)
    return dx, dgamma * gamma


mutants = {
    "no_projection": _no_projection,
    "no_epsilon": _no_epsilon,
    "last_row_missing": _last_row_missing,
    "half_row": _half_row,
    "scaled_dgamma": _scaled_dgamma,
}
