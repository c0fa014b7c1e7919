"""Transpose of a matrix.

    y[c, r] = x[r, c]   for every row r < rows and column c < cols

x is rows by cols, y is cols by rows; both float32, row-major, contiguous, and they do not overlap.
"""

from array_api_compat import array_namespace

sizes = ("rows", "cols")
inputs = {"x": {"dtype": "float32", "shape": ("rows", "cols"), "role": "data"}}
outputs = {"y": {"dtype": "float32", "shape": ("cols", "rows")}}
# rows of y begin on cache lines in the first alone
shapes = [{"rows": 2048, "cols": 2048}, {"rows": 1021, "cols": 4100}, {"rows": 3002, "cols": 1250}]
small_shapes = [
    {"rows": 7, "cols": 33},
    {"rows": 1, "cols": 1021},
    {"rows": 127, "cols": 1},
    {"rows": 67, "cols": 127},
    {"rows": 16, "cols": 80},
    {"rows": 211, "cols": 34},
]
held_out_shapes = [{"rows": 1500, "cols": 3000}, {"rows": 4096, "cols": 1000}, {"rows": 997, "cols": 4093}]
deterministic = True


def accumulation(rows, cols):
    return 1


def bytes_moved(rows, cols):
    return 2 * 4 * rows * cols


def flops(rows, cols):
    return 0


def reference(x):
    xp = array_namespace(x)
    return xp.permute_dims(x, (1, 0))


def _reshaped(x):
    xp = array_namespace(x)
    return xp.reshape(x, (x.shape[1], x.shape[0]))


def _mirrored(x):
    xp = array_namespace(x)
    return xp.flip(xp.permute_dims(x, (1, 0)), axis=0)


mutants = {"reshaped": _reshaped, "mirrored": _mirrored}
