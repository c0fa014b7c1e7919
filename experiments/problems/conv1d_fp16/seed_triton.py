"""Convolution as one matrix product per tap, accumulated: positions of all sequences down, filters across, channels summed over.

As it stands: a program a tile, x read where it lies. Reads that are moved by a tap are not aligned, so they go element by element; the
other ways pack x position by position into the workspace first, so that every read of a tap is a row of channels.
"""

import triton
import triton.language as tl

# 0: x where it lies; 1: x packed as (batch, padded length, channels) first; 2: every program packs a tile of a sequence for itself, into
# room of its own that stays in the L2 cache, and multiplies it at once. (Tensor descriptors are no way: a tile that begins at an odd
# position, as those of the outer taps do, ends in an illegal instruction on an H200.)
ALGORITHM = 0  # evo: {0, 1, 2}
# Positions and channels of a tile.
TILE_P = 64  # evo: {64, 128, 256}
TILE_C = 32  # evo: {32, 64, 128}
# Tiles of filters that a program works on at once, on the same positions: their width is what divides the filters so.
PARTS = tl.constexpr(1)  # evo: {1, 2, 3}
NUM_WARPS = 4  # evo: {4, 8, 16}
# evo: require TILE_P <= 32 * NUM_WARPS
# Registers a thread at most, so that several programs fit on a multiprocessor and hide each other's waits.
REGISTERS = 0  # evo: {0, 128, 168}
# evo: require REGISTERS == 0 or TILE_P <= 16 * NUM_WARPS
# Where x lies as it is: w packed as (taps, channels, filters) first.
PACK_WEIGHTS = 0  # evo: {0, 1}
# Where x lies as it is: the tiles of the next product are loaded before this one's are waited for.
AHEAD = tl.constexpr(0)  # evo: {0, 1}
# Where x is packed: stages of the pipeline over taps and channels.
NUM_STAGES = 3  # evo: {2, 3, 4}
# evo: require ALGORITHM == 0 or NUM_STAGES * TILE_C * (TILE_P + 256) * 2 <= 232000
# Positions that a program packs.
PACK_P = 64  # evo: {64, 128, 256}
# Programs that pack for themselves.
PROGRAMS = 264  # evo: {132, 264, 396, 528}
# Parts of the batch that are packed and multiplied one after the other, each in the room of the one before, so that it stays in the L2
# cache.
CHUNKS = 1  # evo: {1, 2, 4, 8}
STORE_CACHE = tl.constexpr("")  # evo: {"", ".cs"}


@triton.jit
def weights_packed(w, packed, FILTERS: tl.constexpr, CHANNELS: tl.constexpr, TAPS: tl.constexpr, SIZE: tl.constexpr):
    """packed[tap, channel, filter] = w[filter, channel, tap]"""
    at = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    o, c, tap = at % FILTERS, at // FILTERS % CHANNELS, at // (FILTERS * CHANNELS)
    mask = at < TAPS * CHANNELS * FILTERS
    tl.store(packed.to(tl.pointer_type(tl.float16)) + at, tl.load(w + (o * CHANNELS + c) * TAPS + tap, mask=mask), mask=mask)


@triton.jit
def inputs_packed(
    x, packed, base, OFFSET: tl.constexpr, CHANNELS: tl.constexpr, LENGTH: tl.constexpr, TAPS: tl.constexpr, SIZE: tl.constexpr,
    WIDE: tl.constexpr,
):  # fmt: skip
    """packed[OFFSET + (b, t + half, c)] = x[base + b, c, t], and 0 in the `half` rows before and behind."""
    half: tl.constexpr = TAPS // 2
    b, t, c = tl.program_id(0).to(tl.int64), tl.program_id(1) * SIZE + tl.arange(0, SIZE), tl.arange(0, WIDE)
    out = packed.to(tl.pointer_type(tl.float16)) + OFFSET + b * ((LENGTH + 2 * half) * CHANNELS)
    mask = (t < LENGTH)[:, None] & (c < CHANNELS)[None, :]
    value = tl.load(x + (base + b) * (CHANNELS * LENGTH) + c[None, :] * LENGTH + t[:, None], mask=mask, other=0.0)
    tl.store(out + (t + half)[:, None] * CHANNELS + c[None, :], value, mask=mask)
    if tl.program_id(1) == 0:
        for row in tl.static_range(half):
            zero = tl.zeros((WIDE,), tl.float16)
            tl.store(out + row * CHANNELS + c, zero, mask=c < CHANNELS)
            tl.store(out + (LENGTH + half + row) * CHANNELS + c, zero, mask=c < CHANNELS)


