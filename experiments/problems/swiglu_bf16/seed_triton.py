"""SwiGLU, float32 inside. As it stands: a flat grid, one block of elements a program."""

import triton
import triton.language as tl

BLOCK = 1024  # evo: 2**[8..14]
NUM_WARPS = 4  # evo: {2, 4, 8, 16}
# evo: require BLOCK <= 2048 * NUM_WARPS
# Blocks that one program does one after another.
BLOCKS = tl.constexpr(1)  # evo: {1, 2, 4, 8}
LOAD_POLICY = tl.constexpr("")  # evo: {"", "evict_first"}
STORE_CACHE = tl.constexpr("")  # evo: {"", ".cs", ".cg", ".wt"}
BASE_TWO = tl.constexpr(0)  # evo: {0, 1}


@triton.jit
def gated(a, b, y, count, SIZE: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * SIZE * BLOCKS
    for block in tl.static_range(BLOCKS):
        at = first + block * SIZE + tl.arange(0, SIZE)
        mask = at < count
        gate = tl.load(a + at, mask=mask, other=0.0, eviction_policy=LOAD_POLICY).to(tl.float32)
        value = tl.load(b + at, mask=mask, other=0.0, eviction_policy=LOAD_POLICY).to(tl.float32)
        below = 1.0 + (tl.exp2(-1.4426950408889634 * gate) if BASE_TWO == 1 else tl.exp(-gate))
        tl.store(y + at, (gate / below * value).to(tl.bfloat16), mask=mask, cache_modifier=STORE_CACHE)


def launch(a, b, y, workspace):
    count = a.numel()
    gated[(triton.cdiv(count, BLOCK * BLOCKS.value),)](a, b, y, count, SIZE=BLOCK, num_warps=NUM_WARPS)
