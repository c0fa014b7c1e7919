"""Residual addition and RMS normalisation of rows, float32 inside. As it stands: one program a row, the whole row at once."""

import triton
import triton.language as tl

# 0: a row at once, a program each; 1: persistent programs that take rows in turn.
ALGORITHM = 0  # evo: {0, 1}
# Rows that a program holds at once.
ROWS = 1  # evo: {1, 2, 4, 8}
NUM_WARPS = 4  # evo: {4, 8, 16, 32}
# evo: require ROWS * 4 <= NUM_WARPS
NUM_STAGES = 2  # evo: {1, 2, 3, 4}
PROGRAMS = 264  # evo: {132, 264, 528, 1056, 2112}
LOAD_POLICY = tl.constexpr("")  # evo: {"", "evict_first", "evict_last"}
WEIGHT_POLICY = tl.constexpr("")  # evo: {"", "evict_last"}
STORE_CACHE = tl.constexpr("")  # evo: {"", ".cs", ".cg", ".wt"}


@triton.jit
def whole_rows(x, residual, w, s, y, first, rows, cols, R: tl.constexpr, BLOCK: tl.constexpr):
    r, lane = first + tl.arange(0, R), tl.arange(0, BLOCK)
    inside = lane < cols
    mask = (r < rows)[:, None] & inside[None, :]
    at = r[:, None].to(tl.int64) * cols + lane[None, :]
    v = tl.load(x + at, mask=mask, other=0.0, eviction_policy=LOAD_POLICY).to(tl.float32)
    v += tl.load(residual + at, mask=mask, other=0.0, eviction_policy=LOAD_POLICY).to(tl.float32)
    tl.store(s + at, v.to(tl.bfloat16), mask=mask, cache_modifier=STORE_CACHE)
    weight = tl.load(w + lane, mask=inside, other=0.0, eviction_policy=WEIGHT_POLICY).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(v * v, axis=1) / cols + 1e-5)
    tl.store(y + at, (v * scale[:, None] * weight[None, :]).to(tl.bfloat16), mask=mask, cache_modifier=STORE_CACHE)


@triton.jit
def rows_at_once(x, residual, w, s, y, rows, cols, R: tl.constexpr, BLOCK: tl.constexpr):
    whole_rows(x, residual, w, s, y, tl.program_id(0) * R, rows, cols, R, BLOCK)


@triton.jit
def rows_persistent(x, residual, w, s, y, rows, cols, R: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr):
    for first in tl.range(tl.program_id(0) * R, rows, tl.num_programs(0) * R, num_stages=STAGES):
        whole_rows(x, residual, w, s, y, first, rows, cols, R, BLOCK)


def launch(x, residual, w, s, y, workspace):
    rows, cols = x.shape
    block = triton.next_power_of_2(cols)
    if ALGORITHM == 0:
        rows_at_once[(triton.cdiv(rows, ROWS),)](x, residual, w, s, y, rows, cols, R=ROWS, BLOCK=block, num_warps=NUM_WARPS)
    else:
        programs = min(PROGRAMS, triton.cdiv(rows, ROWS))
        rows_persistent[(programs,)](x, residual, w, s, y, rows, cols, R=ROWS, BLOCK=block, STAGES=NUM_STAGES, num_warps=NUM_WARPS)
