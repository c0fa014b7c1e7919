"""The referee's own device kernels: a secret gather of sampled bytes, one-pass comparison of outputs, unequal words, broken guards.

Imports triton: import lazily.
"""

# mypy: ignore-errors

import triton
import triton.language as tl

__all__ = ["accept", "compare", "differ", "gather", "guarded", "pick"]


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
def pick(table, indices, out, count, width, ROWS: tl.constexpr, WIDE: tl.constexpr):
    """out[program] = sum over ROWS rows of `table`, those that `indices` names. Reads as a gather has to; writes next to nothing."""
    i, lane = tl.program_id(0) * ROWS + tl.arange(0, ROWS), tl.arange(0, WIDE)
    row = tl.load(indices + i, mask=i < count, other=0)
    mask = (i < count)[:, None] & (lane < width)[None, :]
    words = tl.load(table + row[:, None] * width + lane[None, :], mask=mask, other=0)
    tl.store(out + tl.program_id(0), tl.sum(tl.sum(words, axis=1), axis=0))


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


@triton.jit
def accept(got, expected, half, found, count, cols, limit, BLOCK: tl.constexpr):
    """Adds to found[0] the sum of squared errors, to found[1] the elements over the limit or of unequal finiteness."""
    squares = tl.zeros((BLOCK,), tl.float32)
    beyond = tl.zeros((BLOCK,), tl.float32)
    for begin in range(tl.program_id(0) * BLOCK, count, tl.num_programs(0) * BLOCK):
        at = tl.max_contiguous(tl.multiple_of(begin + tl.arange(0, BLOCK), BLOCK), BLOCK)
        mask = at < count
        y = tl.load(expected + at, mask=mask, other=0.0).to(tl.float32)
        x = tl.load(got + at, mask=mask, other=0.0).to(tl.float32)
        scale = tl.abs(y) + tl.load(half + at // cols, mask=mask, other=1.0)
        both = (tl.abs(x) < float("inf")) & (tl.abs(y) < float("inf"))
        same = (x == y) | ((x != x) & (y != y))
        error = tl.where(both, tl.abs(x - y), 0.0)
        squares += error * error
        s = tl.where(error > 0.0, error / scale, 0.0)
        beyond += tl.where(mask & ((s > limit) | ((both == 0) & (same == 0))), 1.0, 0.0)
    tl.atomic_add(found, tl.sum(squares, axis=0).to(tl.float64))
    tl.atomic_add(found + 1, tl.sum(beyond, axis=0).to(tl.float64))


@triton.jit
def differ(left, right, found, count, BLOCK: tl.constexpr):
    """Adds to found[0] the number of unequal words."""
    unequal = tl.zeros((BLOCK,), tl.int32)
    for begin in range(tl.program_id(0) * BLOCK, count, tl.num_programs(0) * BLOCK):
        at = tl.max_contiguous(tl.multiple_of(begin + tl.arange(0, BLOCK), BLOCK), BLOCK)
        mask = at < count
        a = tl.load(left + at, mask=mask, other=0)
        b = tl.load(right + at, mask=mask, other=0)
        unequal += (a != b).to(tl.int32)
    tl.atomic_add(found, tl.sum(unequal, axis=0))


@triton.jit
def guarded(regions, found, PER_SLOT: tl.constexpr, BLOCK: tl.constexpr):
    """Adds to found[slot, 0] of (slots, 4) the bytes that are no longer a guard's. regions: (address, bytes), PER_SLOT of them a slot."""
    region = tl.program_id(0)
    address = tl.load(regions + 2 * region)
    length = tl.load(regions + 2 * region + 1)
    broken = tl.zeros((BLOCK,), tl.int32)
    for begin in range(0, length, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        byte = tl.load(address.to(tl.pointer_type(tl.uint8)) + at, mask=at < length, other=0xA5)
        broken += (byte != 0xA5).to(tl.int32)
    tl.atomic_add(found + region // PER_SLOT * 4, tl.sum(broken, axis=0))
