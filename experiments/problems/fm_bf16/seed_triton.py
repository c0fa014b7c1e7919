"""Optimized factorization machine, x read once. As it stands: a program a batch entry, all of x in one tile.

The inner product goes to the tensor cores as two bfloat16 numbers, of which the second holds what the first rounds away: with one alone,
as PyTorch does it, outputs in which large terms cancel are further off than a kernel in bfloat16 may be.
"""

import triton
import triton.language as tl

# 0: a program an entry; 1: persistent programs that take entries in turn; 2: x in tiles of rows, read twice.
ALGORITHM = 0  # evo: {0, 1, 2}
NUM_WARPS = 4  # evo: {2, 4, 8}
# Of the loops: over entries where persistent, over tiles of rows.
NUM_STAGES = 1  # evo: {1, 2, 3, 4}
PROGRAMS = 264  # evo: {132, 264, 396, 528, 792}
TILE_N = 64  # evo: {16, 32, 64, 128}
LOAD_POLICY = tl.constexpr("")  # evo: {"", "evict_first"}
STORE_CACHE = tl.constexpr("")  # evo: {"", ".cs", ".cg"}
# 1: the inner product as (wᵀ x)ᵀ, so that its longer side is the rows of a tensor-core tile or not.
SWAPPED = tl.constexpr(0)  # evo: {0, 1}
# 1: rows that are no power of two are taken as the largest one in them and what is left, so that 96 are 64 and 32, not 128.
PARTED = tl.constexpr(0)  # evo: {0, 1}
# evo: require PARTED == 0 or ALGORITHM != 2


@triton.jit
def inner(x, w):
    if SWAPPED == 1:
        return tl.trans(tl.dot(tl.trans(w), x))
    else:
        return tl.dot(tl.trans(x), w)


@triton.jit
def times(x, middle):
    first = middle.to(tl.bfloat16)
    rest = (middle - first.to(tl.float32)).to(tl.bfloat16)
    return tl.dot(x, first, tl.dot(x, rest)).to(tl.bfloat16)


@triton.jit
def rows(source, begin, SIZE: tl.constexpr, N: tl.constexpr, COLS: tl.constexpr, COLS2: tl.constexpr):
    """Rows begin … begin + SIZE of an entry; zeros beyond N."""
    i, c = begin + tl.arange(0, SIZE), tl.arange(0, COLS2)
    mask = (i < N)[:, None] & (c < COLS)[None, :]
    return tl.load(source + i[:, None] * COLS + c[None, :], mask=mask, other=0.0, eviction_policy=LOAD_POLICY)


@triton.jit
def write_rows(y, result, begin, SIZE: tl.constexpr, N: tl.constexpr, COLS: tl.constexpr, COLS2: tl.constexpr):
    i, c = begin + tl.arange(0, SIZE), tl.arange(0, COLS2)
    mask = (i < N)[:, None] & (c < COLS)[None, :]
    tl.store(y + i[:, None] * COLS + c[None, :], result, mask=mask, cache_modifier=STORE_CACHE)


@triton.jit
def entry_at_once(
    x, w, y, entry, N: tl.constexpr, D: tl.constexpr, K: tl.constexpr, N2: tl.constexpr, MORE: tl.constexpr, D2: tl.constexpr,
    K2: tl.constexpr,
):  # fmt: skip
    """N2 rows, and, where MORE is not 0, that many more behind them."""
    wide = tl.cast(entry, tl.int64)
    x, w, y = x + wide * (N * D), w + wide * (N * K), y + wide * (N * K)
    left, right = rows(x, 0, N2, N, D, D2), rows(w, 0, N2, N, K, K2)
    if MORE > 0:
        left_too, right_too = rows(x, N2, MORE, N, D, D2), rows(w, N2, MORE, N, K, K2)
        middle = inner(left, right) + inner(left_too, right_too)
        write_rows(y, times(left, middle), 0, N2, N, K, K2)
        write_rows(y, times(left_too, middle), N2, MORE, N, K, K2)
    else:
        write_rows(y, times(left, inner(left, right)), 0, N2, N, K, K2)


@triton.jit
def entries(
    x, w, y, N: tl.constexpr, D: tl.constexpr, K: tl.constexpr, N2: tl.constexpr, MORE: tl.constexpr, D2: tl.constexpr,
    K2: tl.constexpr,
):  # fmt: skip
    entry_at_once(x, w, y, tl.program_id(0), N, D, K, N2, MORE, D2, K2)


@triton.jit
def entries_persistent(
    x, w, y, batch, N: tl.constexpr, D: tl.constexpr, K: tl.constexpr, N2: tl.constexpr, MORE: tl.constexpr, D2: tl.constexpr,
    K2: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    for entry in tl.range(tl.program_id(0), batch, tl.num_programs(0), num_stages=STAGES):
        entry_at_once(x, w, y, entry, N, D, K, N2, MORE, D2, K2)


@triton.jit
def entries_in_tiles(
    x, w, y, N: tl.constexpr, D: tl.constexpr, K: tl.constexpr, TILE: tl.constexpr, D2: tl.constexpr, K2: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    row, d, k = tl.arange(0, TILE), tl.arange(0, D2), tl.arange(0, K2)
    wide = tl.program_id(0).to(tl.int64)
    middle = tl.zeros((D2, K2), tl.float32)
    for begin in tl.range(0, N, TILE, num_stages=STAGES):
        i = begin + row
        x_mask, w_mask = (i < N)[:, None] & (d < D)[None, :], (i < N)[:, None] & (k < K)[None, :]
        left = tl.load(x + wide * (N * D) + i[:, None] * D + d[None, :], mask=x_mask, other=0.0)
        right = tl.load(w + wide * (N * K) + i[:, None] * K + k[None, :], mask=w_mask, other=0.0, eviction_policy=LOAD_POLICY)
        middle += inner(left, right)
    for begin in tl.range(0, N, TILE, num_stages=STAGES):
        i = begin + row
        x_mask, w_mask = (i < N)[:, None] & (d < D)[None, :], (i < N)[:, None] & (k < K)[None, :]
        left = tl.load(x + wide * (N * D) + i[:, None] * D + d[None, :], mask=x_mask, other=0.0, eviction_policy=LOAD_POLICY)
        result = times(left, middle)
        tl.store(y + wide * (N * K) + i[:, None] * K + k[None, :], result, mask=w_mask, cache_modifier=STORE_CACHE)


def padded(extent):
    return max(16, triton.next_power_of_2(extent))


def launch(x, w, y, workspace):
    batch, n, d = x.shape
    k = w.shape[2]
    size, more = padded(n), 0
    if PARTED.value == 1 and n > 16 and n != size:
        size, more = size // 2, padded(n - size // 2)
    if ALGORITHM == 0:
        entries[(batch,)](x, w, y, n, d, k, size, more, padded(d), padded(k), num_warps=NUM_WARPS)
    elif ALGORITHM == 1:
        entries_persistent[(min(batch, PROGRAMS),)](
            x, w, y, batch, n, d, k, size, more, padded(d), padded(k), STAGES=NUM_STAGES, num_warps=NUM_WARPS
        )  # fmt: skip
    else:
        tile = min(TILE_N, padded(n))
        entries_in_tiles[(batch,)](x, w, y, n, d, k, tile, padded(d), padded(k), STAGES=NUM_STAGES, num_warps=NUM_WARPS)
