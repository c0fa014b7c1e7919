"""RMS normalisation of rows, float32 inside. As it stands: one program a row, the whole row at once."""

import triton
import triton.language as tl

# 0: a row at once, a program each; 1: persistent programs that take rows in turn.
ALGORITHM = 0  # evo: {0, 1}
NUM_WARPS = 4  # evo: {4, 8, 16, 32}
NUM_STAGES = 2  # evo: {1, 2, 3, 4}
PROGRAMS = 264  # evo: {132, 264, 528, 1056, 2112}
LOAD_POLICY = tl.constexpr("")  # evo: {"", "evict_first", "evict_last"}
WEIGHT_POLICY = tl.constexpr("")  # evo: {"", "evict_last"}
STORE_CACHE = tl.constexpr("")  # evo: {"", ".cs", ".cg", ".wt"}


@triton.jit
def whole_row(x, w, y, row, cols, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    mask = at < cols
    start = tl.cast(row, tl.int64) * cols
    v = tl.load(x + start + at, mask=mask, other=0.0, eviction_policy=LOAD_POLICY).to(tl.float32)
    weight = tl.load(w + at, mask=mask, other=0.0, eviction_policy=WEIGHT_POLICY).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(v * v, axis=0) / cols + 1e-5)
    tl.store(y + start + at, (v * scale * weight).to(tl.bfloat16), mask=mask, cache_modifier=STORE_CACHE)


@triton.jit
def rows_at_once(x, w, y, cols, BLOCK: tl.constexpr):
    whole_row(x, w, y, tl.program_id(0), cols, BLOCK)


@triton.jit
def rows_persistent(x, w, y, rows, cols, BLOCK: tl.constexpr, STAGES: tl.constexpr):
    for row in tl.range(tl.program_id(0), rows, tl.num_programs(0), num_stages=STAGES):
        whole_row(x, w, y, row, cols, BLOCK)


def launch(x, w, y, workspace):
    rows, cols = x.shape
    block = triton.next_power_of_2(cols)
    if ALGORITHM == 0:
        rows_at_once[(rows,)](x, w, y, cols, BLOCK=block, num_warps=NUM_WARPS)
    else:
        rows_persistent[(min(rows, PROGRAMS),)](x, w, y, rows, cols, BLOCK=block, STAGES=NUM_STAGES, num_warps=NUM_WARPS)
