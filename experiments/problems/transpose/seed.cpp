// Transpose of a matrix: y[c][r] = x[r][c], fp32.
//
// As it stands this is the plain kernel: two loops. The tunables below reach loop order, tiles, transposition of small
// blocks inside vector registers, non-temporal stores and prefetch.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define EVO_FLAGS "-O3"  // evo: {"-O2", "-O3", "-O3 -mprefer-vector-width=512"}

// 0: two loops; 1: tiles; 2: tiles made of VECTOR by VECTOR blocks that are transposed in registers; 3: such tiles, put
// together in the workspace and written from there in longer runs, whose ends alone are unaligned; 4: the same in strips down
// the rows of x, where what does not fill a cache line at a tile's end waits for the next tile.
#define ALGORITHM 0  // evo: {0, 1, 2, 3, 4}
// What the outer loop (of elements or tiles) goes along. 0: rows of x, so x is read in order; 1: rows of y.
#define ORDER 0  // evo: {0, 1}
// The same inside a tile.
#define TILE_ORDER 0  // evo: {0, 1}
// Rows of x in a tile.
#define TILE_ROWS 32  // evo: {16, 32, 64, 128, 256}
// Columns of x in a tile.
#define TILE_COLS 32  // evo: {16, 32, 64, 128, 256, 512}
// Rows and columns of a block in registers.
#define VECTOR 4  // evo: {4, 8, 16}
// How a block is transposed. 0: by interleaving whole rows, log2(VECTOR) times; 1: 4 by 4 pieces collected by the loads.
#define SHUFFLE 0  // evo: {0, 1}
// Non-temporal stores of blocks in registers (where rows of y are aligned for them) and of runs.
#define STREAM 0  // evo: {0, 1}
// How many columns of x ahead of a block are prefetched; 0 is none. In strips, any other value prefetches the next tile while this one
// is written, so that memory reads and writes at once.
#define PREFETCH 0  // evo: {0, 16, 32, 64, 128}
// Locality of that prefetch: 3 is the first-level cache, 2 the second, 1 the third.
#define PREFETCH_LEVEL 3  // evo: {1, 2, 3}

#define INLINED __attribute__((always_inline))
#define INLINE static inline INLINED

// x is read at x[r * x_stride + c], y written at y[c * y_stride + r].
struct Matrix {
    const float* x;
    float* y;
    int64_t x_stride, y_stride;
};

// A part of x: rows [row, row_end), columns [col, col_end).
struct Part {
    int64_t row, row_end, col, col_end;
};

INLINE void by_element(Matrix m, Part p) {
    if ((ALGORITHM == 0 ? ORDER : TILE_ORDER) == 0) {
        for (int64_t r = p.row; r < p.row_end; ++r)
            for (int64_t c = p.col; c < p.col_end; ++c) m.y[c * m.y_stride + r] = m.x[r * m.x_stride + c];
    } else {
        for (int64_t c = p.col; c < p.col_end; ++c)
            for (int64_t r = p.row; r < p.row_end; ++r) m.y[c * m.y_stride + r] = m.x[r * m.x_stride + c];
    }
}

#if ALGORITHM >= 2

typedef float vec __attribute__((vector_size(VECTOR * 4)));
typedef float loose __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));
typedef float four __attribute__((vector_size(16)));
typedef float loose_four __attribute__((vector_size(16), aligned(4), may_alias));

template <bool ALIGNED>
INLINE void store(float* y, vec value) {
#if VECTOR == 16 && defined(__AVX512F__)
    if (STREAM && ALIGNED) return _mm512_stream_ps(y, (__m512)value);
#elif VECTOR == 8 && defined(__AVX__)
    if (STREAM && ALIGNED) return _mm256_stream_ps(y, (__m256)value);
#elif VECTOR == 4 && defined(__x86_64__)
    if (STREAM && ALIGNED) return _mm_stream_ps(y, (__m128)value);
#endif
    *reinterpret_cast<loose*>(y) = value;
}

#if VECTOR == 4
#define INTERLEAVE_LOW(a, b) __builtin_shufflevector(a, b, 0, 4, 1, 5)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, 2, 6, 3, 7)
#elif VECTOR == 8
#define INTERLEAVE_LOW(a, b) __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#else
#define INTERLEAVE_LOW(a, b) __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define INTERLEAVE_HIGH(a, b) __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#endif

// Interleaving the upper with the lower half of the rows, log2(VECTOR) times, transposes a square block.
INLINE void interleave(vec (&v)[VECTOR]) {
#pragma GCC unroll 4
    for (int step = 1; step < VECTOR; step *= 2) {
        vec next[VECTOR];
#pragma GCC unroll 8
        for (int i = 0; i < VECTOR / 2; ++i) {
            next[2 * i] = INTERLEAVE_LOW(v[i], v[i + VECTOR / 2]);
            next[2 * i + 1] = INTERLEAVE_HIGH(v[i], v[i + VECTOR / 2]);
        }
#pragma GCC unroll 16
        for (int i = 0; i < VECTOR; ++i) v[i] = next[i];
    }
}

