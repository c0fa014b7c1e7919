"""Transpose as a competent NumPy or PyTorch user writes it: into the destination, in tiles that stay in cache."""

import numpy as np


def numpy(x, y, tile=64):
    rows, cols = x.shape
    if min(rows, cols) <= tile:
        np.copyto(y, x.T)
        return
    for r in range(0, rows, tile):
        for c in range(0, cols, tile):
            y[c : c + tile, r : r + tile] = x[r : r + tile, c : c + tile].T


def torch(x, y):
    import torch

    torch.from_numpy(y).copy_(torch.from_numpy(x).T)
