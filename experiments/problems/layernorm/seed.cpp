// Layer normalisation: y[r][c] = (x[r][c] - mean_r) / sqrt(variance_r + 1e-5) * gamma[c] + beta[c], fp32.
//
// As it stands this is the plain kernel: mean, variance and output in three loops over each row. The tunables below reach
// explicit vectors, other ways to the statistics, non-temporal stores and prefetch of later rows.

#include <algorithm>
#include <cmath>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define EVO_FLAGS "-O3"  // evo: {"-O2", "-O3", "-O3 -fno-trapping-math", "-O3 -fno-trapping-math -mprefer-vector-width=512"}

// 0: mean, then the squares around it; 1: tile by tile, each with its own mean, merged (Chan, Golub, LeVeque 1979);
// 2: sum and sum of squares in one trip, in double.
#define STATISTICS 0  // evo: {0, 1, 2}
// Asks the compiler to vectorise the plain loops, sums included.
#define SIMD_PRAGMA 0  // evo: {0, 1}
// Lanes of the explicit vectors; 1 leaves vectorisation to the compiler.
#define VECTOR 1  // evo: {1, 4, 8, 16}
// Vectors (and so independent accumulators) per trip of the explicit loops.
#define UNROLL 1  // evo: {1, 2, 4, 8}
// Non-temporal stores of y.
#define STREAM 0  // evo: {0, 1}
// How many rows ahead the passes over a row prefetch; 0 does not.
#define PREFETCH_ROWS 0  // evo: {0, 1, 2}
// Which pass does so. 0: the second one; 1: every other vector of a trip there, the rest in the last pass; 2: the last.
#define PREFETCH_PASS 2  // evo: {0, 1, 2}
// Locality of that prefetch: 3 is the first-level cache, 2 the second, 1 the third.
#define PREFETCH_LEVEL 3  // evo: {1, 2, 3}
// Columns per tile of the merged statistics.
#define TILE_COLS 1024  // evo: {256, 512, 1024, 2048, 4096}

#define INLINED __attribute__((always_inline))
#define INLINE static inline INLINED

constexpr float EPSILON = 1e-5f;

// Beside explicit vectors, single elements share their cache line with another row: ordinary stores let both parts meet in a cache.
INLINE void store1(float* y, float value) {
#if STREAM && VECTOR == 1 && defined(__x86_64__)
    _mm_stream_si32(reinterpret_cast<int*>(y), __builtin_bit_cast(int, value));
#else
    *y = value;
#endif
}

#if VECTOR > 1

typedef float vec __attribute__((vector_size(VECTOR * 4)));
typedef double wide __attribute__((vector_size(VECTOR * 8)));
typedef float loose __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));

INLINE vec load(const float* p) { return *reinterpret_cast<const loose*>(p); }

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

// body(index, accumulator) for every whole vector in [i, n), UNROLL of them a trip. Returns where the rest begins.
template <class Body>
INLINE int64_t sweep(int64_t i, int64_t n, Body body) {
    for (; i + VECTOR * UNROLL <= n; i += VECTOR * UNROLL)
#pragma GCC unroll 8
        for (int u = 0; u < UNROLL; ++u) body(i + u * VECTOR, u);
    for (; i + VECTOR <= n; i += VECTOR) body(i, 0);
    return i;
}

// All lanes taken together by halves: a chain through them would take as long as a hundred elements.
template <class V, class Operation>
INLINE auto across(V v, Operation both) {
    decltype(v[0] + 0) lanes[VECTOR];
#pragma GCC unroll 16
    for (int lane = 0; lane < VECTOR; ++lane) lanes[lane] = v[lane];
#pragma GCC unroll 4
    for (int half = VECTOR / 2; half > 0; half /= 2)
#pragma GCC unroll 8
        for (int lane = 0; lane < half; ++lane) lanes[lane] = both(lanes[lane], lanes[lane + half]);
    return lanes[0];
}

template <class V>
INLINE auto total(V (&parts)[UNROLL]) {
    for (int u = 1; u < UNROLL; ++u) parts[0] += parts[u];
    return across(parts[0], [](auto a, auto b) INLINED { return a + b; });
}

#endif

// Prefetches the next `count` floats if it is this pass's turn (`late`: the last pass) at accumulator u.
INLINE void prefetch(const float* ahead, int64_t count, bool late, int u) {
    const bool turn = PREFETCH_PASS == 0 ? !late : PREFETCH_PASS == 1 ? late == (u % 2 == 1) : late;
    if (!PREFETCH_ROWS || !turn) return;
    for (int64_t i = 0; i < count; i += 16) __builtin_prefetch(ahead + i, 0, PREFETCH_LEVEL);
}

