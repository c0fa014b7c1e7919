"""Softmax as a competent NumPy or PyTorch user writes it: in place, into the destination."""

import numpy as np


def numpy(x, y):
    np.subtract(x, x.max(axis=-1, keepdims=True), out=y)
    np.exp(y, out=y)
    y /= y.sum(axis=-1, keepdims=True)


def torch(x, y):
    import torch

    torch.softmax(torch.from_numpy(x), dim=-1, out=torch.from_numpy(y))
