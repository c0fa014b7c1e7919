"""Product, bias and GELU as PyTorch offers them."""


def gpu(a, b, bias):
    import torch

    return torch.nn.functional.gelu(torch.addmm(bias, a, b))
