"""Row-wise softmax, bfloat16 in and out, float32 inside. As it stands: one program a row, the whole row at once."""

import triton
import triton.language as tl

# 0: a row at once, a program each; 1: a row at once, persistent programs; 2: online over tiles, then a second trip.
ALGORITHM = 0  # evo: {0, 1, 2}
# Rows that a program holds at once.
ROWS = 1  # evo: {1, 2, 4, 8}
NUM_WARPS = 4  # evo: {4, 8, 16, 32}
# evo: require ROWS * 4 <= NUM_WARPS
NUM_STAGES = 2  # evo: {1, 2, 3, 4}
TILE = 2048  # evo: 2**[9..13]
# Programs of the persistent grid, and how many rows each takes at once.
PROGRAMS = 264  # evo: {132, 264, 528, 1056, 2112}
LOAD_POLICY = tl.constexpr("")  # evo: {"", "evict_first", "evict_last"}
STORE_CACHE = tl.constexpr("")  # evo: {"", ".cs", ".cg", ".wt"}
# Exponentials to base 2 with one multiplication less per element.
BASE_TWO = tl.constexpr(0)  # evo: {0, 1}
# The reciprocal once a row instead of a division an element.
RECIPROCAL = tl.constexpr(0)  # evo: {0, 1}


@triton.jit
def exponential(v, top):
    if BASE_TWO == 1:
        return tl.exp2(v * 1.4426950408889634 - top * 1.4426950408889634)
    else:
        return tl.exp(v - top)


@triton.jit
def scaled(e, total):
    if RECIPROCAL == 1:
        return e * (1.0 / total)
    else:
        return e / total


@triton.jit
def whole_rows(x, y, first, rows, cols, R: tl.constexpr, BLOCK: tl.constexpr):
    r, lane = first + tl.arange(0, R), tl.arange(0, BLOCK)
    inside = lane < cols
    mask = (r < rows)[:, None] & inside[None, :]
    at = r[:, None].to(tl.int64) * cols + lane[None, :]
    v = tl.load(x + at, mask=mask, other=-float("inf"), eviction_policy=LOAD_POLICY).to(tl.float32)
    e = exponential(v, tl.max(v, axis=1)[:, None])
    tl.store(y + at, scaled(e, tl.sum(e, axis=1)[:, None]).to(tl.bfloat16), mask=mask, cache_modifier=STORE_CACHE)


@triton.jit
def rows_at_once(x, y, rows, cols, R: tl.constexpr, BLOCK: tl.constexpr):
    whole_rows(x, y, tl.program_id(0) * R, rows, cols, R, BLOCK)


@triton.jit
def rows_persistent(x, y, rows, cols, R: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr):
    for first in tl.range(tl.program_id(0) * R, rows, tl.num_programs(0) * R, num_stages=STAGES):
        whole_rows(x, y, first, rows, cols, R, BLOCK)


@triton.jit
def rows_online(x, y, cols, BLOCK: tl.constexpr, STAGES: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * cols
    lane = tl.arange(0, BLOCK)
    top = tl.full((BLOCK,), -float("inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for begin in tl.range(0, cols, BLOCK, num_stages=STAGES):
        mask = begin + lane < cols
        v = tl.load(x + start + begin + lane, mask=mask, other=-float("inf"), eviction_policy="evict_last").to(tl.float32)
        higher = tl.maximum(top, v)
        safe = tl.where(higher == -float("inf"), 0.0, higher)
        total = total * exponential(top, safe) + exponential(v, safe)
        top = higher
    best = tl.max(top, axis=0)
    total = tl.sum(total * exponential(tl.where(top == -float("inf"), best, top), best), axis=0)
    for begin in tl.range(0, cols, BLOCK, num_stages=STAGES):
        mask = begin + lane < cols
        v = tl.load(x + start + begin + lane, mask=mask, other=-float("inf"), eviction_policy=LOAD_POLICY).to(tl.float32)
        tl.store(y + start + begin + lane, scaled(exponential(v, best), total).to(tl.bfloat16), mask=mask, cache_modifier=STORE_CACHE)


def launch(x, y, workspace):
    rows, cols = x.shape
    block = triton.next_power_of_2(cols)
    if ALGORITHM == 0:
        rows_at_once[(triton.cdiv(rows, ROWS),)](x, y, rows, cols, R=ROWS, BLOCK=block, num_warps=NUM_WARPS)
    elif ALGORITHM == 1:
        programs = min(PROGRAMS, triton.cdiv(rows, ROWS))
        rows_persistent[(programs,)](x, y, rows, cols, R=ROWS, BLOCK=block, STAGES=NUM_STAGES, num_warps=NUM_WARPS)
    else:
        rows_online[(rows,)](x, y, cols, BLOCK=min(TILE, block), STAGES=NUM_STAGES, num_warps=NUM_WARPS)
