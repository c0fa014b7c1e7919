// Matrix product: c[i][j] = sum over p of a[i][p] * b[p][j], fp32; a is m by k, b is k by n, c is m by n.
//
// As it stands this is the plain kernel: three loops, the innermost along rows of b and c. The tunables below reach other
// loop orders, tiles, and a micro-kernel that keeps a block of c in registers over panels packed into the workspace.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#define EVO_FLAGS "-O3"  // evo: {"-O2", "-O3"}

// 0: three loops; 1: the same over tiles; 2: a block of c in registers, b (and a) packed.
#define ALGORITHM 0  // evo: {0, 1, 2}
// Loops of the plain algorithms, from the outside. 0: i p j; 1: i j p.
#define LOOP_ORDER 0  // evo: {0, 1}
// Tiles in m, n and k: so large at most; a matrix is divided into equal ones.
#define TILE_M 64   // evo: {64, 128, 256, 512}
#define TILE_N 256  // evo: {128, 256, 512, 1024}
#define TILE_K 128  // evo: {128, 256, 384, 512}
// Lanes of a vector of the micro-kernel; its block of c is BLOCK_ROWS rows by BLOCK_VECTORS vectors.
#define VECTOR 8         // evo: {4, 8, 16}
#define BLOCK_ROWS 4     // evo: {4, 6, 8, 12}
#define BLOCK_VECTORS 2  // evo: {1, 2, 3, 4}
// evo: require BLOCK_ROWS * BLOCK_VECTORS <= 28
// Steps in k per trip of the micro-kernel.
#define UNROLL 1  // evo: {1, 4}
// Whether a is packed too.
#define PACK_A 0  // evo: {0, 1}
// What the loop around the micro-kernel goes along first. 0: rows of c; 1: columns.
#define BLOCK_ORDER 0  // evo: {0, 1}
// How many steps in k ahead the packed panel of b is prefetched; 0 does not.
#define PREFETCH 0  // evo: {0, 8}
// Whether the rows of a that come next are prefetched meanwhile, and the block of c before it is summed.
#define PREFETCH_NEXT 0  // evo: {0, 1}

#define INLINED __attribute__((always_inline))
#define INLINE static inline INLINED

struct Matrices {
    const float* __restrict a;
    const float* __restrict b;
    float* __restrict c;
    int64_t m, n, k;
};

#if ALGORITHM < 2

// c += a b over rows [i0, i1), columns [j0, j1) and the sum's terms [p0, p1).
static void plain(Matrices s, int64_t i0, int64_t i1, int64_t j0, int64_t j1, int64_t p0, int64_t p1) {
    for (int64_t i = i0; i < i1; ++i) {
        const float* a = s.a + i * s.k;
        float* __restrict c = s.c + i * s.n;
#if LOOP_ORDER == 0
        for (int64_t p = p0; p < p1; ++p)
            for (int64_t j = j0; j < j1; ++j) c[j] += a[p] * s.b[p * s.n + j];
#else
        for (int64_t j = j0; j < j1; ++j) {
            float sum = 0.0f;
            for (int64_t p = p0; p < p1; ++p) sum += a[p] * s.b[p * s.n + j];
            c[j] += sum;
        }
#endif
    }
}

extern "C" void kernel(const float* a, const float* b, float* c, void*, int64_t m, int64_t n, int64_t k) {
    const Matrices s{a, b, c, m, n, k};
    std::fill(c, c + m * n, 0.0f);
#if ALGORITHM == 0
    plain(s, 0, m, 0, n, 0, k);
#else
    for (int64_t i = 0; i < m; i += TILE_M)
        for (int64_t p = 0; p < k; p += TILE_K)
            for (int64_t j = 0; j < n; j += TILE_N)
                plain(s, i, std::min<int64_t>(i + TILE_M, m), j, std::min<int64_t>(j + TILE_N, n), p, std::min<int64_t>(p + TILE_K, k));
#endif
}

#else

typedef float vec __attribute__((vector_size(VECTOR * 4)));
typedef float loose __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));

