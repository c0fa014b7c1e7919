"""Cross entropy of every row of bfloat16 logits, in float32, for a GPU.

    loss[r] = log(sum over c of exp(x[r, c])) − x[r, label[r]]

x is (rows, classes) bfloat16, label int32 in [0, classes), loss float32. Subtract the maximum (or the equivalent online).
"""

from array_api_compat import array_namespace

sizes = ("rows", "classes")
inputs = {
    "x": {"dtype": "bfloat16", "shape": ("rows", "classes"), "role": "data"},
    "label": {"dtype": "int32", "shape": ("rows",), "role": "index", "below": "classes"},
}
outputs = {"loss": {"dtype": "float32", "shape": ("rows",)}}
shapes = [{"rows": 8192, "classes": 128256}]
small_shapes = [{"rows": 7, "classes": 33}, {"rows": 31, "classes": 1024}, {"rows": 3, "classes": 4099}]
held_out_shapes = [{"rows": 4096, "classes": 151936}, {"rows": 8192, "classes": 32000}]


def accumulation(rows, classes):
    return classes


def bytes_moved(rows, classes):
    return 2 * rows * classes + 8 * rows


def flops(rows, classes):
    return 4 * rows * classes


def reference(x, label):
    xp = array_namespace(x)
    top = xp.max(x, axis=-1, keepdims=True)
    total = xp.log(xp.sum(xp.exp(x - top), axis=-1)) + top[:, 0]
    return total - xp.take_along_axis(x, xp.astype(label, xp.int64)[:, None], axis=-1)[:, 0]


def _no_label(x, label):
    xp = array_namespace(x)
    top = xp.max(x, axis=-1, keepdims=True)
    return xp.log(xp.sum(xp.exp(x - top), axis=-1)) + top[:, 0]


mutants = {"no_label": _no_label}
