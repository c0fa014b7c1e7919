"""Prefix sums as PyTorch offers them."""


def gpu(x):
    import torch

    return torch.cumsum(x, dim=-1, dtype=torch.float32)
