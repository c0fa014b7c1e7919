// Sparse matrix (CSR) times vector: y[r] = sum of values[i] * x[columns[i]] for i from starts[r] to starts[r + 1] - 1, fp32.
//
// As it stands this is the plain kernel: one sum per row. The tunables below reach independent sums, gather instructions,
// other treatments of short rows and prefetch.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define EVO_FLAGS "-O3"  // evo: {"-O2", "-O3", "-O3 -funroll-loops", "-O3 -mprefer-vector-width=512"}

// 0: one sum; 1: the compiler's vectors (omp simd); 2: gathers of VECTOR elements, in rows; 3: the products of TILE_ITEMS
// items at once, into the workspace, then sums of rows over these.
#define ALGORITHM 0  // evo: {0, 1, 2, 3}
// Lanes of a gather; 1 gathers element by element.
#define VECTOR 8  // evo: {1, 4, 8, 16}
// Vectors (or scalar sums) per trip.
#define UNROLL 1  // evo: {1, 2, 4}
// Masked vectors (AVX-512; without it 0). 0: none, the rest of a row goes element by element; 1: for the rest; 2: for all.
#define MASKED 0  // evo: {0, 1, 2}
// Products per tile of the last algorithm.
#define TILE_ITEMS 4096  // evo: {1024, 2048, 4096, 8192, 16384}
// How many items ahead values and columns are prefetched; 0 leaves that to the hardware.
#define PREFETCH 0  // evo: {0, 64, 128, 256, 512, 1024}
// Locality of that prefetch: 3 is the first-level cache, 2 the second, 0 for single use.
#define PREFETCH_LEVEL 0  // evo: {0, 2, 3}

#define INLINED __attribute__((always_inline))
#define INLINE static inline INLINED

struct Matrix {
    const float* __restrict values;
    const int32_t* __restrict columns;
    const float* __restrict x;
};

INLINE void prefetch(const Matrix& m, int64_t i) {
    if (!PREFETCH) return;
    __builtin_prefetch(m.values + i + PREFETCH, 0, PREFETCH_LEVEL);
    __builtin_prefetch(m.columns + i + PREFETCH, 0, PREFETCH_LEVEL);
}

// Sum over items [i, end) with UNROLL independent sums.
INLINE float scalar_sum(const Matrix& m, int64_t i, int64_t end) {
    float sum = 0.0f;
#if ALGORITHM == 1
#pragma omp simd reduction(+ : sum)
    for (int64_t j = i; j < end; ++j) sum += m.values[j] * m.x[m.columns[j]];
#else
    float sums[UNROLL] = {};
    for (; i + UNROLL <= end; i += UNROLL) {
        if (UNROLL > 1) prefetch(m, i);
#pragma GCC unroll 4
        for (int u = 0; u < UNROLL; ++u) sums[u] += m.values[i + u] * m.x[m.columns[i + u]];
    }
    for (; i < end; ++i) sums[0] += m.values[i] * m.x[m.columns[i]];
    for (int u = 0; u < UNROLL; ++u) sum += sums[u];
#endif
    return sum;
}

#if VECTOR > 1

typedef float vec __attribute__((vector_size(VECTOR * 4)));
typedef int32_t ivec __attribute__((vector_size(VECTOR * 4)));
typedef float loose __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));
typedef int32_t loose_index __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));

INLINE vec products(const Matrix& m, int64_t i) {
    const ivec at = *reinterpret_cast<const loose_index*>(m.columns + i);
#if VECTOR == 16 && defined(__AVX512F__)
    const vec x = (vec)_mm512_i32gather_ps((__m512i)at, m.x, 4);
#elif VECTOR == 8 && defined(__AVX2__)
    const vec x = (vec)_mm256_i32gather_ps(m.x, (__m256i)at, 4);
#elif VECTOR == 4 && defined(__AVX2__)
    const vec x = (vec)_mm_i32gather_ps(m.x, (__m128i)at, 4);
#else
    vec x;
    for (int lane = 0; lane < VECTOR; ++lane) x[lane] = m.x[at[lane]];
#endif
    return x * *reinterpret_cast<const loose*>(m.values + i);
}

// Products of the first `count` of VECTOR items, 0 in the other lanes.
INLINE vec some_products([[maybe_unused]] const Matrix& m, [[maybe_unused]] int64_t i, [[maybe_unused]] int64_t count) {
#if VECTOR == 16 && defined(__AVX512VL__)
    const __mmask16 on = static_cast<__mmask16>(count >= 16 ? 0xffff : (1u << count) - 1);
    const __m512i at = _mm512_maskz_loadu_epi32(on, m.columns + i);
    const __m512 x = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), on, at, m.x, 4);
    return (vec)_mm512_maskz_mul_ps(on, x, _mm512_maskz_loadu_ps(on, m.values + i));
