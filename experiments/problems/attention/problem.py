"""Causal attention, in full float32.

For each of the `heads` heads, with q, k and v of `length` by `width`:

    score[i, j]  = (sum over d of q[i, d] * k[j, d]) / sqrt(width)    for j <= i
    weight[i, j] = exp(score[i, j]) / sum over l <= i of exp(score[i, l])
    y[i, d]      = sum over j <= i of weight[i, j] * v[j, d]

All arrays are (heads, length, width), float32, row-major, contiguous, without overlap. Scores may be in the thousands: subtract their
maximum (or do the equivalent online) before exp. Sums may be formed in any order, in float32.
"""

from array_api_compat import array_namespace

sizes = ("heads", "length", "width")
inputs = {
    "q": {"dtype": "float32", "shape": ("heads", "length", "width"), "role": "data"},
    "k": {"dtype": "float32", "shape": ("heads", "length", "width"), "role": "data"},
    "v": {"dtype": "float32", "shape": ("heads", "length", "width"), "role": "data"},
}
outputs = {"y": {"dtype": "float32", "shape": ("heads", "length", "width")}}
shapes = [{"heads": 4, "length": 512, "width": 64}, {"heads": 1, "length": 1024, "width": 64}]
small_shapes = [
    {"heads": 2, "length": 33, "width": 16},
    {"heads": 1, "length": 1, "width": 7},
    {"heads": 3, "length": 17, "width": 3},
    {"heads": 1, "length": 127, "width": 33},
    {"heads": 1, "length": 70, "width": 64},
    {"heads": 1, "length": 16, "width": 80},
]
held_out_shapes = [{"heads": 3, "length": 700, "width": 64}, {"heads": 2, "length": 601, "width": 80}]


def accumulation(heads, length, width):
    """The longest chain of additions: `width` of them in a score, then `length` of weighted values. What the exponent makes of a
    score's rounding is no accumulation: the inputs' own rounding does the same to the reference, and that is forgiven."""
    return length + width


def bytes_moved(heads, length, width):
    return 4 * 4 * heads * length * width


def flops(heads, length, width):
    return 2 * heads * length * (length + 1) * width


def _attended(q, k, v, *, scale=None, later=0, shift=0):
    """later: how many keys after its own a query sees; shift: by how many rows v is displaced."""
    xp = array_namespace(q, k, v)
    length = q.shape[1]
    if scale is None:
        scale = q.shape[2] ** -0.5
    scores = xp.matmul(q, xp.permute_dims(k, (0, 2, 1))) * scale
    here = xp.arange(length)
    hidden = here[None, :] > here[:, None] + later
    scores[:, hidden] = -float("inf")
    weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    weights = weights / xp.sum(weights, axis=-1, keepdims=True)
    return xp.matmul(weights, xp.roll(v, shift, axis=1))


def reference(q, k, v):
    return _attended(q, k, v)


def _not_causal(q, k, v):
    return _attended(q, k, v, later=q.shape[1])


def _sees_the_next(q, k, v):
    return _attended(q, k, v, later=1)


def _unscaled(q, k, v):
    return _attended(q, k, v, scale=1.0)


def _uniform(q, k, v):
    """The mean of v so far: scores taken for equal."""
    return _attended(0 * q, k, v)


def _displaced(q, k, v):
    return _attended(q, k, v, shift=1)


mutants = {
    "not_causal": _not_causal,
    "sees_the_next": _sees_the_next,
    "unscaled": _unscaled,
    "uniform": _uniform,
    "displaced": _displaced,
}
