"""Matrix product.

    c[i, j] = sum over p < k of a[i, p] * b[p, j]   for every i < m and j < n

a is m by k, b is k by n, c is m by n; all float32, row-major, contiguous, without overlap. Sums may be formed in any order, in
float32 (fused multiply-add allowed); lower precision inside is not.
"""

from array_api_compat import array_namespace

sizes = ("m", "n", "k")
inputs = {
    "a": {"dtype": "float32", "shape": ("m", "k"), "role": "data"},
    "b": {"dtype": "float32", "shape": ("k", "n"), "role": "data"},
}
outputs = {"c": {"dtype": "float32", "shape": ("m", "n")}}
shapes = [{"m": 512, "n": 512, "k": 512}, {"m": 256, "n": 1024, "k": 512}]
small_shapes = [
    {"m": 7, "n": 33, "k": 13},
    {"m": 1, "n": 127, "k": 31},
    {"m": 67, "n": 1, "k": 19},
    {"m": 33, "n": 17, "k": 1},
    {"m": 61, "n": 97, "k": 127},
    {"m": 32, "n": 64, "k": 48},
]
held_out_shapes = [{"m": 500, "n": 600, "k": 450}, {"m": 331, "n": 1001, "k": 420}]


def accumulation(m, n, k):
    return k


def bytes_moved(m, n, k):
    return 4 * (m * k + k * n + m * n)


def flops(m, n, k):
    return 2 * m * n * k


def reference(a, b):
    xp = array_namespace(a, b)
    return xp.matmul(a, b)


def _half_sum(a, b):
    xp = array_namespace(a, b)
    half = (a.shape[1] + 1) // 2
    return xp.matmul(a[:, :half], b[:half, :])


def _last_term_missing(a, b):
    xp = array_namespace(a, b)
    return xp.matmul(a[:, :-1], b[:-1, :])


def _wrong_row(a, b):
    xp = array_namespace(a, b)
    return xp.matmul(xp.roll(a, 1, axis=0), b)


mutants = {"half_sum": _half_sum, "last_term_missing": _last_term_missing, "wrong_row": _wrong_row}
