"""Row-wise symmetric quantisation to 8-bit integers.

For each of the `rows` rows of x (each `cols` long, contiguous, row-major), every operation below being one IEEE float32
operation, rounded to nearest, ties to even:

    largest[r] = max over j of |x[r, j]|
    scale[r]   = largest[r] / 127
    inverse[r] = 127 / largest[r] where largest[r] >= 2^-100, else 0
    q[r, c]    = the integer nearest to x[r, c] * inverse[r], ties to even, as int8

q is compared exactly. The product is rounded to float32 before it is rounded to an integer, so |q| never exceeds 127. x and scale
are float32, q is int8.
"""

from array_api_compat import array_namespace

SMALLEST = 2.0**-100

sizes = ("rows", "cols")
inputs = {"x": {"dtype": "float32", "shape": ("rows", "cols"), "role": "data"}}
outputs = {"q": {"dtype": "int8", "shape": ("rows", "cols")}, "scale": {"dtype": "float32", "shape": ("rows",)}}
shapes = [{"rows": 2048, "cols": 4096}, {"rows": 512, "cols": 16384}, {"rows": 16384, "cols": 512}]
small_shapes = [
    {"rows": 7, "cols": 33},
    {"rows": 1, "cols": 1021},
    {"rows": 33, "cols": 1},
    {"rows": 5, "cols": 127},
    {"rows": 31, "cols": 16},
    {"rows": 3, "cols": 4099},
]
held_out_shapes = [{"rows": 1500, "cols": 3000}, {"rows": 4096, "cols": 1000}, {"rows": 331, "cols": 12347}]


def accumulation(rows, cols):
    return 1


def bytes_moved(rows, cols):
    return rows * cols * (4 + 1) + 4 * rows


def flops(rows, cols):
    return 3 * rows * cols


def _scaled(x, *, counted=None, whole=False):
    """x, inverse and scale in the specification's float32: arguments hold float32 values, so the cast is exact."""
    xp = array_namespace(x)
    x = xp.astype(x, xp.float32)
    part = xp.abs(x if counted is None else x[:, :counted])
    largest = xp.broadcast_to(xp.max(part), (x.shape[0], 1)) if whole else xp.max(part, axis=1, keepdims=True)
    big = largest >= SMALLEST
    one = xp.ones_like(largest)
    inverse = xp.where(big, 127 * one / xp.where(big, largest, one), 0 * one)
    return x, inverse, xp.squeeze(largest, axis=1) / 127


def _nearest(x, inverse):
    xp = array_namespace(x)
    return xp.astype(xp.clip(xp.round(x * inverse), -128.0, 127.0), xp.int8)


def reference(x):
    x, inverse, scale = _scaled(x)
    return _nearest(x, inverse), scale


def _truncated(x):
    xp = array_namespace(x)
    x, inverse, scale = _scaled(x)
    return xp.astype(xp.trunc(x * inverse), xp.int8), scale


def _ties_up(x):
    xp = array_namespace(x)
    x, inverse, scale = _scaled(x)
    return xp.astype(xp.clip(xp.floor(x * inverse + 0.5), -128.0, 127.0), xp.int8), scale


def _whole_matrix(x):
    x, inverse, scale = _scaled(x, whole=True)
    return _nearest(x, inverse), scale


def _half_row(x):
    x, inverse, scale = _scaled(x, counted=(x.shape[1] + 1) // 2)
    return _nearest(x, inverse), scale


def _in_128_steps(x):
    x, inverse, scale = _scaled(x)
    return _nearest(x, inverse * (128 / 127)), scale * 127 / 128


mutants = {
    "truncated": _truncated,
    "ties_up": _ties_up,
    "whole_matrix": _whole_matrix,
    "half_row": _half_row,
    "in_128_steps": _in_128_steps,
}
