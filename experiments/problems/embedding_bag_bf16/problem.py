"""Sums of table rows by ragged bags, bfloat16 in and out, as in the embedding layers of recommendation models, for a GPU.

    y[b, d] = sum over i from offsets[b] to offsets[b + 1] - 1 of table[indices[i], d]          (0 for an empty bag)

table is `entries` by `width` bfloat16, indices has `items` int64 in [0, entries), offsets has `bags` + 1 int64, never decreasing, from 0
to `items`; y is `bags` by `width` bfloat16. All are contiguous, row-major, without overlap. Sums may be formed in any order, in float32.
"""

import numpy as np
from array_api_compat import array_namespace, device

sizes = ("entries", "width", "bags", "items")
inputs = {
    "table": {"dtype": "bfloat16", "shape": ("entries", "width"), "role": "data"},
    "indices": {"dtype": "int64", "shape": ("items",), "role": "index", "below": "entries"},
    "offsets": {"dtype": "int64", "shape": ("bags+1",), "role": "index", "below": "items+1"},
}
outputs = {"y": {"dtype": "bfloat16", "shape": ("bags", "width")}}
shapes = [
    {"entries": 2500000, "width": 128, "bags": 65536, "items": 3276800},
    {"entries": 1500000, "width": 80, "bags": 16384, "items": 2621440},
]
small_shapes = [
    {"entries": 50, "width": 33, "bags": 7, "items": 100},
    {"entries": 300, "width": 128, "bags": 20, "items": 700},
    {"entries": 7, "width": 16, "bags": 64, "items": 40},
    {"entries": 300, "width": 40, "bags": 9, "items": 900},
]
held_out_shapes = [
    {"entries": 4000000, "width": 128, "bags": 100000, "items": 2000000},
    {"entries": 3000000, "width": 96, "bags": 16384, "items": 3000000},
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
    """Every gathered row counts: a table that is read at random does not stay in a cache."""
    return 2 * width * (items + bags) + 8 * (items + bags + 1)


def flops(entries, width, bags, items):
    return width * items


def _sums(rows, offsets):
    xp = array_namespace(rows)
    lengths = offsets[1:] - offsets[:-1]
    bags = xp.repeat(xp.arange(lengths.shape[0], device=device(lengths)), lengths)
    y = xp.zeros((lengths.shape[0], rows.shape[1]), dtype=rows.dtype, device=device(rows))
    if hasattr(y, "index_add_"):
        return y.index_add_(0, bags, rows)
    np.add.at(y, bags, rows)
    return y


def reference(table, indices, offsets):
    return _sums(array_namespace(table).take(table, indices, axis=0), offsets)


def _mean(table, indices, offsets):
    xp = array_namespace(table)
    lengths = xp.astype(xp.clip(offsets[1:] - offsets[:-1], 1, None), table.dtype)
    return reference(table, indices, offsets) / lengths[:, None]


def _last_item_missing(table, indices, offsets):
    rows = array_namespace(table).take(table, indices, axis=0)
    rows[offsets[1:][offsets[1:] > offsets[:-1]] - 1] = 0
    return _sums(rows, offsets)


def _neighbour(table, indices, offsets):
    return reference(table, array_namespace(table).clip(indices - 1, 0, None), offsets)


def _even_bags(table, indices, offsets):
    """Takes all bags for equally long."""
    xp = array_namespace(table)
    bags = offsets.shape[0] - 1
    return reference(table, indices, xp.arange(bags + 1, device=device(offsets)) * indices.shape[0] // bags)


mutants = {"mean": _mean, "last_item_missing": _last_item_missing, "neighbour": _neighbour, "even_bags": _even_bags}