@triton.jit
def inputs(x, b, t, inside, TAP: tl.constexpr, FROM: tl.constexpr, CHANNELS, LENGTH: tl.constexpr, TAPS: tl.constexpr, K: tl.constexpr):
    """(positions, K) of x, moved by a tap."""
    c = FROM + tl.arange(0, K)
    move: tl.constexpr = TAP - TAPS // 2
    if move != 0:
        inside = inside & (t + move >= 0) & (t + move < LENGTH)
    at = (b * (CHANNELS * LENGTH) + t + move)[:, None] + (c * LENGTH)[None, :]
    return tl.load(x + at, mask=inside[:, None] & (c < CHANNELS)[None, :], other=0.0)


@triton.jit
def weights(
    w, tap, begin, filters, FILTERS: tl.constexpr, CHANNELS: tl.constexpr, TAPS: tl.constexpr, K: tl.constexpr, PACKED: tl.constexpr
):  # fmt: skip
    """(K, filters) of w."""
    c = begin + tl.arange(0, K)
    mask = (c < CHANNELS)[:, None] & (filters < FILTERS)[None, :]
    if PACKED:
        at = w.to(tl.pointer_type(tl.float16)) + ((tap * CHANNELS + c) * FILTERS)[:, None] + filters[None, :]
    else:
        at = w + (c * TAPS + tap)[:, None] + (filters * (CHANNELS * TAPS))[None, :]
    return tl.load(at, mask=mask, other=0.0)


@triton.jit
def stored(y, total, b, t, inside, filters, FILTERS: tl.constexpr, LENGTH: tl.constexpr):
    at = y + (b * (FILTERS * LENGTH) + t)[:, None] + (filters * LENGTH)[None, :]
    tl.store(at, total.to(tl.float16), mask=inside[:, None] & (filters < FILTERS)[None, :], cache_modifier=STORE_CACHE)


