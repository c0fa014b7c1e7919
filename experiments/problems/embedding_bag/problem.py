"""Sums of table rows by ragged bags, as in the embedding layers of recommendation models.

    y[b, d] = sum over i from offsets[b] to offsets[b + 1] - 1 of table[indices[i], d]

table is `entries` by `width` float32, indices has `items` int64 in [0, entries), offsets has `bags` + 1 int64, never decreasing, from 0
to `items`; an empty bag sums to 0. y is `bags` by `width` float32. All are contiguous, row-major, without overlap. Sums may be formed
in any order, in float32.
"""

import numpy as np
from array_api_compat import array_namespace, is_numpy_namespace

sizes = ("entries", "width", "bags", "items")
inputs = {
    "table": {"dtype": "float32", "shape": ("entries", "width"), "role": "data"},
    "indices": {"dtype": "int64", "shape": ("items",), "role": "index", "below": "entries"},
    "offsets": {"dtype": "int64", "shape": ("bags+1",), "role": "index", "below": "items+1"},
}
outputs = {"y": {"dtype": "float32", "shape": ("bags", "width")}}
shapes = [
    {"entries": 131072, "width": 64, "bags": 4096, "items": 122880},
    {"entries": 65536, "width": 128, "bags": 2048, "items": 65536},
]
small_shapes = [
    {"entries": 50, "width": 33, "bags": 7, "items": 100},
    {"entries": 1000, "width": 1, "bags": 33, "items": 64},
    {"entries": 31, "width": 127, "bags": 1, "items": 31},
    {"entries": 7, "width": 16, "bags": 64, "items": 40},
    {"entries": 300, "width": 64, "bags": 20, "items": 500},
    {"entries": 90, "width": 100, "bags": 3, "items": 1},
]
held_out_shapes = [
    {"entries": 100000, "width": 96, "bags": 3000, "items": 80000},
    {"entries": 200000, "width": 48, "bags": 5000, "items": 150000},
]


gather = {"table": "indices"}


def make_inputs(rng, sizes):
    """Bags of geometric length, some empty."""
    cuts = rng.integers(0, sizes["items"] + 1, sizes["bags"] - 1)
    cuts.sort()
    return {"offsets": np.concatenate([[0], cuts, [sizes["items"]]])}


def accumulation(entries, width, bags, items):
    return max(1, min(items, 8 * items // bags))


def bytes_moved(entries, width, bags, items):
    return 4 * width * (items + bags) + 8 * (items + bags + 1)


def flops(entries, width, bags, items):
    return width * items


def _sums(rows, offsets):
    """Sums of consecutive rows between offsets."""
    xp = array_namespace(rows)
    lengths = offsets[1:] - offsets[:-1]
    y = xp.zeros((lengths.shape[0], rows.shape[1]), dtype=rows.dtype)
    if is_numpy_namespace(xp):
        full = lengths > 0
        y[full] = xp.add.reduceat(rows, offsets[:-1][full], axis=0)
        return y
    bags = xp.repeat(xp.arange(lengths.shape[0]), lengths)
    return y.to(rows.device).index_add_(0, bags.to(rows.device), rows)


def reference(table, indices, offsets):
    return _sums(array_namespace(table).take(table, indices, axis=0), offsets)


def _mean(table, indices, offsets):
    xp = array_namespace(table)
    lengths = xp.astype(xp.clip(offsets[1:] - offsets[:-1], 1, None), table.dtype)
    return reference(table, indices, offsets) / lengths[:, None]


def _last_item_missing(table, indices, offsets):
    xp = array_namespace(table)
    rows = xp.take(table, indices, axis=0)
    last = offsets[1:][offsets[1:] > offsets[:-1]] - 1
    rows[last] = 0
    return _sums(rows, offsets)


def _neighbour(table, indices, offsets):
    return reference(table, array_namespace(table).clip(indices - 1, 0, None), offsets)


def _even_bags(table, indices, offsets):
    """Takes all bags for equally long."""
    xp = array_namespace(table)
    bags = offsets.shape[0] - 1
    return reference(table, indices, xp.arange(bags + 1) * indices.shape[0] // bags)


mutants = {"mean": _mean, "last_item_missing": _last_item_missing, "neighbour": _neighbour, "even_bags": _even_bags}
