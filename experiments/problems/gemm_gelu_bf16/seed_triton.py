"""Matrix product with bias and GELU, tile by tile, grouped for the L2 cache. As it stands: small tiles, a program each, by pointers."""

import triton
import triton.language as tl

# 0: a program a tile of y; 1: persistent programs that take tiles in turn.
PERSISTENT = 0  # evo: {0, 1}
# 0: tiles loaded through pointers; 1: by the tensor memory accelerator, where rows are aligned for it.
BULK = 0  # evo: {0, 1}
TILE_M = 64  # evo: {64, 128, 256}
TILE_N = 64  # evo: {64, 128, 256}
TILE_K = 32  # evo: {32, 64, 128}
# evo: require TILE_M * TILE_N <= 32768
NUM_WARPS = 4  # evo: {4, 8}
# evo: require TILE_M * TILE_N <= 4096 * NUM_WARPS
NUM_STAGES = 3  # evo: {2, 3, 4, 5}
# Parts in which a tile of y is written, so that staging it takes less shared memory.
PARTS = tl.constexpr(1)  # evo: {1, 2}
# evo: require (TILE_M + TILE_N) * TILE_K * 2 * NUM_STAGES + TILE_M * TILE_N * 2 * PERSISTENT // PARTS <= 232000
GROUP = tl.constexpr(8)  # evo: {1, 4, 8, 16, 32}
# Persistent: the loops over tiles and over k as one, so that a tile's first loads overlap with the last stores.
FLATTEN = tl.constexpr(False)  # evo: {False, True}
PROGRAMS = 132  # evo: {132, 264}
# 0: the library's error function; 1: a rational times an exponential (Abramowitz and Stegun 7.1.26, off by 1.5e-7 at most).
ERF = tl.constexpr(0)  # evo: {0, 1}


@triton.jit
def place(number, m, n, M: tl.constexpr, N: tl.constexpr):
    """Row and column of the number-th tile: bands of GROUP tiles' height, column by column."""
    number = tl.cast(number, tl.int32)
    down, across = tl.cdiv(m, M), tl.cdiv(n, N)
    band = number // (GROUP * across)
    height = tl.minimum(down - band * GROUP, GROUP)
    within = number % (GROUP * across)
    return (band * GROUP + within % height) * M, (within // height) * N


@triton.jit
def product(a, b, row, col, m, n, k, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, EVEN: tl.constexpr, BULKY: tl.constexpr):
    total = tl.zeros((M, N), tl.float32)
    if BULKY:
        for begin in range(0, k, K):
            total = tl.dot(a.load([row, begin]), b.load([begin, col]), total)
    else:
        i, j, p = row + tl.arange(0, M), col + tl.arange(0, N), tl.arange(0, K)
        left = a + i[:, None].to(tl.int64) * k + p[None, :]
        right = b + p[:, None].to(tl.int64) * n + j[None, :]
        for begin in range(0, k, K):
            inside = p < (K if EVEN else k - begin)
            x = tl.load(left, mask=(i < m)[:, None] & inside[None, :], other=0.0)
            y = tl.load(right, mask=inside[:, None] & (j < n)[None, :], other=0.0)
            total = tl.dot(x, y, total)
            left += K
            right += K * n
    return total


@triton.jit
def gelu(v):
    z = v * 0.7071067811865476
    if ERF == 1:
        t = 1.0 / (1.0 + 0.3275911 * tl.abs(z))
        series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
        beyond = series * tl.exp(-z * z)  # 1 - erf(|z|)
        return 0.5 * v * tl.where(z < 0, beyond, 2.0 - beyond)
    else:
        return 0.5 * v * (1.0 + tl.erf(z))


@triton.jit
def stored(y, bias, value, row, col, m, n, M: tl.constexpr, N: tl.constexpr, BULKY: tl.constexpr):
    j = col + tl.arange(0, N)
    shift = tl.load(bias + j, mask=j < n, other=0.0).to(tl.float32)
    result = gelu(value + shift[None, :]).to(tl.bfloat16)
    if BULKY:
        y.store([row, col], result)
    else:
        i = row + tl.arange(0, M)
        tl.store(y + i[:, None].to(tl.int64) * n + j[None, :], result, mask=(i < m)[:, None] & (j < n)[None, :])


@triton.jit
def finished(y, bias, total, row, col, m, n, M: tl.constexpr, N: tl.constexpr, BULKY: tl.constexpr):
    if PARTS == 2:
        one, other = tl.split(tl.permute(tl.reshape(total, (M, 2, N // 2)), (0, 2, 1)))
        stored(y, bias, one, row, col, m, n, M, N // 2, BULKY)
        stored(y, bias, other, row, col + N // 2, m, n, M, N // 2, BULKY)
    else:
        stored(y, bias, total, row, col, m, n, M, N, BULKY)


@triton.jit
def tiles(a, b, bias, y, m, n, k, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, EVEN: tl.constexpr, BULKY: tl.constexpr):
    if BULKY:
        a = tl.make_tensor_descriptor(a, [m, k], [k, 1], [M, K])
        b = tl.make_tensor_descriptor(b, [k, n], [n, 1], [K, N])
        y = tl.make_tensor_descriptor(y, [m, n], [n, 1], [M, N // PARTS])
    row, col = place(tl.program_id(0), m, n, M, N)
    finished(y, bias, product(a, b, row, col, m, n, k, M, N, K, EVEN, BULKY), row, col, m, n, M, N, BULKY)


@triton.jit
def tiles_persistent(a, b, bias, y, m, n, k, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, EVEN: tl.constexpr, BULKY: tl.constexpr):
    if BULKY:
        a = tl.make_tensor_descriptor(a, [m, k], [k, 1], [M, K])
        b = tl.make_tensor_descriptor(b, [k, n], [n, 1], [K, N])
        y = tl.make_tensor_descriptor(y, [m, n], [n, 1], [M, N // PARTS])
    for number in tl.range(tl.program_id(0), tl.cdiv(m, M) * tl.cdiv(n, N), tl.num_programs(0), flatten=FLATTEN):
        row, col = place(number, m, n, M, N)
        finished(y, bias, product(a, b, row, col, m, n, k, M, N, K, EVEN, BULKY), row, col, m, n, M, N, BULKY)


def launch(a, b, bias, y, workspace):
    m, k = a.shape
    n = b.shape[1]
    count = triton.cdiv(m, TILE_M) * triton.cdiv(n, TILE_N)
    bulky = BULK == 1 and n % 8 == 0 and k % 8 == 0
    if PERSISTENT == 1:
        tiles_persistent[(min(PROGRAMS, count),)](
            a, b, bias, y, m, n, k, TILE_M, TILE_N, TILE_K, k % TILE_K == 0, bulky, num_warps=NUM_WARPS, num_stages=NUM_STAGES
        )  # fmt: skip
    else:
        tiles[(count,)](a, b, bias, y, m, n, k, TILE_M, TILE_N, TILE_K, k % TILE_K == 0, bulky, num_warps=NUM_WARPS, num_stages=NUM_STAGES)