constexpr int64_t WIDTH = int64_t{BLOCK_VECTORS} * VECTOR;
// The step that divides `extent` into as few equal parts as `tile` allows, each but the last of whole units.
constexpr int64_t even(int64_t extent, int64_t tile, int64_t unit) {
    const int64_t parts = (extent + tile - 1) / tile, each = (extent + parts - 1) / parts;
    return (each + unit - 1) / unit * unit;
}
constexpr int64_t rounded_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }
constexpr int64_t PANEL_B = TILE_K * rounded_up(TILE_N, WIDTH), PANEL_A = TILE_K * rounded_up(TILE_M, BLOCK_ROWS);

extern "C" size_t workspace(int64_t, int64_t, int64_t) { return static_cast<size_t>(PANEL_B + PANEL_A) * sizeof(float); }

// Columns [j, j + columns) of `terms` rows of b, WIDTH columns after another, each group contiguous, padded with zeros.
static void pack_b(const float* b, int64_t n, int64_t columns, int64_t terms, float* __restrict packed) {
    for (int64_t j = 0; j < columns; j += WIDTH) {
        const int64_t width = std::min(WIDTH, columns - j);
        for (int64_t p = 0; p < terms; ++p, packed += WIDTH) {
            const float* __restrict from = b + p * n + j;
            if (width == WIDTH)
                for (int64_t l = 0; l < WIDTH; ++l) packed[l] = from[l];
            else
                for (int64_t l = 0; l < WIDTH; ++l) packed[l] = l < width ? from[l] : 0.0f;
        }
    }
}

// Rows of a, BLOCK_ROWS after another, each group with its rows side by side; the last row repeats as padding.
[[maybe_unused]] static void pack_a(const float* a, int64_t k, int64_t rows, int64_t terms, float* __restrict packed) {
    for (int64_t i = 0; i < rows; i += BLOCK_ROWS, packed += BLOCK_ROWS * terms)
        for (int64_t r = 0; r < BLOCK_ROWS; ++r) {
            const float* __restrict from = a + std::min(i + r, rows - 1) * k;
            for (int64_t p = 0; p < terms; ++p) packed[p * BLOCK_ROWS + r] = from[p];
        }
}

// One block of c, COUNT vectors wide: element (r, p) of a is at a[offset[r] + p * step], b is a packed group. Adds to c unless `first`.
// `ahead` is where the rows of a come from next, less a.
template <int COUNT>
INLINE void micro_kernel(const float* a, const int64_t* offset, int64_t step, const float* b, int64_t terms, float* c, int64_t n,
                         int64_t rows, int64_t columns, bool first, [[maybe_unused]] int64_t ahead) {
    vec sums[BLOCK_ROWS][COUNT] = {};
    if (PREFETCH_NEXT)
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t l = 0; l < columns; l += 16) __builtin_prefetch(c + r * n + l, 1, 3);
    const auto term = [&](int64_t p) INLINED {
        vec row[COUNT];
        if (PREFETCH)
            for (int64_t l = 0; l < COUNT * VECTOR; l += 16) __builtin_prefetch(b + (p + PREFETCH) * WIDTH + l, 0, 3);
#pragma GCC unroll 4
        for (int v = 0; v < COUNT; ++v) row[v] = *reinterpret_cast<const loose*>(b + p * WIDTH + v * VECTOR);
#pragma GCC unroll 16
        for (int r = 0; r < BLOCK_ROWS; ++r) {
            const float factor = a[offset[r] + p * step];
#pragma GCC unroll 4
            for (int v = 0; v < COUNT; ++v) sums[r][v] += factor * row[v];
        }
    };
    int64_t p = 0;
    for (; p + UNROLL <= terms; p += UNROLL) {
        if (PREFETCH_NEXT && p % 16 == 0) {
#pragma GCC unroll 16
            for (int r = 0; r < BLOCK_ROWS; ++r) __builtin_prefetch(a + (PACK_A ? ahead + p * BLOCK_ROWS + 16 * r : ahead + offset[r] + p), 0, 2);
        }
#pragma GCC unroll 4
        for (int u = 0; u < UNROLL; ++u) term(p + u);
    }
    for (; p < terms; ++p) term(p);

    if (rows == BLOCK_ROWS && columns == COUNT * VECTOR) {
#pragma GCC unroll 16
        for (int r = 0; r < BLOCK_ROWS; ++r)
#pragma GCC unroll 4
            for (int v = 0; v < COUNT; ++v) {
                loose* to = reinterpret_cast<loose*>(c + r * n + v * VECTOR);
                *to = first ? sums[r][v] : *to + sums[r][v];
            }
        return;
    }
    float edge[BLOCK_ROWS][COUNT * VECTOR];
