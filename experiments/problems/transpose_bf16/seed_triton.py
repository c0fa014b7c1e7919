"""Transposition by tiles. As it stands: a program a tile, tiles in rows."""

import triton
import triton.language as tl

TILE_ROWS = 32  # evo: {16, 32, 64, 128, 256}
TILE_COLS = 32  # evo: {16, 32, 64, 128, 256}
# evo: require TILE_ROWS * TILE_COLS <= 32768
NUM_WARPS = 4  # evo: {1, 2, 4, 8, 16}
# evo: require TILE_ROWS * TILE_COLS <= 4096 * NUM_WARPS
# Tiles of a column that neighbouring programs take before the next column: 0 goes along rows.
GROUP = tl.constexpr(0)  # evo: {0, 1, 4, 8, 16}
LOAD_POLICY = tl.constexpr("")  # evo: {"", "evict_first"}
STORE_CACHE = tl.constexpr("")  # evo: {"", ".cs", ".cg", ".wt"}


@triton.jit
def tiles(x, y, rows, cols, ROWS: tl.constexpr, COLS: tl.constexpr):
    across = tl.cdiv(cols, COLS)
    down = tl.cdiv(rows, ROWS)
    program = tl.program_id(0)
    if GROUP == 0:
        row, col = program // across, program % across
    else:
        band = program // (GROUP * across)
        height = tl.minimum(down - band * GROUP, GROUP)
        within = program % (GROUP * across)
        row, col = band * GROUP + within % height, within // height
    r = row.to(tl.int64) * ROWS + tl.arange(0, ROWS)
    c = col.to(tl.int64) * COLS + tl.arange(0, COLS)
    mask = (r < rows)[:, None] & (c < cols)[None, :]
    tile = tl.load(x + r[:, None] * cols + c[None, :], mask=mask, eviction_policy=LOAD_POLICY)
    turned = tl.trans(tile)
    turned_mask = (c < cols)[:, None] & (r < rows)[None, :]
    tl.store(y + c[:, None] * rows + r[None, :], turned, mask=turned_mask, cache_modifier=STORE_CACHE)


def launch(x, y, workspace):
    rows, cols = x.shape
    grid = (triton.cdiv(rows, TILE_ROWS) * triton.cdiv(cols, TILE_COLS),)
    tiles[grid](x, y, rows, cols, ROWS=TILE_ROWS, COLS=TILE_COLS, num_warps=NUM_WARPS)
