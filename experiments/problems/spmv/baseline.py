"""Sparse matrix times vector as a NumPy, SciPy or PyTorch user writes it."""

import numpy as np


def numpy(values, columns, starts, x, y):
    products = np.take(x, columns)
    products *= values
    y[...] = 0
    begins, ends = starts[:-1], starts[1:]
    full = ends > begins
    y[full] = np.add.reduceat(products, begins[full])


def scipy(values, columns, starts, x, y):
    from scipy.sparse import csr_array

    matrix = csr_array((values, columns, starts), shape=(y.size, x.size), copy=False)
    np.copyto(y, matrix @ x)


def torch(values, columns, starts, x, y):
    import torch

    values, columns, starts, x, y = map(torch.from_numpy, (values, columns, starts, x, y))
    matrix = torch.sparse_csr_tensor(starts, columns.long(), values, (y.numel(), x.numel()), check_invariants=False)
    y.copy_(matrix @ x)
