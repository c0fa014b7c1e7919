"""Cross entropy of rows, online over tiles: one trip over the logits. As it stands: a program a row, every lane its own maximum."""

import triton
import triton.language as tl

TILE = 2048  # evo: 2**[9..15]
NUM_WARPS = 4  # evo: {2, 4, 8, 16, 32}
# evo: require TILE <= 2048 * NUM_WARPS
NUM_STAGES = 1  # evo: {1, 2, 3, 4, 5}
LOAD_POLICY = tl.constexpr("")  # evo: {"", "evict_first"}
# Logits that share a maximum, and so one exponential to move their sum to a new one: 1 lane; 8 neighbours, which are in one thread;
# 0: the whole tile.
SHARED = tl.constexpr(1)  # evo: {0, 1, 8, 16}
# Exponentials to base 2, of logits that are scaled for it where they are loaded.
BASE_TWO = tl.constexpr(0)  # evo: {0, 1}
# 0: a tile's maximum is joined with the one so far before anything is summed; 1: only where a tile exceeds it are sums moved.
RARELY = tl.constexpr(0)  # evo: {0, 1}
# evo: require RARELY == 0 or SHARED == 0


@triton.jit
def below(v, top):
    """exp(v - top), of what `loaded` returned"""
    if BASE_TWO == 1:
        return tl.exp2(v - top)
    else:
        return tl.exp(v - top)


@triton.jit
def loaded(x, start, at, classes):
    v = tl.load(x + start + at, mask=at < classes, other=-float("inf"), eviction_policy=LOAD_POLICY).to(tl.float32)
    if BASE_TWO == 1:
        v *= 1.4426950408889634
    return v


@triton.jit
def by_lane(x, start, classes, SIZE: tl.constexpr, STAGES: tl.constexpr):
    lane = tl.arange(0, SIZE)
    top, total = tl.full((SIZE,), -1.0e30, tl.float32), tl.zeros((SIZE,), tl.float32)
    for begin in tl.range(0, classes, SIZE, num_stages=STAGES):
        v = loaded(x, start, begin + lane, classes)
        higher = tl.maximum(top, v)
        total = total * below(top, higher) + below(v, higher)
        top = higher
    return top, total


@triton.jit
def by_neighbours(x, start, classes, SIZE: tl.constexpr, STAGES: tl.constexpr):
    groups: tl.constexpr = SIZE // SHARED
    lane = tl.arange(0, groups)[:, None] * SHARED + tl.arange(0, SHARED)[None, :]
    top, total = tl.full((groups,), -1.0e30, tl.float32), tl.zeros((groups,), tl.float32)
    for begin in tl.range(0, classes, SIZE, num_stages=STAGES):
        v = loaded(x, start, begin + lane, classes)
        higher = tl.maximum(top, tl.max(v, axis=1))
        total = total * below(top, higher) + tl.sum(below(v, higher[:, None]), axis=1)
        top = higher
    return top, total


@triton.jit
def by_tile(x, start, classes, SIZE: tl.constexpr, STAGES: tl.constexpr):
    lane = tl.arange(0, SIZE)
    best = tl.full((), -1.0e30, tl.float32)
    total = tl.zeros((SIZE,), tl.float32)
    for begin in tl.range(0, classes, SIZE, num_stages=STAGES):
        v = loaded(x, start, begin + lane, classes)
        here = tl.max(v, axis=0)
        if RARELY == 1:
            if here > best:
                total = total * below(best, here)
                best = here
        else:
            higher = tl.maximum(best, here)
            total = total * below(best, higher)
            best = higher
        total += below(v, best)
    return best, tl.sum(total, axis=0)


@triton.jit
def rows_online(x, label, loss, classes, SIZE: tl.constexpr, STAGES: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    start = row * classes
    if SHARED == 0:
        best, summed = by_tile(x, start, classes, SIZE, STAGES)
    else:
        if SHARED == 1:
            top, total = by_lane(x, start, classes, SIZE, STAGES)
        else:
            top, total = by_neighbours(x, start, classes, SIZE, STAGES)
        best = tl.max(top, axis=0)
        summed = tl.sum(total * below(top, best), axis=0)
    if BASE_TWO == 1:
        best *= 0.6931471805599453
    picked = tl.load(x + start + tl.load(label + row)).to(tl.float32)
    tl.store(loss + row, tl.log(summed) + best - picked)


def launch(x, label, loss, workspace):
    rows, classes = x.shape
    rows_online[(rows,)](x, label, loss, classes, SIZE=TILE, STAGES=NUM_STAGES, num_warps=NUM_WARPS)
