"""Two-dimensional convolution of images with 3 by 3 filters, stride 1, zero padding 1.

    y[i, k, r, s] = sum over c < channels, u < 3, v < 3 of x[i, c, r + u - 1, s + v - 1] * filters[k, c, u, v]

where x outside its height or width counts as 0. x is (images, channels, height, width), filters is (outputs, channels, 3, 3) and y is
(images, outputs, height, width); all float32, row-major, contiguous, without overlap. Sums may be formed in any order, in float32.
"""

from array_api_compat import array_namespace, is_numpy_namespace

sizes = ("images", "channels", "height", "width", "outputs")
inputs = {
    "x": {"dtype": "float32", "shape": ("images", "channels", "height", "width"), "role": "data"},
    "filters": {"dtype": "float32", "shape": ("outputs", "channels", 3, 3), "role": "data"},
}
outputs = {"y": {"dtype": "float32", "shape": ("images", "outputs", "height", "width")}}
shapes = [
    {"images": 2, "channels": 64, "height": 56, "width": 56, "outputs": 64},
    {"images": 2, "channels": 128, "height": 28, "width": 28, "outputs": 128},
]
small_shapes = [
    {"images": 2, "channels": 3, "height": 7, "width": 33, "outputs": 5},
    {"images": 1, "channels": 1, "height": 1, "width": 17, "outputs": 1},
    {"images": 1, "channels": 5, "height": 16, "width": 1, "outputs": 9},
    {"images": 3, "channels": 2, "height": 13, "width": 16, "outputs": 13},
    {"images": 1, "channels": 17, "height": 5, "width": 61, "outputs": 8},
    {"images": 1, "channels": 16, "height": 14, "width": 14, "outputs": 33},
]
held_out_shapes = [
    {"images": 3, "channels": 48, "height": 40, "width": 52, "outputs": 80},
    {"images": 2, "channels": 67, "height": 35, "width": 45, "outputs": 61},
]


def accumulation(images, channels, height, width, outputs):
    return 9 * channels


def bytes_moved(images, channels, height, width, outputs):
    return 4 * (images * (channels + outputs) * height * width + 9 * outputs * channels)


def flops(images, channels, height, width, outputs):
    return 2 * 9 * images * channels * outputs * height * width


def _convolved(x, filters, taps=None):
    xp = array_namespace(x, filters)
    images, channels, height, width = x.shape
    edges = xp.zeros((images, channels, 1, width), dtype=x.dtype)
    sides = xp.zeros((images, channels, height + 2, 1), dtype=x.dtype)
    if not is_numpy_namespace(xp):
        edges, sides = edges.to(x.device), sides.to(x.device)
    padded = xp.concat([sides, xp.concat([edges, x, edges], axis=2), sides], axis=3)
    y = 0
    for u, v in taps or [(u, v) for u in range(3) for v in range(3)]:
        window = xp.reshape(padded[:, :, u : u + height, v : v + width], (images, channels, height * width))
        y = y + xp.matmul(filters[:, :, u, v], window)
    return xp.reshape(y, (images, filters.shape[0], height, width))


def reference(x, filters):
    return _convolved(x, filters)


def _flipped(x, filters):
    return _convolved(x, array_namespace(filters).flip(filters, axis=(2, 3)))


def _wraps(x, filters):
    """Reads around the edge instead of zeros."""
    xp = array_namespace(x, filters)
    return sum(
        xp.reshape(
            xp.matmul(filters[:, :, u, v], xp.reshape(xp.roll(x, (1 - u, 1 - v), axis=(2, 3)), (*x.shape[:2], -1))),
            (x.shape[0], filters.shape[0], *x.shape[2:]),
        )
        for u in range(3)
        for v in range(3)
    )


def _corner_missing(x, filters):
    return _convolved(x, filters, [(u, v) for u in range(3) for v in range(3) if (u, v) != (2, 2)])


def _last_channel_missing(x, filters):
    xp = array_namespace(x, filters)
    return _convolved(xp.concat([x[:, :-1], 0 * x[:, -1:]], axis=1), filters)


mutants = {
    "flipped": _flipped,
    "wraps": _wraps,
    "corner_missing": _corner_missing,
    "last_channel_missing": _last_channel_missing,
}
