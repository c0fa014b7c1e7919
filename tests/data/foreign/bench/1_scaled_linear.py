"""In the format of KernelBench, for the tests: a linear layer, scaled, and the sums of its rows."""

import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self, features, hidden, factor):
        super().__init__()
        self.linear = nn.Linear(features, hidden)
        self.factor = factor

    def forward(self, x, index):
        y = torch.relu(self.linear(x)) * self.factor
        return y, y.sum(dim=1), torch.gather(x, 1, index)


batch_size = 48
features = 40
hidden = 24


def get_inputs():
    return [torch.rand(batch_size, features), torch.randint(0, features, (batch_size, 7))]


def get_init_inputs():
    return [features, hidden, 0.5]
