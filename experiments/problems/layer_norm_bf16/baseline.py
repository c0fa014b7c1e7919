"""Layer normalisation as PyTorch offers it."""


def gpu(x, w, b):
    import torch

    return torch.nn.functional.layer_norm(x, (x.shape[-1],), w, b, eps=1e-5)