// Four floats at x, x + 4 stride, x + 8 stride, ... side by side.
INLINE vec pieces(const float* x, int64_t stride) {
    const auto piece = [=](int i) INLINED { return four(*reinterpret_cast<const loose_four*>(x + 4 * i * stride)); };
#if VECTOR == 4
    (void)stride;
    return piece(0);
#elif VECTOR == 8
    return __builtin_shufflevector(piece(0), piece(1), 0, 1, 2, 3, 4, 5, 6, 7);
#else
    const auto low = __builtin_shufflevector(piece(0), piece(1), 0, 1, 2, 3, 4, 5, 6, 7);
    const auto high = __builtin_shufflevector(piece(2), piece(3), 0, 1, 2, 3, 4, 5, 6, 7);
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#endif
}

// Inside every group of four lanes: elements 0 and 1 (2 and 3) of a and b interleaved; pairs of a and b joined.
#if VECTOR == 4
#define ZIP(a, b, o) __builtin_shufflevector(a, b, o, 4 + o, o + 1, o + 5)
#define PAIR(a, b, o) __builtin_shufflevector(a, b, o, o + 1, 4 + o, o + 5)
#elif VECTOR == 8
#define ZIP(a, b, o) __builtin_shufflevector(a, b, o, 8 + o, o + 1, o + 9, o + 4, o + 12, o + 5, o + 13)
#define PAIR(a, b, o) __builtin_shufflevector(a, b, o, o + 1, 8 + o, o + 9, o + 4, o + 5, o + 12, o + 13)
#else
#define ZIP(a, b, o) __builtin_shufflevector(a, b, o, 16 + o, o + 1, o + 17, o + 4, o + 20, o + 5, o + 21, o + 8, o + 24, o + 9, o + 25, o + 12, o + 28, o + 13, o + 29)
#define PAIR(a, b, o) __builtin_shufflevector(a, b, o, o + 1, 16 + o, o + 17, o + 4, o + 5, o + 20, o + 21, o + 8, o + 9, o + 24, o + 25, o + 12, o + 13, o + 28, o + 29)
#endif

template <bool ALIGNED>
INLINE void block(Matrix m, int64_t r, int64_t c) {
    const float* x = m.x + r * m.x_stride + c;
    float* y = m.y + c * m.y_stride + r;
    if (PREFETCH && ALGORITHM != 4) {
#pragma GCC unroll 16
        for (int i = 0; i < VECTOR; ++i) __builtin_prefetch(x + i * m.x_stride + PREFETCH, 0, PREFETCH_LEVEL);
    }
#if SHUFFLE == 0
    vec v[VECTOR];
#pragma GCC unroll 16
    for (int i = 0; i < VECTOR; ++i) v[i] = *reinterpret_cast<const loose*>(x + i * m.x_stride);
    interleave(v);
#pragma GCC unroll 16
    for (int i = 0; i < VECTOR; ++i) store<ALIGNED>(y + i * m.y_stride, v[i]);
#else
#pragma GCC unroll 4
    for (int i = 0; i < VECTOR; i += 4) {
        const vec a = pieces(x + i, m.x_stride), b = pieces(x + m.x_stride + i, m.x_stride);
        const vec d = pieces(x + 2 * m.x_stride + i, m.x_stride), e = pieces(x + 3 * m.x_stride + i, m.x_stride);
        const vec ab_low = ZIP(a, b, 0), ab_high = ZIP(a, b, 2), de_low = ZIP(d, e, 0), de_high = ZIP(d, e, 2);
        store<ALIGNED>(y + i * m.y_stride, PAIR(ab_low, de_low, 0));
        store<ALIGNED>(y + (i + 1) * m.y_stride, PAIR(ab_low, de_low, 2));
        store<ALIGNED>(y + (i + 2) * m.y_stride, PAIR(ab_high, de_high, 0));
        store<ALIGNED>(y + (i + 3) * m.y_stride, PAIR(ab_high, de_high, 2));
    }
#endif
}

template <bool ALIGNED>
INLINE void in_registers(Matrix m, Part p) {
    const int64_t row_end = p.row + (p.row_end - p.row) / VECTOR * VECTOR, col_end = p.col + (p.col_end - p.col) / VECTOR * VECTOR;
    if (TILE_ORDER == 0) {
        for (int64_t r = p.row; r < row_end; r += VECTOR)
            for (int64_t c = p.col; c < col_end; c += VECTOR) block<ALIGNED>(m, r, c);
    } else {
        for (int64_t c = p.col; c < col_end; c += VECTOR)
            for (int64_t r = p.row; r < row_end; r += VECTOR) block<ALIGNED>(m, r, c);
    }
    by_element(m, {row_end, p.row_end, p.col, p.col_end});
    by_element(m, {p.row, row_end, col_end, p.col_end});
}

// Copies a run of n floats, with non-temporal stores (under STREAM) wherever y is aligned.
INLINE void write_run(const float* run, float* y, int64_t n) {
    int64_t i = 0;
    if (STREAM) {
        const int64_t past = static_cast<int64_t>(reinterpret_cast<uintptr_t>(y) / 4 % VECTOR);
        for (const int64_t head = std::min<int64_t>(n, past ? VECTOR - past : 0); i < head; ++i) y[i] = run[i];
    }
    for (; i + VECTOR <= n; i += VECTOR) store<true>(y + i, *reinterpret_cast<const loose*>(run + i));
    for (; i < n; ++i) y[i] = run[i];
}

