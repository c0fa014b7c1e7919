"""Causal attention, online softmax over tiles of keys (flash attention). As it stands: a program a tile of queries, loads by pointers."""

import triton
import triton.language as tl

# Queries of a program, and keys that it takes at once.
TILE_M = 64  # evo: {64, 128, 256}
TILE_N = 32  # evo: {32, 64, 128}
# evo: require TILE_M >= TILE_N
NUM_WARPS = 4  # evo: {4, 8, 16}
# evo: require TILE_M <= 32 * NUM_WARPS and TILE_M >= 16 * NUM_WARPS
# Registers a thread at most, so that two programs fit on a multiprocessor: one computes scores while the other takes exponentials.
REGISTERS = 0  # evo: {0, 128, 168}
# evo: require REGISTERS == 0 or (TILE_M == 16 * NUM_WARPS and TILE_N <= 64)
NUM_STAGES = 2  # evo: {1, 2, 3, 4}
# 0: tiles loaded through pointers; 1: by the tensor memory accelerator.
BULK = 0  # evo: {0, 1}
# 1: the tiles with the most keys are begun first, so that short ones fill the end.
LONGEST_FIRST = tl.constexpr(0)  # evo: {0, 1}
# 1: neighbouring programs have the same queries of other heads; 0: other queries of the same head, which shares keys in the L2 cache.
HEADS_FIRST = tl.constexpr(0)  # evo: {0, 1}
# 1: tiles of keys that no query of the tile hides are taken in a loop without masks.
SPLIT = tl.constexpr(1)  # evo: {0, 1}


@triton.jit
def rows(source, head, begin, length, SIZE: tl.constexpr, DIM: tl.constexpr, BULKY: tl.constexpr):
    """Rows begin … begin + SIZE of a head. Through pointers, those beyond `length` are 0; in bulk they may be of the next head."""
    if BULKY:
        return source.load([head * length + begin, 0])
    else:
        i = begin + tl.arange(0, SIZE)
        at = source + (head.to(tl.int64) * length + i[:, None]) * DIM + tl.arange(0, DIM)[None, :]
        return tl.load(at, mask=(i < length)[:, None], other=0.0)


@triton.jit
def over_keys(
    q, k, v, head, first, low, high, length, total, norm, top, M: tl.constexpr, N: tl.constexpr, DIM: tl.constexpr,
    HIDDEN: tl.constexpr, BULKY: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Goes on with the online softmax over keys low … high. HIDDEN: some of them come after some of the queries."""
    scale: tl.constexpr = 1.4426950408889634 / DIM**0.5
    for begin in tl.range(low, high, N, num_stages=STAGES):
        scores = tl.dot(q, tl.trans(rows(k, head, begin, length, N, DIM, BULKY)))
        if HIDDEN:
            seen = (first + tl.arange(0, M))[:, None] >= (begin + tl.arange(0, N))[None, :]
            scores = tl.where(seen, scores, -1.0e30)
        higher = tl.maximum(top, tl.max(scores, axis=1) * scale)
        weights = tl.exp2(scores * scale - higher[:, None])
        shrink = tl.exp2(top - higher)
        norm = norm * shrink + tl.sum(weights, axis=1)
        total = total * shrink[:, None]
        total = tl.dot(weights.to(tl.bfloat16), rows(v, head, begin, length, N, DIM, BULKY), total)
        top = higher
    return total, norm, top


@triton.jit
def attention(
    q, k, v, y, heads, length, M: tl.constexpr, N: tl.constexpr, DIM: tl.constexpr, BULKY: tl.constexpr, STAGES: tl.constexpr
):  # fmt: skip
    tiles = tl.cdiv(length, M)
    number = tl.program_id(0)
    if HEADS_FIRST == 1:
        head, tile = number % heads, number // heads
    else:
        head, tile = number // tiles, number % tiles
    if LONGEST_FIRST == 1:
        tile = tiles - 1 - tile
    if BULKY:
        q = tl.make_tensor_descriptor(q, [heads * length, DIM], [DIM, 1], [M, DIM])
        k = tl.make_tensor_descriptor(k, [heads * length, DIM], [DIM, 1], [N, DIM])
        v = tl.make_tensor_descriptor(v, [heads * length, DIM], [DIM, 1], [N, DIM])
    first = tile * M
    queries = rows(q, head, first, length, M, DIM, BULKY)
    total, norm = tl.zeros((M, DIM), tl.float32), tl.zeros((M,), tl.float32)
    top = tl.full((M,), -1.0e30, tl.float32)
    low = 0
    if SPLIT == 1:
        total, norm, top = over_keys(queries, k, v, head, first, 0, first, length, total, norm, top, M, N, DIM, False, BULKY, STAGES)
        low = first
    end = tl.minimum(first + M, length)
    total, norm, top = over_keys(queries, k, v, head, first, low, end, length, total, norm, top, M, N, DIM, True, BULKY, STAGES)
    i = first + tl.arange(0, M)
    at = y + (head.to(tl.int64) * length + i[:, None]) * DIM + tl.arange(0, DIM)[None, :]
    tl.store(at, (total / norm[:, None]).to(tl.bfloat16), mask=(i < length)[:, None])


def launch(q, k, v, y, workspace):
    batch, heads, length, dim = q.shape
    attention[(triton.cdiv(length, TILE_M) * batch * heads,)](
        q, k, v, y, batch * heads, length, TILE_M, TILE_N, dim, BULK == 1, NUM_STAGES, num_warps=NUM_WARPS,
        maxnreg=REGISTERS or None,
    )  # fmt: skip
