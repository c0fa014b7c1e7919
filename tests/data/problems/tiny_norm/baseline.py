"""The baseline a competent NumPy user writes, into the destinations."""

import numpy as np


def numpy(x, y, positive):
    np.divide(x, np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(1e-6)), out=y)
    np.sum(x > 0, axis=-1, dtype=np.int32, out=positive)
