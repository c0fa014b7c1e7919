"""Causal attention as a competent NumPy or PyTorch user writes it: queries in blocks, keys no further than the block sees."""

import numpy as np

BLOCK = 128


def numpy(q, k, v, y):
    heads, length, width = q.shape
    scale = np.float32(width**-0.5)
    late = np.triu(np.ones((BLOCK, BLOCK), bool), 1)
    for head in range(heads):
        for start in range(0, length, BLOCK):
            stop = min(start + BLOCK, length)
            scores = (q[head, start:stop] * scale) @ k[head, :stop].T
            scores[:, start:][late[: stop - start, : stop - start]] = -np.inf
            scores -= scores.max(axis=1, keepdims=True)
            np.exp(scores, out=scores)
            total = scores.sum(axis=1, keepdims=True)
            np.matmul(scores, v[head, :stop], out=y[head, start:stop])
            y[head, start:stop] /= total


def torch(q, k, v, y):
    import torch

    q, k, v = (torch.from_numpy(array)[None] for array in (q, k, v))
    torch.from_numpy(y).copy_(torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)[0])
