# policy: forbidden_import
"""Calls the library it should replace."""

import torch


def launch(x, y, workspace):
    torch.softmax(x, -1, out=y)
