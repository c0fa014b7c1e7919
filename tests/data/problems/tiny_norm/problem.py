"""Every row of x divided by its root mean square, and how many of its elements are positive.

    y[r, c] = x[r, c] / sqrt(mean over j of x[r, j]^2 + 1e-6)        positive[r] = number of c with x[r, c] > 0

Small on purpose: an evaluation takes milliseconds, so that a test can afford a hundred of them.
"""

from array_api_compat import array_namespace

sizes = ("rows", "cols")
inputs = {"x": {"dtype": "float32", "shape": ("rows", "cols"), "role": "data"}}
outputs = {"y": {"dtype": "float32", "shape": ("rows", "cols")}, "positive": {"dtype": "int32", "shape": ("rows",)}}
shapes = [{"rows": 64, "cols": 128}, {"rows": 16, "cols": 509}]
small_shapes = [{"rows": 3, "cols": 33}, {"rows": 1, "cols": 130}, {"rows": 9, "cols": 1}, {"rows": 5, "cols": 16}]
held_out_shapes = [{"rows": 50, "cols": 150}, {"rows": 11, "cols": 777}]
deterministic = True


def accumulation(rows, cols):
    return cols


def bytes_moved(rows, cols):
    return 8 * rows * cols + 4 * rows


def flops(rows, cols):
    return 3 * rows * cols


def reference(x):
    xp = array_namespace(x)
    y = x / xp.sqrt(xp.mean(x * x, axis=-1, keepdims=True) + 1e-6)
    return y, xp.sum(xp.astype(x > 0, xp.int32), axis=-1, dtype=xp.int32)


def _no_epsilon(x):
    y = x / (x * x).mean(axis=-1, keepdims=True) ** 0.5
    return y, (x > 0).sum(axis=-1).astype("int32")


def _unit_variance(x):
    return x / (1 + 1e-6) ** 0.5, (x > 0).sum(axis=-1).astype("int32")


mutants = {"no_epsilon": _no_epsilon, "unit_variance": _unit_variance}
