"""Transposition as a PyTorch user writes it."""


def gpu(x):
    return x.t().contiguous()
