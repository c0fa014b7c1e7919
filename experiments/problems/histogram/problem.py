"""Histogram with 256 bins of equal width, exact counts.

    counts[b] = how many of x[0], ..., x[n - 1] have bin b, where
    bin(v)    = floor(16 v) + 128, or 0 where that is negative, or 255 where it is larger

x has `n` float32, finite; counts has 256 int32. A bin is 1/16 wide, and 0 is the lower edge of bin 128. Since 16 v is exact in
float32, so is the result: counts are compared exactly.
"""

from array_api_compat import array_namespace

BINS = 256
SCALE = 16.0

sizes = ("n",)
inputs = {"x": {"dtype": "float32", "shape": ("n",), "role": "data"}}
outputs = {"counts": {"dtype": "int32", "shape": (BINS,)}}
shapes = [{"n": 4194304}, {"n": 524288}]
small_shapes = [{"n": 1}, {"n": 33}, {"n": 127}, {"n": 1021}, {"n": 4099}, {"n": 20000}]
held_out_shapes = [{"n": 3000001}, {"n": 1000003}]


def accumulation(n):
    return 1


def bytes_moved(n):
    return 4 * (n + BINS)


def flops(n):
    return 3 * n


def _counts(x, *, rounded=None, offset=BINS // 2, wraps=False):
    """rounded: what takes 16 v to a whole number, floor where it is None."""
    xp = array_namespace(x)
    index = (rounded or xp.floor)(x * SCALE) + offset
    index = index % BINS if wraps else xp.clip(index, 0.0, BINS - 1.0)
    return xp.astype(xp.bincount(xp.astype(index, xp.int64), minlength=BINS), xp.int32)


def reference(x):
    return _counts(x)


def _truncates(x):
    return _counts(x, rounded=array_namespace(x).trunc)


def _rounds(x):
    return _counts(x, rounded=array_namespace(x).round)


def _wraps(x):
    """Takes bins modulo 256 where it should stop at the ends."""
    return _counts(x, wraps=True)


def _shifted(x):
    return _counts(x, offset=BINS // 2 - 1)


def _last_missing(x):
    return _counts(x[: max(0, x.shape[0] - 1)])


mutants = {"truncates": _truncates, "rounds": _rounds, "wraps": _wraps, "shifted": _shifted, "last_missing": _last_missing}
