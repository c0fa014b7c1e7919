"""Sums of table rows by bags as PyTorch offers them."""


def gpu(table, indices, offsets):
    import torch

    return torch.nn.functional.embedding_bag(indices, table, offsets, mode="sum", include_last_offset=True)
