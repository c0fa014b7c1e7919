"""Running sums along the rows of a matrix.

    y[r, c] = sum over j <= c of x[r, j]

x and y are float32, `rows` by `cols`, row-major, contiguous, and do not overlap. Sums may be formed in any order, in float32.
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
    return rows * cols


def reference(x):
    return array_namespace(x).cumulative_sum(x, axis=-1)


def _exclusive(x):
    return reference(x) - x


def _restarts(x):
    """Forgets the carry half-way."""
    xp = array_namespace(x)
    half = (x.shape[-1] + 1) // 2
    return xp.concat([reference(x[..., :half]), reference(x[..., half:])], axis=-1)


def _down_columns(x):
    return array_namespace(x).cumulative_sum(x, axis=0)


mutants = {"exclusive": _exclusive, "restarts": _restarts, "down_columns": _down_columns}
