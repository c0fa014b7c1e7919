"""Causal attention as PyTorch offers it."""


def gpu(q, k, v):
    import torch

    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
