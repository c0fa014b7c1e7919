"""Matrix product by tiles, grouped for the L2 cache. As it stands: small tiles, a program each."""

import triton
import triton.language as tl

TILE_M = 64  # evo: {64, 128, 256}
TILE_N = 64  # evo: {64, 128, 256}
TILE_K = 32  # evo: {32, 64, 128}
# evo: require TILE_M * TILE_N <= 32768
NUM_WARPS = 4  # evo: {4, 8}
# evo: require TILE_M * TILE_N <= 4096 * NUM_WARPS
NUM_STAGES = 3  # evo: {2, 3, 4, 5}
# evo: require (TILE_M + TILE_N) * TILE_K * 2 * NUM_STAGES <= 232000
GROUP = tl.constexpr(8)  # evo: {1, 4, 8, 16, 32}


@triton.jit
def tiles(a, b, c, m, n, k, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    down, across = tl.cdiv(m, M), tl.cdiv(n, N)
    program = tl.program_id(0)
    band = program // (GROUP * across)
    height = tl.minimum(down - band * GROUP, GROUP)
    within = program % (GROUP * across)
    row, col = band * GROUP + within % height, within // height
    i, j, p = row * M + tl.arange(0, M), col * N + tl.arange(0, N), tl.arange(0, K)
    left = a + i[:, None].to(tl.int64) * k + p[None, :]
    right = b + p[:, None].to(tl.int64) * n + j[None, :]
    total = tl.zeros((M, N), tl.float32)
    for begin in range(0, k, K):
        x = tl.load(left, mask=(i < m)[:, None] & (begin + p < k)[None, :], other=0.0)
        y = tl.load(right, mask=(begin + p < k)[:, None] & (j < n)[None, :], other=0.0)
        total = tl.dot(x, y, total)
        left += K
        right += K * n
    tl.store(c + i[:, None].to(tl.int64) * n + j[None, :], total.to(tl.bfloat16), mask=(i < m)[:, None] & (j < n)[None, :])


def launch(a, b, c, workspace):
    m, k = a.shape
    n = b.shape[1]
    grid = (triton.cdiv(m, TILE_M) * triton.cdiv(n, TILE_N),)
    tiles[grid](a, b, c, m, n, k, M=TILE_M, N=TILE_N, K=TILE_K, num_warps=NUM_WARPS, num_stages=NUM_STAGES)
