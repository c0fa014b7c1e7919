"""Transposition of a bfloat16 matrix, for a GPU: y[c, r] = x[r, c]. Both are contiguous and do not overlap."""

from array_api_compat import array_namespace

sizes = ("rows", "cols")
inputs = {"x": {"dtype": "bfloat16", "shape": ("rows", "cols"), "role": "data"}}
outputs = {"y": {"dtype": "bfloat16", "shape": ("cols", "rows")}}
shapes = [{"rows": 16384, "cols": 16384}]
small_shapes = [{"rows": 7, "cols": 33}, {"rows": 65, "cols": 1024}, {"rows": 72, "cols": 136}, {"rows": 3, "cols": 4099}]
held_out_shapes = [{"rows": 8192, "cols": 12288}, {"rows": 32768, "cols": 4096}]


def accumulation(rows, cols):
    return 1


def bytes_moved(rows, cols):
    return 2 * 2 * rows * cols


def flops(rows, cols):
    return 0


def reference(x):
    return array_namespace(x).permute_dims(x, (1, 0))


def _columns_swapped(x):
    xp = array_namespace(x)
    return xp.flip(xp.permute_dims(x, (1, 0)), axis=0)


mutants = {"columns_swapped": _columns_swapped}
