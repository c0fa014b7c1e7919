"""RMS normalisation as PyTorch offers it."""


def gpu(x, w):
    import torch

    return torch.nn.functional.rms_norm(x, (x.shape[-1],), w, eps=1e-5)
