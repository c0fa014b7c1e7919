"""Cross entropy as a PyTorch user writes it, in float32."""


def gpu(x, label):
    import torch

    return torch.nn.functional.cross_entropy(x.float(), label.long(), reduction="none")
