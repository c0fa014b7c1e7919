"""Layer normalisation of the rows of a bfloat16 matrix, for a GPU.

    y[r, c] = (x[r, c] - mean(x[r, :])) / sqrt(var(x[r, :]) + 1e-5) · w[c] + b[c]     (var with divisor `cols`)

x, w, b and y are bfloat16, contiguous, and do not overlap; compute in float32.
"""

from array_api_compat import array_namespace

EPSILON = 1e-5

sizes = ("rows", "cols")
inputs = {
    "x": {"dtype": "bfloat16", "shape": ("rows", "cols"), "role": "data"},
    "w": {"dtype": "bfloat16", "shape": ("cols",), "role": "weight"},
    "b": {"dtype": "bfloat16", "shape": ("cols",), "role": "weight"},
}
outputs = {"y": {"dtype": "bfloat16", "shape": ("rows", "cols")}}
shapes = [{"rows": 8192, "cols": 8192}, {"rows": 16384, "cols": 2048}]
small_shapes = [{"rows": 7, "cols": 33}, {"rows": 31, "cols": 1024}, {"rows": 3, "cols": 4099}]
held_out_shapes = [{"rows": 8192, "cols": 7168}, {"rows": 16384, "cols": 4096}]


def accumulation(rows, cols):
    return cols


def bytes_moved(rows, cols):
    return 2 * (2 * rows * cols + 2 * cols)


def flops(rows, cols):
    return 8 * rows * cols


def reference(x, w, b):
    xp = array_namespace(x)
    centred = x - xp.mean(x, axis=-1, keepdims=True)
    return centred / xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + EPSILON) * w + b


def _no_centring(x, w, b):
    xp = array_namespace(x)
    return x / xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + EPSILON) * w + b


mutants = {"no_centring": _no_centring}
