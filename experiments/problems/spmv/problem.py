"""Product of a sparse matrix, in compressed rows (CSR), with a vector.

    y[r] = sum over i from starts[r] to starts[r + 1] - 1 of values[i] * x[columns[i]]

values holds `nonzeros` float32 and columns as many int32 in [0, cols), ascending within a row; starts has `rows` + 1 int64, never
decreasing, from 0 to `nonzeros`; an empty row sums to 0. x has `cols` and y `rows` float32. Nothing overlaps. Sums may be formed in any
order, in float32.
"""

import numpy as np
from array_api_compat import array_namespace, is_numpy_namespace

sizes = ("rows", "cols", "nonzeros")
inputs = {
    "values": {"dtype": "float32", "shape": ("nonzeros",), "role": "data"},
    "columns": {"dtype": "int32", "shape": ("nonzeros",), "role": "index", "below": "cols"},
    "starts": {"dtype": "int64", "shape": ("rows+1",), "role": "index", "below": "nonzeros+1"},
    "x": {"dtype": "float32", "shape": ("cols",), "role": "data"},
}
outputs = {"y": {"dtype": "float32", "shape": ("rows",)}}
shapes = [{"rows": 32768, "cols": 65536, "nonzeros": 1048576}, {"rows": 8192, "cols": 262144, "nonzeros": 1048576}]
small_shapes = [
    {"rows": 7, "cols": 33, "nonzeros": 60},
    {"rows": 1, "cols": 1021, "nonzeros": 513},
    {"rows": 127, "cols": 1, "nonzeros": 100},
    {"rows": 61, "cols": 97, "nonzeros": 1},
    {"rows": 64, "cols": 64, "nonzeros": 2000},
    {"rows": 501, "cols": 300, "nonzeros": 3001},
]
held_out_shapes = [{"rows": 50000, "cols": 40000, "nonzeros": 900000}, {"rows": 10007, "cols": 120011, "nonzeros": 1200007}]


gather = {"x": "columns"}


def make_inputs(rng, sizes):
    """Rows of geometric length, some empty; columns ascending, a column may occur twice in a row."""
    nonzeros = sizes["nonzeros"]
    starts = np.concatenate([[0], np.sort(rng.integers(0, nonzeros + 1, sizes["rows"] - 1)), [nonzeros]])
    row = np.repeat(np.arange(sizes["rows"]), np.diff(starts))
    columns = rng.integers(0, sizes["cols"], nonzeros)
    columns = np.sort(row * sizes["cols"] + columns) - row * sizes["cols"]
    return {"starts": starts, "columns": columns.astype(np.int32)}


def accumulation(rows, cols, nonzeros):
    return max(1, min(nonzeros, 8 * nonzeros // rows))


def bytes_moved(rows, cols, nonzeros):
    return nonzeros * (4 + 4) + 8 * (rows + 1) + 4 * cols + 4 * rows


def flops(rows, cols, nonzeros):
    return 2 * nonzeros


def _sums(products, starts):
    """Sums of consecutive products between starts."""
    xp = array_namespace(products)
    lengths = starts[1:] - starts[:-1]
    y = xp.zeros(lengths.shape, dtype=products.dtype)
    if is_numpy_namespace(xp):
        full = lengths > 0
        y[full] = xp.add.reduceat(products, starts[:-1][full])
        return y
    rows = xp.repeat(xp.arange(lengths.shape[0]), lengths)
    return y.to(products.device).index_add_(0, rows.to(products.device), products)


def reference(values, columns, starts, x):
    return _sums(values * array_namespace(x).take(x, columns), starts)


def _last_item_missing(values, columns, starts, x):
    products = values * array_namespace(x).take(x, columns)
    products[starts[1:][starts[1:] > starts[:-1]] - 1] = 0
    return _sums(products, starts)


def _values_only(values, columns, starts, x):
    return _sums(values, starts)


def _neighbour(values, columns, starts, x):
    return reference(values, array_namespace(x).clip(columns - 1, 0, None), starts, x)


def _even_rows(values, columns, starts, x):
    rows = starts.shape[0] - 1
    return reference(values, columns, array_namespace(x).arange(rows + 1) * values.shape[0] // rows, x)


mutants = {
    "last_item_missing": _last_item_missing,
    "values_only": _values_only,
    "neighbour": _neighbour,
    "even_rows": _even_rows,
}
