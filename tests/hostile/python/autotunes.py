# policy: autotune
"""Tunes itself behind the clock."""

import triton


@triton.autotune(configs=[], key=[])
@triton.jit
def k(x, y):
    pass


def launch(x, y, workspace):
    k[(1,)](x, y)
