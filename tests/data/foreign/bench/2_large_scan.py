"""In the format of KernelBench, for the tests: more data than a lint may take, so that it has to be scaled down."""

import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        return torch.cumsum(x, dim=self.dim)


batch_size = 1 << 6
N = 4096 * 1024
dim = 1


def get_inputs():
    return [torch.rand(batch_size * 512, N)]


def get_init_inputs():
    return [dim]
