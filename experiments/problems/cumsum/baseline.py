"""Running sums as a NumPy or PyTorch user writes them: into the destination."""

import numpy as np


def numpy(x, y):
    np.cumsum(x, axis=-1, out=y)


def torch(x, y):
    import torch

    torch.cumsum(torch.from_numpy(x), dim=-1, out=torch.from_numpy(y))
