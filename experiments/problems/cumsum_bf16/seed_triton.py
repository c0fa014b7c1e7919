"""Prefix sums of rows. As it stands: a program a row, tile by tile, the carry in a register."""

import triton
import triton.language as tl

# Columns of a tile at most: a row's tiles are as equal as powers of 2 can be.
TILE = 1024  # evo: 2**[8..14]
# Rows of a program: where a row's part of a tile is within one warp, no other warp has to be waited for.
ROWS = 1  # evo: {1, 2, 4, 8, 16}
NUM_WARPS = 4  # evo: {1, 2, 4, 8, 16}
# evo: require TILE * ROWS <= 2048 * NUM_WARPS
NUM_STAGES = 1  # evo: {1, 2, 3, 4, 5}
LOAD_POLICY = tl.constexpr("")  # evo: {"", "evict_first"}
STORE_CACHE = tl.constexpr("")  # evo: {"", ".cs", ".cg", ".wt"}


# The carry: 0 is a sum of the tile, 1 the last of its prefix sums.
CARRY_LAST = tl.constexpr(0)  # evo: {0, 1}


@triton.jit
def rows_in_tiles(x, y, rows, cols, R: tl.constexpr, SIZE: tl.constexpr, STAGES: tl.constexpr):
    r, lane = tl.program_id(0) * R + tl.arange(0, R), tl.arange(0, SIZE)
    start = r[:, None].to(tl.int64) * cols
    carry = tl.zeros((R,), tl.float32)
    for begin in tl.range(0, cols, SIZE, num_stages=STAGES):
        at = begin + lane
        mask = (r < rows)[:, None] & (at < cols)[None, :]
        v = tl.load(x + start + at[None, :], mask=mask, other=0.0, eviction_policy=LOAD_POLICY).to(tl.float32)
        sums = tl.cumsum(v, axis=1) + carry[:, None]
        tl.store(y + start + at[None, :], sums, mask=mask, cache_modifier=STORE_CACHE)
        if CARRY_LAST == 1:
            carry = tl.sum(tl.where((lane == SIZE - 1)[None, :], sums, 0.0), axis=1)
        else:
            carry += tl.sum(v, axis=1)


def launch(x, y, workspace):
    rows, cols = x.shape
    size = triton.next_power_of_2(triton.cdiv(cols, triton.cdiv(cols, TILE)))
    rows_in_tiles[(triton.cdiv(rows, ROWS),)](x, y, rows, cols, R=ROWS, SIZE=size, STAGES=NUM_STAGES, num_warps=NUM_WARPS)
