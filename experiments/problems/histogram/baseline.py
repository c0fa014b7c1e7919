"""Histogram as a competent NumPy or PyTorch user writes it: bin numbers in blocks that stay in cache, then bincount."""

import numpy as np

BINS = 256
BLOCK = 1 << 15


def numpy(x, counts):
    counts[...] = 0
    scratch = np.empty(min(BLOCK, x.size), np.float32)
    for start in range(0, x.size, BLOCK):
        part = x[start : start + BLOCK]
        index = np.multiply(part, np.float32(16), out=scratch[: part.size])
        np.floor(index, out=index)
        np.clip(index, np.float32(-128), np.float32(127), out=index)
        index += np.float32(128)
        counts += np.bincount(index.astype(np.intp), minlength=BINS).astype(np.int32)


def torch(x, counts):
    import torch

    index = (torch.from_numpy(x) * 16).floor_().clamp_(-128, 127).add_(128)
    torch.from_numpy(counts).copy_(torch.bincount(index.to(torch.int64), minlength=BINS))
