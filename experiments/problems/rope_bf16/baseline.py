"""Rotary embedding as a PyTorch user writes it, in float32 and rounded once."""


def gpu(x, cos, sin):
    import torch

    half = x.shape[-1] // 2
    a, b = x[..., :half].float(), x[..., half:].float()
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).to(x.dtype)