@triton.jit
def where_it_lies(
    x, w, y, count, CHANNELS: tl.constexpr, FILTERS: tl.constexpr, LENGTH: tl.constexpr, TAPS: tl.constexpr,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, PACKED: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    p = tl.program_id(0) * M + tl.arange(0, M)
    b, t, inside = (p // LENGTH).to(INDEX), p % LENGTH, p < count
    o = tl.program_id(1) * (PARTS * N) + tl.arange(0, N)
    chunks: tl.constexpr = (CHANNELS + K - 1) // K
    one, two, three = tl.zeros((M, N), tl.float32), tl.zeros((M, N), tl.float32), tl.zeros((M, N), tl.float32)
    ahead = inputs(x, b, t, inside, 0, 0, CHANNELS, LENGTH, TAPS, K)
    for step in tl.static_range(TAPS * chunks):
        left = ahead
        if AHEAD == 1 and step + 1 < TAPS * chunks:
            ahead = inputs(x, b, t, inside, (step + 1) // chunks, (step + 1) % chunks * K, CHANNELS, LENGTH, TAPS, K)
        one = tl.dot(left, weights(w, step // chunks, step % chunks * K, o, FILTERS, CHANNELS, TAPS, K, PACKED), one)
        if PARTS > 1:
            two = tl.dot(left, weights(w, step // chunks, step % chunks * K, o + N, FILTERS, CHANNELS, TAPS, K, PACKED), two)
        if PARTS > 2:
            three = tl.dot(left, weights(w, step // chunks, step % chunks * K, o + 2 * N, FILTERS, CHANNELS, TAPS, K, PACKED), three)
        if AHEAD == 0 and step + 1 < TAPS * chunks:
            ahead = inputs(x, b, t, inside, (step + 1) // chunks, (step + 1) % chunks * K, CHANNELS, LENGTH, TAPS, K)
    stored(y, one, b, t, inside, o, FILTERS, LENGTH)
    if PARTS > 1:
        stored(y, two, b, t, inside, o + N, FILTERS, LENGTH)
    if PARTS > 2:
        stored(y, three, b, t, inside, o + 2 * N, FILTERS, LENGTH)


@triton.jit
def product(
    rows, packed, inside, o, FILTERS: tl.constexpr, CHANNELS: tl.constexpr, TAPS: tl.constexpr, M: tl.constexpr, N: tl.constexpr,
    K: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Of packed rows, where a tap is a row further, with up to three tiles of filters."""
    chunks: tl.constexpr = (CHANNELS + K - 1) // K
    one, two, three = tl.zeros((M, N), tl.float32), tl.zeros((M, N), tl.float32), tl.zeros((M, N), tl.float32)
    for step in tl.range(0, TAPS * chunks, num_stages=STAGES):
        tap, begin = step // chunks, step % chunks * K
        mask = inside[:, None] & (begin + tl.arange(0, K) < CHANNELS)[None, :]
        left = tl.load(rows + (tap * CHANNELS + begin), mask=mask, other=0.0)
        one = tl.dot(left, weights(packed, tap, begin, o, FILTERS, CHANNELS, TAPS, K, True), one)
        if PARTS > 1:
            two = tl.dot(left, weights(packed, tap, begin, o + N, FILTERS, CHANNELS, TAPS, K, True), two)
        if PARTS > 2:
            three = tl.dot(left, weights(packed, tap, begin, o + 2 * N, FILTERS, CHANNELS, TAPS, K, True), three)
    return one, two, three


@triton.jit
def from_packed(
    packed, y, base, count, OFFSET: tl.constexpr, CHANNELS: tl.constexpr, FILTERS: tl.constexpr, LENGTH: tl.constexpr,
    TAPS: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, STAGES: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    """packed: w, then from OFFSET on x of `count` positions, those of the sequences from `base` on."""
    p = tl.program_id(0) * M + tl.arange(0, M)
    b, t, inside = (p // LENGTH).to(INDEX), p % LENGTH, p < count
    o = tl.program_id(1) * (PARTS * N) + tl.arange(0, N)
    first = (b * (LENGTH + TAPS // 2 * 2) + t) * CHANNELS
    rows = packed.to(tl.pointer_type(tl.float16)) + OFFSET + first[:, None] + tl.arange(0, K)[None, :]
    one, two, three = product(rows, packed, inside, o, FILTERS, CHANNELS, TAPS, M, N, K, STAGES)
    b += base
    stored(y, one, b, t, inside, o, FILTERS, LENGTH)
    if PARTS > 1:
        stored(y, two, b, t, inside, o + N, FILTERS, LENGTH)
    if PARTS > 2:
        stored(y, three, b, t, inside, o + 2 * N, FILTERS, LENGTH)


@triton.jit
def tile_by_tile(
    x, packed, y, items, tiles, OFFSET: tl.constexpr, CHANNELS: tl.constexpr, FILTERS: tl.constexpr, LENGTH: tl.constexpr,
    TAPS: tl.constexpr, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, WIDE: tl.constexpr, STAGES: tl.constexpr, INDEX: tl.constexpr,
):  # fmt: skip
    """packed: w, then from OFFSET on the rooms of the programs, of M positions and those of half a filter at either end."""
    half: tl.constexpr = TAPS // 2
    mine = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    room = packed.to(tl.pointer_type(tl.float16)) + OFFSET + mine * ((M + 2 * half) * CHANNELS)
    i, c = tl.arange(0, M), tl.arange(0, WIDE)
    o = tl.program_id(1) * (PARTS * N) + tl.arange(0, N)
    for item in tl.range(tl.program_id(0), items, tl.num_programs(0)):
        b, first = (item // tiles).to(INDEX), item % tiles * M
        t, source = first + i, x + b * (CHANNELS * LENGTH) + c * LENGTH
        inside = t < LENGTH
        value = tl.load(source[None, :] + t[:, None], mask=inside[:, None] & (c < CHANNELS)[None, :], other=0.0)
        tl.store(room + (half + i)[:, None] * CHANNELS + c[None, :], value, mask=(c < CHANNELS)[None, :])
        for row in tl.static_range(half):
            before, after = first - half + row + c * 0, first + M + row + c * 0
            one = tl.load(source + before, mask=(c < CHANNELS) & (before >= 0), other=0.0)
            other = tl.load(source + after, mask=(c < CHANNELS) & (after < LENGTH), other=0.0)
            tl.store(room + row * CHANNELS + c, one, mask=c < CHANNELS)
            tl.store(room + (half + M + row) * CHANNELS + c, other, mask=c < CHANNELS)
        tl.debug_barrier()
        rows = room + i[:, None] * CHANNELS + tl.arange(0, K)[None, :]
        one, two, three = product(rows, packed, inside, o, FILTERS, CHANNELS, TAPS, M, N, K, STAGES)
        stored(y, one, b, t, inside, o, FILTERS, LENGTH)
        if PARTS > 1:
            stored(y, two, b, t, inside, o + N, FILTERS, LENGTH)
        if PARTS > 2:
            stored(y, three, b, t, inside, o + 2 * N, FILTERS, LENGTH)
        tl.debug_barrier()


def room_for_weights(channels, filters, taps):
    return triton.cdiv(2 * taps * channels * filters, 256) * 256


def workspace(batch, channels, filters, length, taps):
    inputs_ = 2 * triton.cdiv(batch, CHUNKS) * channels * (length + taps // 2 * 2) if ALGORITHM == 1 else 0
    across = triton.cdiv(filters, width(filters) * PARTS.value)
    rooms = 2 * PROGRAMS * across * (TILE_P + taps // 2 * 2) * channels if ALGORITHM == 2 else 0
    return room_for_weights(channels, filters, taps) + inputs_ + rooms


def width(filters):
    """Of one of PARTS tiles of filters."""
    return min(128, max(16, triton.next_power_of_2(triton.cdiv(filters, PARTS.value))))


def launch(x, w, y, workspace):
    batch, channels, length = x.shape
    filters, _, taps = w.shape
    n = width(filters)
    index = tl.int32 if max(x.numel(), y.numel()) < 2**30 else tl.int64
    across = triton.cdiv(filters, n * PARTS.value)
    if PACK_WEIGHTS == 1 or ALGORITHM > 0:
        weights_packed[(triton.cdiv(taps * channels * filters, 256),)](w, workspace, filters, channels, taps, 256, num_warps=4)
    if ALGORITHM == 0:
        given = workspace if PACK_WEIGHTS == 1 else w
        where_it_lies[(triton.cdiv(batch * length, TILE_P), across)](
            x, given, y, batch * length, channels, filters, length, taps, TILE_P, n, TILE_C, PACK_WEIGHTS == 1, index,
            num_warps=NUM_WARPS, maxnreg=REGISTERS or None,
        )  # fmt: skip
    elif ALGORITHM == 2:
        tiles, offset = triton.cdiv(length, TILE_P), room_for_weights(channels, filters, taps) // 2
        tile_by_tile[(min(PROGRAMS, batch * tiles), across)](
            x, workspace, y, batch * tiles, tiles, offset, channels, filters, length, taps, TILE_P, n, TILE_C,
            triton.next_power_of_2(channels), NUM_STAGES, index, num_warps=NUM_WARPS, maxnreg=REGISTERS or None,
        )  # fmt: skip
    else:
        offset = room_for_weights(channels, filters, taps) // 2
        wide = triton.next_power_of_2(channels)
        share = triton.cdiv(batch, CHUNKS)
        for base in range(0, batch, share):
            now = min(share, batch - base)
            inputs_packed[(now, triton.cdiv(length, PACK_P))](
                x, workspace, base, offset, channels, length, taps, PACK_P, wide, num_warps=8
            )  # fmt: skip
            from_packed[(triton.cdiv(now * length, TILE_P), across)](
                workspace, y, base, now * length, offset, channels, filters, length, taps, TILE_P, n, TILE_C, NUM_STAGES, index,
                num_warps=NUM_WARPS, maxnreg=REGISTERS or None,
            )  # fmt: skip
