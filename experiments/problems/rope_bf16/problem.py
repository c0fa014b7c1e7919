"""Rotary position embedding, rotate-half form, of bfloat16 heads, for a GPU.

x is (batch, heads, length, dim) with an even dim, contiguous; cos and sin are (length, dim / 2) float32, contiguous. With h = dim / 2:

    y[…, t, i]     = x[…, t, i] · cos[t, i] − x[…, t, i + h] · sin[t, i]
    y[…, t, i + h] = x[…, t, i + h] · cos[t, i] + x[…, t, i] · sin[t, i]         for 0 <= i < h

y is bfloat16 and does not overlap x; compute in float32.
"""

from array_api_compat import array_namespace

sizes = ("batch", "heads", "length", "dim")
inputs = {
    "x": {"dtype": "bfloat16", "shape": ("batch", "heads", "length", "dim"), "role": "data"},
    "cos": {"dtype": "float32", "shape": ("length", "dim//2"), "role": "weight"},
    "sin": {"dtype": "float32", "shape": ("length", "dim//2"), "role": "weight"},
}
outputs = {"y": {"dtype": "bfloat16", "shape": ("batch", "heads", "length", "dim")}}
shapes = [{"batch": 8, "heads": 32, "length": 4096, "dim": 128}, {"batch": 6, "heads": 40, "length": 3072, "dim": 64}]
small_shapes = [{"batch": 1, "heads": 3, "length": 7, "dim": 32}, {"batch": 2, "heads": 2, "length": 33, "dim": 128}]
held_out_shapes = [{"batch": 4, "heads": 32, "length": 6000, "dim": 128}, {"batch": 8, "heads": 48, "length": 4096, "dim": 64}]


def accumulation(batch, heads, length, dim):
    return 2


def bytes_moved(batch, heads, length, dim):
    return 2 * 2 * batch * heads * length * dim + 2 * 4 * length * (dim // 2)


def flops(batch, heads, length, dim):
    return 3 * batch * heads * length * dim


def reference(x, cos, sin):
    xp = array_namespace(x)
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return xp.concat([a * cos - b * sin, b * cos + a * sin], axis=-1)


def _backwards(x, cos, sin):
    xp = array_namespace(x)
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    return xp.concat([a * cos + b * sin, b * cos - a * sin], axis=-1)


mutants = {"backwards": _backwards}
