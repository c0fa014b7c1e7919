"""Gradients of RMS normalisation, float32 inside. As it stands: programs that take rows in turn, a whole row at once, each with its own
sum for dw in registers; then a second kernel adds these sums."""

import triton
import triton.language as tl

# Programs of the first kernel, each with its own partial sum of dw.
PROGRAMS = 264  # evo: {132, 264, 396, 528, 792, 1056}
# Rows that a program holds at once.
ROWS = 1  # evo: {1, 2, 4}
# 0: a program's rows are next to each other; 1: programs take rows in turn.
IN_TURN = tl.constexpr(0)  # evo: {0, 1}
NUM_WARPS = 4  # evo: {4, 8, 16, 32}
# evo: require ROWS * 4 <= NUM_WARPS
NUM_STAGES = 1  # evo: {1, 2, 3, 4}
LOAD_POLICY = tl.constexpr("")  # evo: {"", "evict_first"}
STORE_CACHE = tl.constexpr("")  # evo: {"", ".cs", ".cg"}
# The scale stays in registers over all rows, or is loaded again for each.
KEEP_WEIGHT = tl.constexpr(1)  # evo: {0, 1}
# Tile of the second kernel.
REDUCE_COLS = 64  # evo: {16, 32, 64, 128}
REDUCE_ROWS = 64  # evo: {16, 32, 64, 128, 256}
REDUCE_WARPS = 4  # evo: {2, 4, 8}
# evo: require REDUCE_ROWS * REDUCE_COLS <= 2048 * REDUCE_WARPS


@triton.jit
def rows_and_partial(x, w, dy, dx, partial, rows, cols, share, R: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr):
    lane = tl.arange(0, BLOCK)
    inside = lane < cols
    weight = tl.load(w + lane, mask=inside, other=0.0).to(tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    program = tl.program_id(0)
    first = program * R if IN_TURN == 1 else program * share
    last = rows if IN_TURN == 1 else tl.minimum(rows, (program + 1) * share)
    step = tl.num_programs(0) * R if IN_TURN == 1 else R
    for row in tl.range(first, last, step, num_stages=STAGES):
        r = row + tl.arange(0, R)
        mask = (r < last)[:, None] & inside[None, :]
        at = r[:, None].to(tl.int64) * cols + lane[None, :]
        v = tl.load(x + at, mask=mask, other=0.0, eviction_policy=LOAD_POLICY).to(tl.float32)
        g = tl.load(dy + at, mask=mask, other=0.0, eviction_policy=LOAD_POLICY).to(tl.float32)
        if KEEP_WEIGHT == 0:
            weight = tl.load(w + lane, mask=inside, other=0.0).to(tl.float32)
        inverse = 1.0 / tl.sqrt(tl.sum(v * v, axis=1) / cols + 1e-5)
        scaled = g * weight[None, :]
        dot = tl.sum(scaled * v, axis=1) / cols
        normal = v * inverse[:, None]
        result = inverse[:, None] * scaled - normal * (inverse * inverse * dot)[:, None]
        tl.store(dx + at, result.to(tl.bfloat16), mask=mask, cache_modifier=STORE_CACHE)
        total += tl.sum(g * normal, axis=0)
    tl.store(partial.to(tl.pointer_type(tl.float32)) + program.to(tl.int64) * cols + lane, total, mask=inside)


@triton.jit
def partials_added(partial, dw, count, cols, COLS: tl.constexpr, ROWS_: tl.constexpr):
    c = tl.program_id(0) * COLS + tl.arange(0, COLS)
    total = tl.zeros((ROWS_, COLS), tl.float32)
    for begin in range(0, count, ROWS_):
        r = begin + tl.arange(0, ROWS_)
        mask = (r < count)[:, None] & (c < cols)[None, :]
        total += tl.load(partial.to(tl.pointer_type(tl.float32)) + r[:, None].to(tl.int64) * cols + c[None, :], mask=mask, other=0.0)
    tl.store(dw + c, tl.sum(total, axis=0).to(tl.bfloat16), mask=c < cols)


def workspace(rows, cols):
    return 4 * PROGRAMS * cols


def launch(x, w, dy, dx, dw, workspace):
    rows, cols = x.shape
    block = triton.next_power_of_2(cols)
    share = triton.cdiv(triton.cdiv(rows, PROGRAMS), ROWS) * ROWS
    rows_and_partial[(PROGRAMS,)](
        x, w, dy, dx, workspace, rows, cols, share, R=ROWS, BLOCK=block, STAGES=NUM_STAGES, num_warps=NUM_WARPS
    )  # fmt: skip
    partials_added[(triton.cdiv(cols, REDUCE_COLS),)](
        workspace, dw, PROGRAMS, cols, COLS=REDUCE_COLS, ROWS_=REDUCE_ROWS, num_warps=REDUCE_WARPS
    )  # fmt: skip
