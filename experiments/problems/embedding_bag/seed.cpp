// Sums of table rows by ragged bags: y[b] = sum of table[indices[i]] for i from offsets[b] to offsets[b + 1] - 1, fp32.
//
// As it stands this is the plain kernel: each row of a bag is added to y[b]. The tunables below reach sums kept in vector
// registers, for several bags together, several rows per trip, prefetch of the rows that come next (across bags) and
// non-temporal stores.

#include <algorithm>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define EVO_FLAGS "-O3"  // evo: {"-O2", "-O3", "-O3 -mprefer-vector-width=512"}

// 0: rows added to y in memory; 1: TILE_VECTORS vectors of a bag's sum kept in registers.
#define ALGORITHM 0  // evo: {0, 1}
// Lanes of a vector.
#define VECTOR 8  // evo: {4, 8, 16}
// Vectors of a sum that are kept in registers; wider tables take several trips over a bag.
#define TILE_VECTORS 4  // evo: {1, 2, 4, 8}
// Rows added per trip.
#define UNROLL 1  // evo: {1, 2, 4, 8}
// Bags whose sums are made together: one tile of columns for all of them, then the next tile.
#define TOGETHER 1  // evo: {1, 2, 4, 8}
// How many items ahead table rows are prefetched; 0 does not.
#define PREFETCH 0  // evo: {0, 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128}
// How much of a row. 0: its first cache line, the hardware may follow; 1: its first half; 2: all of it.
#define PREFETCH_PART 2  // evo: {0, 1, 2}
// Locality of that prefetch: 3 is the first-level cache, 2 the second, 1 the third, 0 for single use.
#define PREFETCH_LEVEL 3  // evo: {0, 1, 2, 3}
// Non-temporal stores of y, where its rows are aligned for them.
#define STREAM 0  // evo: {0, 1}

#define INLINED __attribute__((always_inline))
#define INLINE static inline INLINED

struct Bags {
    const float* __restrict table;
    const int64_t* __restrict indices;
    float* __restrict y;
    int64_t width, items;
};

// Prefetches the row of the item PREFETCH places after i.
INLINE void prefetch(const Bags& s, int64_t i) {
    if (!PREFETCH) return;
    const float* row = s.table + s.indices[std::min(i + PREFETCH, s.items - 1)] * s.width;
    const int64_t part = PREFETCH_PART == 0 ? 1 : PREFETCH_PART == 1 ? (s.width + 1) / 2 : s.width;
    for (int64_t d = 0; d < part; d += 16) __builtin_prefetch(row + d, 0, PREFETCH_LEVEL);
}

// Adds columns [from, width) of the items to y.
INLINE void in_memory(const Bags& s, float* __restrict y, int64_t begin, int64_t end, int64_t from) {
    for (int64_t d = from; d < s.width; ++d) y[d] = 0.0f;
    for (int64_t i = begin; i < end; ++i) {
        const float* __restrict row = s.table + s.indices[i] * s.width;
        if (from == 0) prefetch(s, i);
        for (int64_t d = from; d < s.width; ++d) y[d] += row[d];
    }
}

#if ALGORITHM == 1

typedef float vec __attribute__((vector_size(VECTOR * 4)));
typedef float loose __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));

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

// COUNT vectors of the bag's sum, from column d on.
template <int COUNT, bool ALIGNED>
INLINE void in_registers(const Bags& s, float* y, int64_t begin, int64_t end, int64_t d) {
    vec sums[COUNT] = {};
    const auto add = [&](int64_t i) INLINED {
        const float* row = s.table + s.indices[i] * s.width + d;
#pragma GCC unroll 8
        for (int v = 0; v < COUNT; ++v) sums[v] += *reinterpret_cast<const loose*>(row + v * VECTOR);
    };
    int64_t i = begin;
    for (; i + UNROLL <= end; i += UNROLL) {
        if (d == 0)
            for (int u = 0; u < UNROLL; ++u) prefetch(s, i + u);
#pragma GCC unroll 8
        for (int u = 0; u < UNROLL; ++u) add(i + u);
    }
    for (; i < end; ++i) {
        if (d == 0) prefetch(s, i);
        add(i);
    }
#pragma GCC unroll 8
    for (int v = 0; v < COUNT; ++v) store<ALIGNED>(y + d + v * VECTOR, sums[v]);
}

// Bags [b, b_end).
struct Group {
    const int64_t* __restrict offsets;
    int64_t b, b_end;
};

template <int COUNT, bool ALIGNED>
INLINE void tile(const Bags& s, Group g, int64_t d) {
    for (int64_t b = g.b; b < g.b_end; ++b) in_registers<COUNT, ALIGNED>(s, s.y + b * s.width, g.offsets[b], g.offsets[b + 1], d);
}

// What is left of rows after whole tiles: fewer than COUNT + 1 vectors, in one trip. Returns where they end.
template <int COUNT, bool ALIGNED>
INLINE int64_t rest(const Bags& s, Group g, int64_t d) {
    if constexpr (COUNT > 0) {
        if (d + COUNT * VECTOR > s.width) return rest<COUNT - 1, ALIGNED>(s, g, d);
        tile<COUNT, ALIGNED>(s, g, d);
    }
    return d + COUNT * VECTOR;
}

template <bool ALIGNED>
INLINE void group(const Bags& s, Group g) {
    int64_t d = 0;
    for (; d + TILE_VECTORS * VECTOR <= s.width; d += TILE_VECTORS * VECTOR) tile<TILE_VECTORS, ALIGNED>(s, g, d);
    d = rest<TILE_VECTORS - 1, ALIGNED>(s, g, d);
    for (int64_t b = g.b; d < s.width && b < g.b_end; ++b) in_memory(s, s.y + b * s.width, g.offsets[b], g.offsets[b + 1], d);
}

#endif

extern "C" void kernel(const float* table, const int64_t* indices, const int64_t* offsets, float* y, void*, int64_t, int64_t width,
                       int64_t bags, int64_t items) {
    const Bags s{table, indices, y, width, items};
#if ALGORITHM == 1
    for (int64_t b = 0; b < bags; b += TOGETHER) {
        const Group g{offsets, b, std::min<int64_t>(b + TOGETHER, bags)};
        if (STREAM && width % VECTOR == 0)
            group<true>(s, g);
        else
            group<false>(s, g);
    }
#else
    for (int64_t b = 0; b < bags; ++b) in_memory(s, y + b * width, offsets[b], offsets[b + 1], 0);
#endif
#if ALGORITHM == 1 && STREAM && defined(__x86_64__)
    _mm_sfence();
#endif
}
