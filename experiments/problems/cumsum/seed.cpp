// Running sums along rows: y[r][c] = sum over j <= c of x[r][j], fp32.
//
// As it stands this is the plain kernel: one running sum per row. The tunables below reach the compiler's own scan, several
// rows at a time, scans inside vector registers, non-temporal stores and prefetch.

#include <algorithm>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define EVO_FLAGS "-O3"  // evo: {"-O2", "-O3", "-O3 -mprefer-vector-width=512"}

// 0: one running sum; 1: the compiler's scan (omp simd inscan); 2: BLOCK_ROWS running sums, one per row, side by side;
// 3: scans inside vectors, log2(VECTOR) shifts each, joined by a carry.
#define ALGORITHM 0  // evo: {0, 1, 2, 3}
// Rows side by side: their sums do not wait for each other.
#define BLOCK_ROWS 4  // evo: {1, 2, 4, 8}
// Lanes of a vector that is scanned.
#define VECTOR 8  // evo: {4, 8, 16}
// Vectors scanned per trip, before the carry joins them.
#define UNROLL 1  // evo: {1, 2, 4, 8}
// Where the carry goes through. 0: the last element of each vector in turn; 1: the totals of the vectors before it.
#define CARRY 0  // evo: {0, 1}
// Non-temporal stores of the scanned vectors.
#define STREAM 0  // evo: {0, 1}
// How many floats ahead x is prefetched; 0 does not.
#define PREFETCH 0  // evo: {0, 256, 512, 1024, 2048, 4096}
// Locality of that prefetch: 3 is the first-level cache, 2 the second, 1 the third.
#define PREFETCH_LEVEL 3  // evo: {1, 2, 3}

#define INLINED __attribute__((always_inline))
#define INLINE static inline INLINED

INLINE void prefetch(const float* x, int64_t count) {
    if (!PREFETCH) return;
    for (int64_t i = 0; i < count; i += 16) __builtin_prefetch(x + PREFETCH + i, 0, PREFETCH_LEVEL);
}

// Scans [i, n) one element after another; returns the sum.
INLINE float plain(const float* __restrict x, float* __restrict y, int64_t i, int64_t n, float sum) {
#if ALGORITHM == 1
#pragma omp simd reduction(inscan, + : sum)
    for (int64_t j = i; j < n; ++j) {
        sum += x[j];
#pragma omp scan inclusive(sum)
        y[j] = sum;
    }
#else
    for (; i < n; ++i) {
        sum += x[i];
        y[i] = sum;
    }
#endif
    return sum;
}

#if ALGORITHM == 2

template <int ROWS>
INLINE void side_by_side(const float* __restrict x, float* __restrict y, int64_t cols) {
    float sums[ROWS] = {};
    for (int64_t c = 0; c < cols; ++c) {
        if (PREFETCH && c % 16 == 0)
            for (int r = 0; r < ROWS; ++r) prefetch(x + r * cols + c, 1);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            sums[r] += x[r * cols + c];
            y[r * cols + c] = sums[r];
        }
    }
}

#elif ALGORITHM == 3

typedef float vec __attribute__((vector_size(VECTOR * 4)));
typedef float loose __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));

// y is aligned to the vector when STREAM is on, else to a float.
INLINE void store(float* y, vec value) {
#if STREAM && VECTOR == 16 && defined(__AVX512F__)
    _mm512_stream_ps(y, (__m512)value);
#elif STREAM && VECTOR == 8 && defined(__AVX__)
    _mm256_stream_ps(y, (__m256)value);
#elif STREAM && defined(__x86_64__)
    for (int part = 0; part < VECTOR; part += 4) _mm_stream_ps(y + part, __m128{value[part], value[part + 1], value[part + 2], value[part + 3]});
#else
    *reinterpret_cast<loose*>(y) = value;
#endif
}

