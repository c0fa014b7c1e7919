"""Means of consecutive rows of a bfloat16 matrix by ragged bags, in float32, for a GPU.

    y[b, d] = mean over i from offsets[b] to offsets[b + 1] - 1 of x[i, d]          (0 for an empty bag)

x is `items` by `width` bfloat16, offsets has `bags` + 1 int64, never decreasing, from 0 to `items`; y is `bags` by `width` float32.
All are contiguous, row-major, without overlap. Sums may be formed in any order, in float32.
"""

import numpy as np
from array_api_compat import array_namespace, device

sizes = ("items", "width", "bags")
inputs = {
    "x": {"dtype": "bfloat16", "shape": ("items", "width"), "role": "data"},
    "offsets": {"dtype": "int64", "shape": ("bags+1",), "role": "index", "below": "items+1"},
}
outputs = {"y": {"dtype": "float32", "shape": ("bags", "width")}}
shapes = [{"items": 3276800, "width": 128, "bags": 65536}, {"items": 2621440, "width": 80, "bags": 16384}]
small_shapes = [
    {"items": 100, "width": 33, "bags": 7},
    {"items": 700, "width": 128, "bags": 20},
    {"items": 40, "width": 16, "bags": 64},
    {"items": 900, "width": 40, "bags": 9},
]
held_out_shapes = [{"items": 2000000, "width": 128, "bags": 100000}, {"items": 3000000, "width": 96, "bags": 16384}]


def make_inputs(rng, sizes):
    """Bags of geometric length, some empty."""
    cuts = rng.integers(0, sizes["items"] + 1, sizes["bags"] - 1)
    cuts.sort()
    return {"offsets": np.concatenate([[0], cuts, [sizes["items"]]])}


def accumulation(items, width, bags):
    return max(1, min(items, 8 * items // bags))


def bytes_moved(items, width, bags):
    return 2 * width * items + 4 * width * bags + 8 * (bags + 1)


def flops(items, width, bags):
    return width * items


def _lengths(x, offsets):
    return array_namespace(x).astype(offsets[1:] - offsets[:-1], x.dtype)[:, None]


def _sums(x, offsets):
    """Differences of running sums would cancel; so bag by bag, through a one-hot scatter where the library has one."""
    xp = array_namespace(x)
    lengths = offsets[1:] - offsets[:-1]
    bags = xp.repeat(xp.arange(lengths.shape[0], device=device(lengths)), lengths)
    y = xp.zeros((lengths.shape[0], x.shape[1]), dtype=x.dtype, device=device(x))
    if hasattr(y, "index_add_"):
        return y.index_add_(0, bags, x)
    np.add.at(y, bags, x)
    return y


def reference(x, offsets):
    return _sums(x, offsets) / array_namespace(x).clip(_lengths(x, offsets), 1, None)


def _sum(x, offsets):
    return _sums(x, offsets)


def _empty_bags_counted(x, offsets):
    return _sums(x, offsets) / (_lengths(x, offsets) + 1)


def _last_item_missing(x, offsets):
    xp = array_namespace(x)
    kept = xp.asarray(x, copy=True)
    kept[offsets[1:][offsets[1:] > offsets[:-1]] - 1] = 0
    return reference(kept, offsets)


def _even_bags(x, offsets):
    """Takes all bags for equally long."""
    xp = array_namespace(x)
    bags = offsets.shape[0] - 1
    return reference(x, xp.arange(bags + 1, device=device(offsets)) * x.shape[0] // bags)


mutants = {
    "sum": _sum,
    "empty_bags_counted": _empty_bags_counted,
    "last_item_missing": _last_item_missing,
    "even_bags": _even_bags,
}
