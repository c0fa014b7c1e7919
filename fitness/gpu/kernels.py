"""The referee's own device kernels: a secret gather of sampled bytes, and one-pass comparison of outputs. Imports triton: import lazily."""

# mypy: ignore-errors

import triton
import triton.language as tl

__all__ = ["compare", "gather"]


@triton.jit
def gather(addresses, out, count, BYTES: tl.constexpr, BLOCK: tl.constexpr):
    """out[i] = the BYTES-wide word at device address addresses[i]."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    where = tl.load(addresses + at, mask=mask, other=0)
    if BYTES == 1:
        word = tl.load(where.to(tl.pointer_type(tl.int8)), mask=mask, other=0)
    elif BYTES == 2:
        word = tl.load(where.to(tl.pointer_type(tl.int16)), mask=mask, other=0)
    else:
        word = tl.load(where.to(tl.pointer_type(tl.int32)), mask=mask, other=0)
    tl.store(out + at, word.to(tl.int32), mask=mask)


@triton.jit
def compare(got, expected, half, slack, partial, count, cols, limit, HAS_SLACK: tl.constexpr, BLOCK: tl.constexpr):
    """Per block: the largest s, the sum of squared errors, elements over the limit, elements of unequal finiteness."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = at < count
    row = at // cols
    y = tl.load(expected + at, mask=mask, other=0.0).to(tl.float32)
    x = tl.load(got + at, mask=mask, other=0.0).to(tl.float32)
    scale = tl.abs(y) + tl.load(half + row, mask=mask, other=1.0)
    finite_y = tl.abs(y) < float("inf")
    finite_x = tl.abs(x) < float("inf")
    both = finite_x & finite_y
    same = (x == y) | ((x != x) & (y != y))
    error = tl.where(both, tl.abs(x - y), 0.0)
    if HAS_SLACK:
        error = tl.maximum(error - tl.load(slack + row, mask=mask, other=0.0), 0.0)
    s = tl.where(error > 0.0, error / scale, 0.0)
    bad = mask & (both == 0) & (same == 0)
    beyond = mask & ((s > limit) | bad)
    base = partial + tl.program_id(0).to(tl.int64) * 4
    tl.store(base, tl.max(tl.where(mask, s, 0.0), axis=0))
    tl.store(base + 1, tl.sum(tl.where(mask, error * error, 0.0), axis=0))
    tl.store(base + 2, tl.sum(beyond.to(tl.float32), axis=0))
    tl.store(base + 3, tl.sum(bad.to(tl.float32), axis=0))