INLINE float row_sum(const float* x, int64_t n) {
    float sum = 0.0f;
    int64_t i = 0;
#if VECTOR > 1
    vec sums[UNROLL] = {};
    i = sweep(0, n, [&](int64_t at, int u) INLINED { sums[u] += load(x + at); });
    sum = total(sums);
#endif
#if SIMD_PRAGMA
#pragma omp simd reduction(+ : sum)
#endif
    for (int64_t j = i; j < n; ++j) sum += x[j];
    return sum;
}

struct Statistics {
    float mean, variance;
};

// Variance around a mean that was rounded, and what the rounding took from that mean (so constant rows stay exact).
INLINE Statistics centred(const float* x, int64_t n, float mean, const float* ahead) {
    float sum = 0.0f, squares = 0.0f;
    int64_t i = 0;
#if VECTOR > 1
    vec sums[UNROLL] = {}, products[UNROLL] = {};
    i = sweep(0, n, [&](int64_t at, int u) INLINED {
        prefetch(ahead + at, VECTOR, false, u);
        const vec d = load(x + at) - mean;
        sums[u] += d;
        products[u] += d * d;
    });
    sum = total(sums);
    squares = total(products);
#else
    prefetch(ahead, n, false, 0);
#endif
#if SIMD_PRAGMA
#pragma omp simd reduction(+ : sum, squares)
#endif
    for (int64_t j = i; j < n; ++j) {
        const float d = x[j] - mean;
        sum += d;
        squares += d * d;
    }
    const float missed = sum / static_cast<float>(n);
    return {mean + missed, std::max(0.0f, squares / static_cast<float>(n) - missed * missed)};
}

INLINE Statistics in_double(const float* x, int64_t n, const float* ahead) {
    double sum = 0.0, squares = 0.0;
    int64_t i = 0;
#if VECTOR > 1
    wide sums[UNROLL] = {}, products[UNROLL] = {};
    i = sweep(0, n, [&](int64_t at, int u) INLINED {
        prefetch(ahead + at, VECTOR, false, u);
        const wide d = __builtin_convertvector(load(x + at), wide);
        sums[u] += d;
        products[u] += d * d;
    });
    sum = total(sums);
    squares = total(products);
#else
    prefetch(ahead, n, false, 0);
#endif
#if SIMD_PRAGMA
#pragma omp simd reduction(+ : sum, squares)
#endif
    for (int64_t j = i; j < n; ++j) {
        const double d = x[j];
        sum += d;
        squares += d * d;
    }
    const double mean = sum / static_cast<double>(n);
    return {static_cast<float>(mean), static_cast<float>(std::max(0.0, squares / static_cast<double>(n) - mean * mean))};
}

INLINE Statistics statistics(const float* x, int64_t n, const float* ahead) {
#if STATISTICS == 2
    return in_double(x, n, ahead);
#else
    const int64_t tile = STATISTICS == 1 ? TILE_COLS : n;
    Statistics all{0.0f, 0.0f};
    for (int64_t c = 0; c < n; c += tile) {
        const int64_t width = std::min(tile, n - c);
        const Statistics own = centred(x + c, width, row_sum(x + c, width) / static_cast<float>(width), ahead + c);
        const float share = static_cast<float>(width) / static_cast<float>(c + width), apart = own.mean - all.mean;
        all.variance += (own.variance - all.variance + apart * apart * (1.0f - share)) * share;
        all.mean += apart * share;
    }
    return all;
#endif
}

INLINE void finish(const float* x, const float* gamma, const float* beta, float* y, int64_t n, Statistics s, const float* ahead) {
    const float mean = s.mean, scale = 1.0f / std::sqrt(s.variance + EPSILON);
    int64_t i = 0;
#if VECTOR > 1
    for (const int64_t head = misaligned(y, n); i < head; ++i) store1(y + i, (x[i] - mean) * scale * gamma[i] + beta[i]);
    i = sweep(i, n, [&](int64_t at, int u) INLINED {
        prefetch(ahead + at, VECTOR, true, u);
        store(y + at, (load(x + at) - mean) * scale * load(gamma + at) + load(beta + at));
    });
#else
    prefetch(ahead, n, true, 1);
#endif
#if SIMD_PRAGMA
#pragma omp simd
#endif
    for (int64_t j = i; j < n; ++j) store1(y + j, (x[j] - mean) * scale * gamma[j] + beta[j]);
}

extern "C" void kernel(const float* x, const float* gamma, const float* beta, float* y, void*, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; ++r) {
        const float* row = x + r * cols;
        const float* ahead = x + std::min<int64_t>(r + PREFETCH_ROWS, rows - 1) * cols;
        finish(row, gamma, beta, y + r * cols, cols, statistics(row, cols, ahead), ahead);
    }
#if STREAM && defined(__x86_64__)
    _mm_sfence();
#endif
}
