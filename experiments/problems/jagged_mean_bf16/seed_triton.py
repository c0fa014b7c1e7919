"""Means of consecutive rows by ragged bags, float32 sums. As it stands: a program a bag, some rows of it at once."""

import triton
import triton.language as tl

# Rows of a bag that are read at once.
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
LOAD_POLICY = tl.constexpr("")  # evo: {"", "evict_first"}
STORE_CACHE = tl.constexpr("")  # evo: {"", ".cs", ".cg"}


@triton.jit
def bag_by_bag(
    x, offsets, y, bags, BAGS: tl.constexpr, WIDTH: tl.constexpr, SIZE: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr
):  # fmt: skip
    lane, row = tl.arange(0, BLOCK), tl.arange(0, SIZE)
    inside = lane < WIDTH
    earliest = tl.program_id(0) * BAGS
    for bag in range(earliest, tl.minimum(earliest + BAGS, bags)):
        begin, end = tl.load(offsets + bag), tl.load(offsets + bag + 1)
        length = (end - begin).to(tl.int32)
        start = x + begin * WIDTH
        apart = tl.zeros((SIZE, BLOCK), tl.float32)
        total = tl.zeros((BLOCK,), tl.float32)
        for first in tl.range(0, length, SIZE, num_stages=STAGES):
            i = first + row
            mask = (i < length)[:, None] & inside[None, :]
            v = tl.load(start + i[:, None] * WIDTH + lane[None, :], mask=mask, other=0.0, eviction_policy=LOAD_POLICY).to(tl.float32)
            if SUM_TILES == 1:
                total += tl.sum(v, axis=0)
            else:
                apart += v
        if SUM_TILES == 0:
            total = tl.sum(apart, axis=0)
        mean = total / tl.maximum(length, 1).to(tl.float32)
        tl.store(y + tl.cast(bag, tl.int64) * WIDTH + lane, mean, mask=inside, cache_modifier=STORE_CACHE)


def launch(x, offsets, y, workspace):
    bags, width = y.shape
    size, warps, each = (LONG_TILE, LONG_WARPS, 1) if x.shape[0] > LONG * bags else (TILE, NUM_WARPS, BAGS)
    bag_by_bag[(triton.cdiv(bags, each),)](
        x, offsets, y, bags, BAGS=each, WIDTH=width, SIZE=size, BLOCK=triton.next_power_of_2(width), STAGES=NUM_STAGES, num_warps=warps
    )  # fmt: skip