#elif VECTOR == 8 && defined(__AVX512VL__)
    const __mmask8 on = static_cast<__mmask8>(count >= 8 ? 0xff : (1u << count) - 1);
    const __m256i at = _mm256_maskz_loadu_epi32(on, m.columns + i);
    const __m256 x = _mm256_mmask_i32gather_ps(_mm256_setzero_ps(), on, at, m.x, 4);
    return (vec)_mm256_maskz_mul_ps(on, x, _mm256_maskz_loadu_ps(on, m.values + i));
#elif VECTOR == 4 && defined(__AVX512VL__)
    const __mmask8 on = static_cast<__mmask8>(count >= 4 ? 0xf : (1u << count) - 1);
    const __m128i at = _mm_maskz_loadu_epi32(on, m.columns + i);
    const __m128 x = _mm_mmask_i32gather_ps(_mm_setzero_ps(), on, at, m.x, 4);
    return (vec)_mm_maskz_mul_ps(on, x, _mm_maskz_loadu_ps(on, m.values + i));
#else
    return vec{};
#endif
}

#if defined(__AVX512VL__)
constexpr int MASKS = MASKED;
#else
constexpr int MASKS = 0;
#endif

// Sum of all lanes, by halves.
INLINE float across(vec v) {
#if VECTOR == 16
    v += __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
#elif VECTOR == 8
    v += __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3);
#endif
    return (v[0] + v[1]) + (v[2] + v[3]);
}

// Sum over items [i, end) by vectors.
INLINE float vector_sum(const Matrix& m, int64_t i, int64_t end) {
    vec sums[UNROLL] = {};
    for (; i + VECTOR * UNROLL <= end && (MASKS < 2 || UNROLL > 1); i += VECTOR * UNROLL)
#pragma GCC unroll 4
        for (int u = 0; u < UNROLL; ++u) {
            prefetch(m, i + u * VECTOR);
            sums[u] += products(m, i + u * VECTOR);
        }
    for (; MASKS < 2 && i + VECTOR <= end; i += VECTOR) sums[0] += products(m, i);
    for (; MASKS > 0 && i < end; i += VECTOR) {
        prefetch(m, i);
        sums[0] += some_products(m, i, end - i);
    }
    for (int u = 1; u < UNROLL; ++u) sums[0] += sums[u];
    float sum = across(sums[0]);
    for (; i < end; ++i) sum += m.values[i] * m.x[m.columns[i]];
    return sum;
}

#endif

#if ALGORITHM == 3

extern "C" size_t workspace(int64_t, int64_t, int64_t) { return TILE_ITEMS * sizeof(float); }

INLINE void multiply(const Matrix& m, int64_t begin, int64_t end, float* __restrict to) {
    int64_t i = begin;
#if VECTOR > 1
    for (; i + VECTOR * UNROLL <= end; i += VECTOR * UNROLL)
#pragma GCC unroll 4
        for (int u = 0; u < UNROLL; ++u) {
            prefetch(m, i + u * VECTOR);
            *reinterpret_cast<loose*>(to + (i - begin) + u * VECTOR) = products(m, i + u * VECTOR);
        }
#endif
    for (; i < end; ++i) to[i - begin] = m.values[i] * m.x[m.columns[i]];
}

static void by_tiles(const Matrix& m, const int64_t* starts, float* y, int64_t rows, float* scratch) {
    int64_t r = 0;
    const int64_t nonzeros = starts[rows];
    float sum = 0.0f;
    for (int64_t begin = 0; begin < nonzeros; begin += TILE_ITEMS) {
        const int64_t end = std::min<int64_t>(begin + TILE_ITEMS, nonzeros);
        multiply(m, begin, end, scratch);
        for (int64_t i = begin; r < rows;) {
            const int64_t stop = std::min(starts[r + 1], end);
            for (; i < stop; ++i) sum += scratch[i - begin];
            if (starts[r + 1] > end) break;  // the row goes on in the next tile
            y[r++] = sum;
            sum = 0.0f;
        }
    }
    for (; r < rows; ++r) y[r] = 0.0f;
}

#endif

extern "C" void kernel(const float* values, const int32_t* columns, const int64_t* starts, const float* x, float* y,
                       [[maybe_unused]] void* workspace, int64_t rows, int64_t, int64_t) {
    const Matrix m{values, columns, x};
#if ALGORITHM == 3
    by_tiles(m, starts, y, rows, static_cast<float*>(workspace));
#else
    for (int64_t r = 0; r < rows; ++r) {
#if ALGORITHM == 2 && VECTOR > 1
        y[r] = vector_sum(m, starts[r], starts[r + 1]);
#else
        prefetch(m, starts[r]);
        y[r] = scalar_sum(m, starts[r], starts[r + 1]);
#endif
    }
#endif
}
