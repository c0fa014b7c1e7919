"""The gradients of RMS normalisation as a PyTorch user writes them, in float32."""


def gpu(x, w, dy):
    import torch

    values, gradient = x.float(), dy.float()
    inverse = torch.rsqrt(values.square().mean(-1, keepdim=True) + 1e-5)
    normal, scaled = values * inverse, gradient * w.float()
    dx = inverse * (scaled - normal * (scaled * normal).mean(-1, keepdim=True))
    return dx.to(x.dtype), (gradient * normal).sum(0).to(w.dtype)