// Elements before y reaches the alignment that non-temporal stores need.
INLINE int64_t misaligned(const float* y, int64_t n) {
    if (!STREAM) return 0;
    const uintptr_t past = reinterpret_cast<uintptr_t>(y) / 4 % VECTOR;
    return std::min<int64_t>(n, past ? VECTOR - static_cast<int64_t>(past) : 0);
}

// Hillis and Steele's scan: add the vector to itself shifted by 1, 2, 4, ... lanes.
INLINE vec scan(vec v) {
    const vec zero{};
#if VECTOR == 4
    v += __builtin_shufflevector(zero, v, 3, 4, 5, 6);
    v += __builtin_shufflevector(zero, v, 2, 3, 4, 5);
#elif VECTOR == 8
    v += __builtin_shufflevector(zero, v, 7, 8, 9, 10, 11, 12, 13, 14);
    v += __builtin_shufflevector(zero, v, 6, 7, 8, 9, 10, 11, 12, 13);
    v += __builtin_shufflevector(zero, v, 4, 5, 6, 7, 8, 9, 10, 11);
#else
    v += __builtin_shufflevector(zero, v, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30);
    v += __builtin_shufflevector(zero, v, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29);
    v += __builtin_shufflevector(zero, v, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27);
    v += __builtin_shufflevector(zero, v, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23);
#endif
    return v;
}

INLINE vec last(vec v) {
#if VECTOR == 4
    return __builtin_shufflevector(v, v, 3, 3, 3, 3);
#elif VECTOR == 8
    return __builtin_shufflevector(v, v, 7, 7, 7, 7, 7, 7, 7, 7);
#else
    return __builtin_shufflevector(v, v, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15);
#endif
}

// Scans COUNT vectors and joins them to the carry, which becomes the sum so far in every lane.
template <int COUNT>
INLINE void trip(const float* x, float* y, vec& carry) {
    vec parts[COUNT], before[COUNT];
    prefetch(x, COUNT * VECTOR);
#pragma GCC unroll 8
    for (int u = 0; u < COUNT; ++u) parts[u] = scan(*reinterpret_cast<const loose*>(x + u * VECTOR));
    if (CARRY == 0) {
#pragma GCC unroll 8
        for (int u = 0; u < COUNT; ++u) {
            parts[u] += carry;
            carry = last(parts[u]);
            store(y + u * VECTOR, parts[u]);
        }
        return;
    }
    vec sum{};
#pragma GCC unroll 8
    for (int u = 0; u < COUNT; ++u) {
        before[u] = sum;
        sum += last(parts[u]);
    }
#pragma GCC unroll 8
    for (int u = 0; u < COUNT; ++u) store(y + u * VECTOR, parts[u] + (carry + before[u]));
    carry += sum;
}

INLINE void by_vectors(const float* x, float* y, int64_t n) {
    int64_t i = misaligned(y, n);
    vec carry = vec{} + plain(x, y, 0, i, 0.0f);
    for (; i + VECTOR * UNROLL <= n; i += VECTOR * UNROLL) trip<UNROLL>(x + i, y + i, carry);
    for (; i + VECTOR <= n; i += VECTOR) trip<1>(x + i, y + i, carry);
    plain(x, y, i, n, carry[0]);
}

#endif

extern "C" void kernel(const float* x, float* y, void*, int64_t rows, int64_t cols) {
    int64_t r = 0;
#if ALGORITHM == 2
    for (; r + BLOCK_ROWS <= rows; r += BLOCK_ROWS) side_by_side<BLOCK_ROWS>(x + r * cols, y + r * cols, cols);
#endif
    for (; r < rows; ++r)
#if ALGORITHM == 3
        by_vectors(x + r * cols, y + r * cols, cols);
#else
        plain(x + r * cols, y + r * cols, 0, cols, 0.0f);
#endif
#if ALGORITHM == 3 && STREAM && defined(__x86_64__)
    _mm_sfence();
#endif
}
