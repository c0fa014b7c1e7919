"""Layer normalisation over the last axis, with scale and shift.

For each of the `rows` rows of x (each `cols` long, contiguous, row-major), with epsilon = 1e-5:

    mean     = sum over j of x[r, j] / cols
    variance = sum over j of (x[r, j] - mean)^2 / cols
    y[r, c]  = (x[r, c] - mean) / sqrt(variance + epsilon) * gamma[c] + beta[c]

Everything is float32; gamma and beta have `cols` elements. Some rows may be constant (variance 0), so epsilon counts.
"""

from array_api_compat import array_namespace

EPSILON = 1e-5

sizes = ("rows", "cols")
inputs = {
    "x": {"dtype": "float32", "shape": ("rows", "cols"), "role": "data"},
    "gamma": {"dtype": "float32", "shape": ("cols",), "role": "weight"},
    "beta": {"dtype": "float32", "shape": ("cols",), "role": "weight"},
}
outputs = {"y": {"dtype": "float32", "shape": ("rows", "cols")}}
shapes = [{"rows": 2048, "cols": 2048}, {"rows": 512, "cols": 8192}, {"rows": 8192, "cols": 512}]
small_shapes = [
    {"rows": 7, "cols": 33},
    {"rows": 1, "cols": 1021},
    {"rows": 33, "cols": 1},
    {"rows": 5, "cols": 127},
    {"rows": 31, "cols": 16},
    {"rows": 3, "cols": 4099},
]
held_out_shapes = [{"rows": 1500, "cols": 3000}, {"rows": 4096, "cols": 1000}, {"rows": 1021, "cols": 4093}]


def accumulation(rows, cols):
    return cols


def bytes_moved(rows, cols):
    return 4 * (2 * rows * cols + 2 * cols)


def flops(rows, cols):
    return 8 * rows * cols


def _normalised(x, gamma, beta, *, epsilon=EPSILON, counted=None):
    xp = array_namespace(x)
    part = x[..., : counted or x.shape[-1]]
    mean = xp.mean(part, axis=-1, keepdims=True)
    variance = xp.mean((part - mean) ** 2, axis=-1, keepdims=True)
    return (x - mean) / xp.sqrt(variance + epsilon) * gamma + beta


def reference(x, gamma, beta):
    return _normalised(x, gamma, beta)


def _no_epsilon(x, gamma, beta):
    return _normalised(x, gamma, beta, epsilon=0.0)


def _half_row(x, gamma, beta):
    return _normalised(x, gamma, beta, counted=(x.shape[-1] + 1) // 2)


def _mean_is_zero(x, gamma, beta):
    xp = array_namespace(x)
    return x / xp.sqrt(xp.mean(x**2, axis=-1, keepdims=True) + EPSILON) * gamma + beta


def _variance_is_one(x, gamma, beta):
    xp = array_namespace(x)
    return (x - xp.mean(x, axis=-1, keepdims=True)) * gamma + beta


def _no_shift(x, gamma, beta):
    return _normalised(x, gamma, 0 * beta)


mutants = {
    "no_epsilon": _no_epsilon,
    "half_row": _half_row,
    "mean_is_zero": _mean_is_zero,
    "variance_is_one": _variance_is_one,
    "no_shift": _no_shift,
}
