"""Rotary embedding. As it stands: a program for some positions of one head."""

import triton
import triton.language as tl

POSITIONS = 16  # evo: {4, 8, 16, 32, 64, 128}
NUM_WARPS = 4  # evo: {1, 2, 4, 8}
# Heads that share the loaded angles in one program.
HEADS = tl.constexpr(1)  # evo: {1, 2, 4, 8}
LOAD_POLICY = tl.constexpr("")  # evo: {"", "evict_first"}
STORE_CACHE = tl.constexpr("")  # evo: {"", ".cs", ".cg", ".wt"}


@triton.jit
def rotated(x, cos, sin, y, planes, length, half, SIZE: tl.constexpr, WIDTH: tl.constexpr):
    t = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    i = tl.arange(0, WIDTH)
    mask = (t < length)[:, None] & (i < half)[None, :]
    angle = t[:, None] * half + i[None, :]
    c = tl.load(cos + angle, mask=mask, other=0.0)
    s = tl.load(sin + angle, mask=mask, other=0.0)
    for head in tl.static_range(HEADS):
        plane = tl.program_id(1) * HEADS + head
        inside = mask & (plane + 0 * i < planes)[None, :]
        at = (plane.to(tl.int64) * length + t[:, None]) * (2 * half) + i[None, :]
        a = tl.load(x + at, mask=inside, other=0.0, eviction_policy=LOAD_POLICY).to(tl.float32)
        b = tl.load(x + at + half, mask=inside, other=0.0, eviction_policy=LOAD_POLICY).to(tl.float32)
        tl.store(y + at, (a * c - b * s).to(tl.bfloat16), mask=inside, cache_modifier=STORE_CACHE)
        tl.store(y + at + half, (b * c + a * s).to(tl.bfloat16), mask=inside, cache_modifier=STORE_CACHE)


def launch(x, cos, sin, y, workspace):
    batch, heads, length, dim = x.shape
    planes, half = batch * heads, dim // 2
    grid = (triton.cdiv(length, POSITIONS), triton.cdiv(planes, HEADS.value))
    rotated[grid](x, cos, sin, y, planes, length, half, SIZE=POSITIONS, WIDTH=triton.next_power_of_2(half), num_warps=NUM_WARPS)
