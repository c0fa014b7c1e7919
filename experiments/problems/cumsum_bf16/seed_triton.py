"""Prefix sums of rows. As it stands: a program a row, tile by tile, the carry in a register."""

import triton
import triton.language as tl

TILE = 1024  # evo: 2**[8..14]
NUM_WARPS = 4  # evo: {1, 2, 4, 8, 16}
# evo: require TILE <= 2048 * NUM_WARPS
NUM_STAGES = 1  # evo: {1, 2, 3, 4, 5}
LOAD_POLICY = tl.constexpr("")  # evo: {"", "evict_first"}
STORE_CACHE = tl.constexpr("")  # evo: {"", ".cs", ".cg", ".wt"}


@triton.jit
def rows_in_tiles(x, y, cols, SIZE: tl.constexpr, STAGES: tl.constexpr):
    start = tl.program_id(0).to(tl.int64) * cols
    carry = 0.0
    for begin in tl.range(0, cols, SIZE, num_stages=STAGES):
        at = begin + tl.arange(0, SIZE)
        mask = at < cols
        v = tl.load(x + start + at, mask=mask, other=0.0, eviction_policy=LOAD_POLICY).to(tl.float32)
        tl.store(y + start + at, tl.cumsum(v, axis=0) + carry, mask=mask, cache_modifier=STORE_CACHE)
        carry += tl.sum(v, axis=0)


def launch(x, y, workspace):
    rows, cols = x.shape
    rows_in_tiles[(rows,)](x, y, cols, SIZE=TILE, STAGES=NUM_STAGES, num_warps=NUM_WARPS)
