"""Causal attention of bfloat16 heads, for a GPU.

    p[b, h, i, j] = softmax over j <= i of (q[b, h, i, :] · k[b, h, j, :]) / √dim
    y[b, h, i, :] = sum over j <= i of p[b, h, i, j] · v[b, h, j, :]

q, k, v and y are (batch, heads, length, dim), bfloat16, contiguous, and do not overlap. Sums and the softmax in float32; p may be rounded
to bfloat16 before the second product.
"""

from array_api_compat import array_namespace, device

sizes = ("batch", "heads", "length", "dim")
_head = {"dtype": "bfloat16", "shape": ("batch", "heads", "length", "dim"), "role": "data"}
inputs = {"q": _head, "k": _head, "v": _head}
outputs = {"y": {"dtype": "bfloat16", "shape": ("batch", "heads", "length", "dim")}}
compute_dtype = "bfloat16"
shapes = [{"batch": 4, "heads": 32, "length": 4096, "dim": 128}, {"batch": 8, "heads": 32, "length": 1536, "dim": 128}]
small_shapes = [{"batch": 1, "heads": 2, "length": 33, "dim": 32}, {"batch": 2, "heads": 1, "length": 200, "dim": 128}]
held_out_shapes = [
    {"batch": 8, "heads": 32, "length": 2048, "dim": 128},
    {"batch": 2, "heads": 32, "length": 6000, "dim": 128},
]


def accumulation(batch, heads, length, dim):
    return length


def bytes_moved(batch, heads, length, dim):
    return 2 * 4 * batch * heads * length * dim


def flops(batch, heads, length, dim):
    """Two products over the lower triangle."""
    return 2 * batch * heads * length * (length + 1) * dim


def _attention(q, k, v, *, causal=True, scaled=True, late=0):
    """Head by head: the scores of all heads at once would not fit into a device's memory."""
    xp = array_namespace(q)
    batch, heads, length, dim = q.shape
    places = xp.arange(length, device=device(q))
    hidden = places[None, :] > places[:, None] - late
    if late:
        hidden[:late, 0] = False
    results = []
    for query, key, value in zip(*(xp.reshape(each, (batch * heads, length, dim)) for each in (q, k, v)), strict=True):
        scores = xp.matmul(query, xp.permute_dims(key, (1, 0))) * (dim**-0.5 if scaled else 1.0)
        if causal:
            scores[hidden] = -float("inf")
        weights = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
        results.append(xp.matmul(weights, value) / xp.sum(weights, axis=-1, keepdims=True))
    return xp.reshape(xp.stack(results), (batch, heads, length, dim))


def reference(q, k, v):
    return _attention(q, k, v)


def _not_causal(q, k, v):
    return _attention(q, k, v, causal=False)


def _not_scaled(q, k, v):
    return _attention(q, k, v, scaled=False)


def _without_itself(q, k, v):
    """A position does not see itself."""
    return _attention(q, k, v, late=1)


mutants = {"not_causal": _not_causal, "not_scaled": _not_scaled, "without_itself": _without_itself}
