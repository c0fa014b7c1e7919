"""In the format of KernelBench, for the tests: a module that needs what nobody has."""

import evo_no_such_module
import torch
import torch.nn as nn


class Model(nn.Module):
    def forward(self, x):
        return evo_no_such_module.f(x)


batch_size = 16
features = 64


def get_inputs():
    return [torch.rand(batch_size, features)]


def get_init_inputs():
    return []