#pragma GCC unroll 16
    for (int r = 0; r < BLOCK_ROWS; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < COUNT; ++v) *reinterpret_cast<loose*>(&edge[r][v * VECTOR]) = sums[r][v];
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t l = 0; l < columns; ++l) c[r * n + l] = first ? edge[r][l] : c[r * n + l] + edge[r][l];
}

// No more vectors than the columns take.
template <int COUNT>
static void block(const float* a, const int64_t* offset, int64_t step, const float* b, int64_t terms, float* c, int64_t n, int64_t rows,
                  int64_t columns, bool first, int64_t ahead) {
    if constexpr (COUNT > 1)
        if (columns <= (COUNT - 1) * VECTOR)
            return block<COUNT - 1>(a, offset, step, b, terms, c, n, rows, columns, first, ahead);
    micro_kernel<COUNT>(a, offset, step, b, terms, c, n, rows, columns, first, ahead);
}

// A tile of c from `terms` terms: a as it is or packed, b packed.
static void tile(const float* a, int64_t k, const float* b, float* c, int64_t n, int64_t rows, int64_t columns, int64_t terms, bool first) {
    const auto at = [&](int64_t i, int64_t j) INLINED {
        int64_t offset[BLOCK_ROWS];
        for (int64_t r = 0; r < BLOCK_ROWS; ++r) offset[r] = PACK_A ? r : std::min(r, rows - 1 - i) * k;
        const int64_t next = i + BLOCK_ROWS < rows ? BLOCK_ROWS * (PACK_A ? terms : k) : 0;
        block<BLOCK_VECTORS>(a + (PACK_A ? i * terms : i * k), offset, PACK_A ? BLOCK_ROWS : 1, b + j * terms, terms, c + i * n + j, n,
                             std::min<int64_t>(BLOCK_ROWS, rows - i), std::min(WIDTH, columns - j), first, next);
    };
#if BLOCK_ORDER == 0
    for (int64_t j = 0; j < columns; j += WIDTH)
        for (int64_t i = 0; i < rows; i += BLOCK_ROWS) at(i, j);
#else
    for (int64_t i = 0; i < rows; i += BLOCK_ROWS)
        for (int64_t j = 0; j < columns; j += WIDTH) at(i, j);
#endif
}

extern "C" void kernel(const float* a, const float* b, float* c, void* workspace, int64_t m, int64_t n, int64_t k) {
    float* packed_b = static_cast<float*>(workspace);
    [[maybe_unused]] float* packed_a = packed_b + PANEL_B;
    const int64_t step_m = even(m, TILE_M, BLOCK_ROWS), step_n = even(n, TILE_N, WIDTH), step_k = even(k, TILE_K, 1);
    for (int64_t j = 0; j < n; j += step_n)
        for (int64_t p = 0; p < k; p += step_k) {
            const int64_t columns = std::min(step_n, n - j), terms = std::min(step_k, k - p);
            pack_b(b + p * n + j, n, columns, terms, packed_b);
            for (int64_t i = 0; i < m; i += step_m) {
                const int64_t rows = std::min(step_m, m - i);
                const float* own = a + i * k + p;
#if PACK_A
                pack_a(own, k, rows, terms, packed_a);
                own = packed_a;
#endif
                tile(own, k, packed_b, c + i * n + j, n, rows, columns, terms, p == 0);
            }
        }
}

#endif
