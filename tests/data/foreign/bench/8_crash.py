"""In the format of KernelBench, for the tests: a process that ends itself."""

import os

import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        os._exit(3)
        return x


batch_size = 16
features = 64


def get_inputs():
    return [torch.rand(batch_size, features)]


def get_init_inputs():
    return []