#if ALGORITHM == 4

// Floats of a cache line: so many at most wait, before the tile's own.
constexpr int64_t LINE = 16, STAGE_STRIDE = TILE_ROWS + 2 * LINE;

extern "C" size_t workspace(int64_t, int64_t) { return size_t{TILE_COLS} * STAGE_STRIDE * sizeof(float); }

// Columns [col, col_end) of x, down all its rows.
static void strip(Matrix m, int64_t rows, int64_t col, int64_t col_end, float* stage) {
    for (int64_t r = 0; r < rows; r += TILE_ROWS) {
        const int64_t height = std::min<int64_t>(TILE_ROWS, rows - r), width = col_end - col;
        in_registers<false>({m.x + r * m.x_stride + col, stage + LINE, m.x_stride, STAGE_STRIDE}, {0, height, 0, width});
        const float* next = m.x + (r + TILE_ROWS) * m.x_stride + col;
        for (int64_t c = 0, ahead_row = r + TILE_ROWS, ahead_col = 0; c < width; ++c) {
            for (int64_t line = 0; PREFETCH && line < TILE_ROWS / LINE && ahead_row < rows; ++line) {
                __builtin_prefetch(next + ahead_col, 0, PREFETCH_LEVEL);
                if ((ahead_col += LINE) >= width) ahead_col = 0, ++ahead_row, next += m.x_stride;
            }
            float* y = m.y + (col + c) * m.y_stride + r;
            float* own = stage + c * STAGE_STRIDE + LINE;
            const int64_t past = static_cast<int64_t>(reinterpret_cast<uintptr_t>(y) / 4 % LINE), waiting = r == 0 ? 0 : past;
            // up to a line's end, but for the last tile: what is beyond goes where the next tile finds it
            const int64_t beyond = r + height < rows ? (past + height) % LINE : 0;
            write_run(own - waiting, y - waiting, waiting + height - beyond);
            if (beyond)
                for (int64_t i = 0; i < LINE; i += VECTOR)
                    *reinterpret_cast<loose*>(own - LINE + i) = *reinterpret_cast<const loose*>(own + height - LINE + i);
        }
    }
}

#elif ALGORITHM == 3

// Sixteen more floats a row than a tile has, lest rows fall on the same cache sets.
constexpr int64_t STAGE_STRIDE = TILE_ROWS + 16;

extern "C" size_t workspace(int64_t, int64_t) { return size_t{TILE_COLS} * STAGE_STRIDE * sizeof(float); }

INLINE void staged(Matrix m, Part p, float* stage) {
    const int64_t height = p.row_end - p.row, width = p.col_end - p.col;
    in_registers<false>({m.x + p.row * m.x_stride + p.col, stage, m.x_stride, STAGE_STRIDE}, {0, height, 0, width});
    for (int64_t c = 0; c < width; ++c) write_run(stage + c * STAGE_STRIDE, m.y + (p.col + c) * m.y_stride + p.row, height);
}

#endif

#endif

template <bool ALIGNED>
[[maybe_unused]] static void by_tiles(Matrix m, int64_t rows, int64_t cols, [[maybe_unused]] float* stage) {
    const auto tile = [&](int64_t r, int64_t c) INLINED {
        const Part part{r, std::min<int64_t>(r + TILE_ROWS, rows), c, std::min<int64_t>(c + TILE_COLS, cols)};
#if ALGORITHM == 3
        staged(m, part, stage);
#elif ALGORITHM == 2
        in_registers<ALIGNED>(m, part);
#else
        by_element(m, part);
#endif
    };
    if (ORDER == 0) {
        for (int64_t r = 0; r < rows; r += TILE_ROWS)
            for (int64_t c = 0; c < cols; c += TILE_COLS) tile(r, c);
    } else {
        for (int64_t c = 0; c < cols; c += TILE_COLS)
            for (int64_t r = 0; r < rows; r += TILE_ROWS) tile(r, c);
    }
}

extern "C" void kernel(const float* __restrict x, float* __restrict y, [[maybe_unused]] void* workspace, int64_t rows, int64_t cols) {
    const Matrix m{x, y, cols, rows};
#if ALGORITHM == 4
    for (int64_t c = 0; c < cols; c += TILE_COLS) strip(m, rows, c, std::min<int64_t>(c + TILE_COLS, cols), static_cast<float*>(workspace));
#elif ALGORITHM == 0
    by_element(m, {0, rows, 0, cols});
#else
    if (STREAM && rows % VECTOR == 0)
        by_tiles<true>(m, rows, cols, static_cast<float*>(workspace));
    else
        by_tiles<false>(m, rows, cols, static_cast<float*>(workspace));
#endif
#if ALGORITHM >= 2 && STREAM && defined(__x86_64__)
    _mm_sfence();
#endif
}
