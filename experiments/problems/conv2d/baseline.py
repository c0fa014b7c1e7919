"""Convolution as a competent NumPy or PyTorch user writes it: patches gathered into a matrix, one BLAS product per image."""

import numpy as np


def numpy(x, filters, y):
    images, channels, height, width = x.shape
    matrix = filters.reshape(filters.shape[0], -1)
    padded = np.zeros((channels, height + 2, width + 2), np.float32)
    patches = np.empty((channels, 3, 3, height, width), np.float32)
    for image in range(images):
        padded[:, 1:-1, 1:-1] = x[image]
        for u in range(3):
            for v in range(3):
                patches[:, u, v] = padded[:, u : u + height, v : v + width]
        np.matmul(matrix, patches.reshape(9 * channels, -1), out=y[image].reshape(filters.shape[0], -1))


def torch(x, filters, y):
    import torch

    torch.from_numpy(y).copy_(torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(filters), padding=1))
