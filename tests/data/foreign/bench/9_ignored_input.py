"""In the format of KernelBench, for the tests: an input that the output does not depend on."""

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x, unused):
        return x.sum(dim=1)


batch_size = 16
features = 64


def get_inputs():
    return [torch.rand(batch_size, features), torch.rand(features)]


def get_init_inputs():
    return []
