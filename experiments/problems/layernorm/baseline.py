"""Layer normalisation as a competent NumPy or PyTorch user writes it: in place, into the destination."""

import numpy as np

EPSILON = 1e-5


def numpy(x, gamma, beta, y):
    np.subtract(x, x.mean(axis=-1, keepdims=True), out=y)
    variance = np.einsum("rc,rc->r", y, y)[:, None]
    variance /= np.float32(x.shape[-1])
    variance += np.float32(EPSILON)
    y /= np.sqrt(variance, out=variance)
    y *= gamma
    y += beta


def torch(x, gamma, beta, y):
    import torch

    x, gamma, beta, y = map(torch.from_numpy, (x, gamma, beta, y))
    y.copy_(torch.nn.functional.layer_norm(x, x.shape[-1:], gamma, beta, EPSILON))
