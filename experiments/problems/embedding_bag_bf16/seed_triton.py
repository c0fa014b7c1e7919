"""Sums of table rows by ragged bags, float32 inside. As it stands: a program a bag, some rows of it gathered at once."""

import triton
import triton.language as tl

# Rows of a bag that are gathered at once.
TILE = 16  # evo: {2, 4, 8, 16, 32, 64, 128}
NUM_WARPS = 4  # evo: {1, 2, 4, 8}
# Bags that a program takes one after another.
BAGS = 1  # evo: {1, 2, 4, 8, 16}
# The same where bags have more than LONG rows on average: a bag a program.
LONG = 64
LONG_TILE = 16  # evo: {8, 16, 32, 64, 128}
LONG_WARPS = 4  # evo: {1, 2, 4, 8}
NUM_STAGES = 1  # evo: {1, 2, 3, 4, 5}
# 1: the sum of every tile is formed at once; 0: sums stay apart, row by row of a tile, until the bag ends.
SUM_TILES = tl.constexpr(0)  # evo: {0, 1}
# 1: the indices of the tile after this one are loaded before this one's rows are waited for.
AHEAD = tl.constexpr(0)  # evo: {0, 1}
INDEX_POLICY = tl.constexpr("")  # evo: {"", "evict_first"}
ROW_POLICY = tl.constexpr("")  # evo: {"", "evict_first", "evict_last"}
STORE_CACHE = tl.constexpr("")  # evo: {"", ".cs", ".cg"}


@triton.jit
def bag_by_bag(
    table, indices, offsets, y, bags, BAGS: tl.constexpr, WIDTH: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    lane, row = tl.arange(0, BLOCK), tl.arange(0, SIZE)
    inside = lane < WIDTH
    earliest = tl.program_id(0) * BAGS
    for bag in range(earliest, tl.minimum(earliest + BAGS, bags)):
        begin, end = tl.load(offsets + bag), tl.load(offsets + bag + 1)
        length = (end - begin).to(tl.int32)
        start = indices + begin
        apart = tl.zeros((SIZE, BLOCK), tl.float32)
        total = tl.zeros((BLOCK,), tl.float32)
        entry = tl.load(start + row, mask=row < length, other=0, eviction_policy=INDEX_POLICY)
        for first in tl.range(0, length, SIZE, num_stages=STAGES):
            i = first + row
            if AHEAD == 0:
                entry = tl.load(start + i, mask=i < length, other=0, eviction_policy=INDEX_POLICY)
            here = table + entry[:, None] * WIDTH + lane[None, :]
            mask = (i < length)[:, None] & inside[None, :]
            if AHEAD == 1:
                entry = tl.load(start + i + SIZE, mask=i + SIZE < length, other=0, eviction_policy=INDEX_POLICY)
            v = tl.load(here, mask=mask, other=0.0, eviction_policy=ROW_POLICY).to(tl.float32)
            if SUM_TILES == 1:
                total += tl.sum(v, axis=0)
            else:
                apart += v
        if SUM_TILES == 0:
            total = tl.sum(apart, axis=0)
        tl.store(y + tl.cast(bag, tl.int64) * WIDTH + lane, total.to(tl.bfloat16), mask=inside, cache_modifier=STORE_CACHE)


def launch(table, indices, offsets, y, workspace):
    bags, width = y.shape
    size, warps, each = (LONG_TILE, LONG_WARPS, 1) if indices.shape[0] > LONG * bags else (TILE, NUM_WARPS, BAGS)
    bag_by_bag[(triton.cdiv(bags, each),)](
        table, indices, offsets, y, bags, BAGS=each, WIDTH=width, SIZE=size, BLOCK=triton.next_power_of_2(width), STAGES=NUM_STAGES,
        num_warps=warps,
    )  # fmt: skip
