"""Optimized factorization machine: x (xᵀ w) of bfloat16 batches, for a GPU.

    y[b, i, j] = sum over d of x[b, i, d] · (sum over p of x[b, p, d] · w[b, p, j])

x is (batch, n, d), w is (batch, n, k), y is (batch, n, k); all bfloat16, contiguous, without overlap. Both products are accumulated in
float32; the inner one may be rounded to bfloat16 before the outer one.
"""

from array_api_compat import array_namespace

sizes = ("batch", "n", "d", "k")
inputs = {
    "x": {"dtype": "bfloat16", "shape": ("batch", "n", "d"), "role": "data"},
    "w": {"dtype": "bfloat16", "shape": ("batch", "n", "k"), "role": "data"},
}
outputs = {"y": {"dtype": "bfloat16", "shape": ("batch", "n", "k")}}
compute_dtype = "bfloat16"
shapes = [{"batch": 2048, "n": 128, "d": 128, "k": 32}, {"batch": 4480, "n": 80, "d": 128, "k": 32}]
small_shapes = [{"batch": 3, "n": 33, "d": 17, "k": 5}, {"batch": 5, "n": 128, "d": 128, "k": 32}]
held_out_shapes = [{"batch": 4096, "n": 96, "d": 128, "k": 32}, {"batch": 3000, "n": 128, "d": 64, "k": 64}]


def accumulation(batch, n, d, k):
    return n + d


def bytes_moved(batch, n, d, k):
    return 2 * batch * (n * d + 2 * n * k)


def flops(batch, n, d, k):
    return 4 * batch * n * d * k


def _product(x, w):
    xp = array_namespace(x)
    return xp.matmul(x, xp.matmul(xp.permute_dims(x, (0, 2, 1)), w))


def reference(x, w):
    return _product(x, w)


def _half_depth(x, w):
    half = (x.shape[2] + 1) // 2
    return _product(x[..., :half], w)


def _last_feature_missing(x, w):
    """The inner sum leaves out one of the n rows."""
    xp = array_namespace(x)
    return xp.matmul(x, xp.matmul(xp.permute_dims(x[:, :-1], (0, 2, 1)), w[:, :-1]))


mutants = {"half_depth": _half_depth, "last_feature_missing": _last_feature_missing}
