"""Inclusive prefix sums of the rows of a bfloat16 matrix, in float32, for a GPU: y[r, c] = sum of x[r, j] over j <= c.

x is bfloat16, y float32; both are contiguous and do not overlap.
"""

from array_api_compat import array_namespace

sizes = ("rows", "cols")
inputs = {"x": {"dtype": "bfloat16", "shape": ("rows", "cols"), "role": "data"}}
outputs = {"y": {"dtype": "float32", "shape": ("rows", "cols")}}
shapes = [{"rows": 4096, "cols": 16384}, {"rows": 8192, "cols": 5120}]
small_shapes = [{"rows": 7, "cols": 33}, {"rows": 31, "cols": 1024}, {"rows": 3, "cols": 4099}]
held_out_shapes = [{"rows": 8192, "cols": 6144}, {"rows": 2048, "cols": 30000}]


def accumulation(rows, cols):
    return cols


def bytes_moved(rows, cols):
    return 6 * rows * cols


def flops(rows, cols):
    return rows * cols


def reference(x):
    return array_namespace(x).cumulative_sum(x, axis=-1)


def _exclusive(x):
    return array_namespace(x).cumulative_sum(x, axis=-1) - x


mutants = {"exclusive": _exclusive}
