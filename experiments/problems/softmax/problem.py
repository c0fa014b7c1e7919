"""Row-wise softmax of a matrix.

For each of the `rows` rows of x (each `cols` long, contiguous, row-major):

    y[r, c] = exp(x[r, c] - max(x[r, :])) / sum over j of exp(x[r, j] - max(x[r, :]))

x and y are float32 and do not overlap. The maximum has to be subtracted (or the equivalent done online): inputs may be in the
hundreds, where exp alone overflows.
"""

from array_api_compat import array_namespace

sizes = ("rows", "cols")
inputs = {"x": {"dtype": "float32", "shape": ("rows", "cols"), "role": "data"}}
outputs = {"y": {"dtype": "float32", "shape": ("rows", "cols")}}
shapes = [{"rows": 2048, "cols": 2048}, {"rows": 256, "cols": 16384}, {"rows": 16384, "cols": 256}]
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
    return cols


def bytes_moved(rows, cols):
    return 2 * 4 * rows * cols


def flops(rows, cols):
    return 5 * rows * cols


def reference(x):
    xp = array_namespace(x)
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def _no_max_subtraction(x):
    xp = array_namespace(x)
    e = xp.exp(x)
    return e / xp.sum(e, axis=-1, keepdims=True)


def _half_row(x):
    xp = array_namespace(x)
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return e / xp.sum(e[..., : (x.shape[-1] + 1) // 2], axis=-1, keepdims=True)


def _expected_sum(x):
    """For standard normal x the mean of exp(x) is exp(1/2): no sum needed, were all data normal."""
    xp = array_namespace(x)
    return xp.exp(x) / (x.shape[-1] * 1.6487212707)


def _whole_matrix(x):
    xp = array_namespace(x)
    e = xp.exp(x - xp.max(x))
    return e / xp.sum(e)


mutants = {
    "no_max_subtraction": _no_max_subtraction,
    "half_row": _half_row,
    "expected_sum": _expected_sum,
    "whole_matrix": _whole_matrix,
}
