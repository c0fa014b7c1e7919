"""Cross entropy of rows, online over tiles. As it stands: a program a row."""

import triton
import triton.language as tl

TILE = 2048  # evo: 2**[9..14]
NUM_WARPS = 4  # evo: {2, 4, 8, 16, 32}
# evo: require TILE <= 2048 * NUM_WARPS
NUM_STAGES = 1  # evo: {1, 2, 3, 4, 5}
LOAD_POLICY = tl.constexpr("")  # evo: {"", "evict_first"}
# 0: every lane keeps its own maximum; 1: one maximum a tile, fewer exponentials.
SHARED_TOP = tl.constexpr(0)  # evo: {0, 1}


@triton.jit
def rows_online(x, label, loss, classes, SIZE: tl.constexpr, STAGES: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    start = row * classes
    lane = tl.arange(0, SIZE)
    total = tl.zeros((SIZE,), tl.float32)
    if SHARED_TOP == 1:
        best = -float("inf")
        for begin in tl.range(0, classes, SIZE, num_stages=STAGES):
            mask = begin + lane < classes
            v = tl.load(x + start + begin + lane, mask=mask, other=-float("inf"), eviction_policy=LOAD_POLICY).to(tl.float32)
            higher = tl.maximum(best, tl.max(v, axis=0))
            total = total * tl.exp(best - higher) + tl.exp(v - higher)
            best = higher
        summed = tl.sum(total, axis=0)
    else:
        top = tl.full((SIZE,), -1.0e30, tl.float32)
        for begin in tl.range(0, classes, SIZE, num_stages=STAGES):
            mask = begin + lane < classes
            v = tl.load(x + start + begin + lane, mask=mask, other=-float("inf"), eviction_policy=LOAD_POLICY).to(tl.float32)
            higher = tl.maximum(top, v)
            total = total * tl.exp(top - higher) + tl.exp(v - higher)
            top = higher
        best = tl.max(top, axis=0)
        summed = tl.sum(total * tl.exp(top - best), axis=0)
    picked = tl.load(x + start + tl.load(label + row)).to(tl.float32)
    tl.store(loss + row, tl.log(summed) + best - picked)


def launch(x, label, loss, workspace):
    rows, classes = x.shape
    rows_online[(rows,)](x, label, loss, classes, SIZE=TILE, STAGES=NUM_STAGES, num_warps=NUM_WARPS)
