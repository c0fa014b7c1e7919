"""Product of two bfloat16 matrices, accumulated in float32, for a GPU: c[i, j] = sum over p of a[i, p] · b[p, j].

a is (m, k), b is (k, n), c is (m, n); all bfloat16, contiguous, and do not overlap.
"""

from array_api_compat import array_namespace

sizes = ("m", "n", "k")
inputs = {
    "a": {"dtype": "bfloat16", "shape": ("m", "k"), "role": "data"},
    "b": {"dtype": "bfloat16", "shape": ("k", "n"), "role": "data"},
}
outputs = {"c": {"dtype": "bfloat16", "shape": ("m", "n")}}
compute_dtype = "bfloat16"
shapes = [{"m": 4096, "n": 4096, "k": 4096}]
small_shapes = [{"m": 33, "n": 65, "k": 17}, {"m": 128, "n": 64, "k": 256}]
held_out_shapes = [{"m": 4096, "n": 6144, "k": 3072}, {"m": 8192, "n": 4096, "k": 2048}]


def accumulation(m, n, k):
    return k


def bytes_moved(m, n, k):
    return 2 * (m * k + k * n + m * n)


def flops(m, n, k):
    return 2 * m * n * k


def reference(a, b):
    return array_namespace(a).matmul(a, b)


def _half_depth(a, b):
    half = (a.shape[1] + 1) // 2
    return array_namespace(a).matmul(a[:, :half], b[:half, :])


mutants = {"half_depth": _half_depth}
