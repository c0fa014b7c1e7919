"""The convolution as PyTorch offers it, and by way of its two-dimensional one, which is said to be faster."""


def gpu(x, w):
    import torch

    return torch.nn.functional.conv1d(x, w, padding=w.shape[2] // 2)


def gpu_conv2d(x, w):
    import torch

    return torch.nn.functional.conv2d(x[:, :, None, :], w[:, :, None, :], padding=(0, w.shape[2] // 2))[:, :, 0, :]
