"""One-dimensional convolution of float16 sequences, channels first, for a GPU.

    y[b, o, t] = sum over c, s of x[b, c, t + s − (taps − 1) / 2] · w[o, c, s]          (x is 0 outside 0 … length − 1)

x is (batch, channels, length), w is (filters, channels, taps) with an odd number of taps, y is (batch, filters, length); all float16,
contiguous, without overlap. Accumulate in float32.
"""

from array_api_compat import array_namespace, device

sizes = ("batch", "channels", "filters", "length", "taps")
inputs = {
    "x": {"dtype": "float16", "shape": ("batch", "channels", "length"), "role": "data"},
    "w": {"dtype": "float16", "shape": ("filters", "channels", "taps"), "role": "weight"},
}
outputs = {"y": {"dtype": "float16", "shape": ("batch", "filters", "length")}}
compute_dtype = "float16"
shapes = [
    {"batch": 2048, "channels": 96, "filters": 192, "length": 200, "taps": 3},
    {"batch": 1536, "channels": 96, "filters": 96, "length": 248, "taps": 3},
]
small_shapes = [
    {"batch": 3, "channels": 5, "filters": 7, "length": 19, "taps": 3},
    {"batch": 4, "channels": 96, "filters": 96, "length": 40, "taps": 3},
]
# the first is the published case of KernelEvolve: batch, channels, filters, length = 2048, 96, 96, 200
held_out_shapes = [
    {"batch": 2048, "channels": 96, "filters": 96, "length": 200, "taps": 3},
    {"batch": 1024, "channels": 96, "filters": 192, "length": 328, "taps": 3},
]


def accumulation(batch, channels, filters, length, taps):
    return channels * taps


def bytes_moved(batch, channels, filters, length, taps):
    return 2 * (batch * length * (channels + filters) + filters * channels * taps)


def flops(batch, channels, filters, length, taps):
    return 2 * batch * filters * channels * length * taps


def _convolved(x, w, *, places=None):
    """Tap by tap: y += w[:, :, tap] · x moved by the tap's place. places: offset of each tap, centred by default."""
    xp = array_namespace(x)
    length, taps = x.shape[2], w.shape[2]
    y = xp.zeros((x.shape[0], w.shape[0], length), dtype=x.dtype, device=device(x))
    for tap, place in enumerate(range(-(taps // 2), taps // 2 + 1) if places is None else places):
        first, last = max(0, -place), length - max(0, place)
        y[:, :, first:last] += xp.matmul(w[None, :, :, tap], x[:, :, first + place : last + place])
    return y


def reference(x, w):
    return _convolved(x, w)


def _reversed(x, w):
    """A convolution in the mathematical sense: the taps backwards."""
    return _convolved(x, array_namespace(x).flip(w, axis=-1))


def _shifted(x, w):
    """Without padding before the sequence, all of it behind."""
    return _convolved(x, w, places=range(w.shape[2]))


def _wrapped(x, w):
    """Reads around the ends of a sequence."""
    xp = array_namespace(x)
    half = w.shape[2] // 2
    return sum(xp.matmul(w[None, :, :, tap], xp.roll(x, half - tap, axis=-1)) for tap in range(w.shape[2]))


def _last_channel_missing(x, w):
    return _convolved(x[:, :-1], w[:, :-1])


mutants = {"reversed": _reversed, "shifted": _shifted, "wrapped": _wrapped, "last_channel_missing": _last_channel_missing}
