// Row-wise softmax: y[r][c] = exp(x[r][c] - max_c x[r][c]) / sum_c exp(x[r][c] - max_c x[r][c]), fp32.
//
// As it stands this is the plain kernel: three loops over each row with the C library's expf. The tunables below reach
// the rest: a polynomial exp, explicit vectors, non-temporal stores, prefetch of later rows, and other orders of work.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define EVO_FLAGS "-O3"  // evo: {"-O2", "-O3", "-O3 -fno-trapping-math", "-O3 -fno-trapping-math -mprefer-vector-width=512"}

// 0: exponentials kept in y, then scaled in place; 1: kept in a scratch row, scaled into y; 2: computed twice, kept
// nowhere; 3: online, maximum and sum in one trip over tiles of the row, exponentials computed again for y.
#define ALGORITHM 0  // evo: {0, 1, 2, 3}
// 0: expf of the C library; 1: polynomial; 2: polynomial with the AVX-512 rounding and scaling instructions.
#define EXP 0  // evo: {0, 1, 2}
// Degree of the polynomial on [-ln 2 / 2, ln 2 / 2]: 5 is good to 1.5 ulp, 6 to 1 ulp.
#define DEGREE 6  // evo: {5, 6}
// Asks the compiler to vectorise the plain loops, sums and maxima included.
#define SIMD_PRAGMA 0  // evo: {0, 1}
// Lanes of the explicit vectors; 1 leaves vectorisation to the compiler.
#define VECTOR 1  // evo: {1, 4, 8, 16}
// Vectors (and so independent accumulators) per trip of the explicit loops.
#define UNROLL 1  // evo: {1, 2, 4, 8}
// Non-temporal stores for the last write of y.
#define STREAM 0  // evo: {0, 1}
// How many rows ahead the passes over a row prefetch; 0 does not.
#define PREFETCH_ROWS 0  // evo: {0, 1, 2}
// Which pass does so. 0: the exponential pass; 1: every other vector of a trip there, the rest in the last pass; 2: the last.
#define PREFETCH_PASS 0  // evo: {0, 1, 2}
// Locality of that prefetch: 3 is the first-level cache, 2 the second, 1 the third.
#define PREFETCH_LEVEL 3  // evo: {1, 2, 3}
// Columns per tile of the online algorithm.
#define TILE_COLS 1024  // evo: {256, 512, 1024, 2048, 4096}

#define INLINED __attribute__((always_inline))
#define INLINE static inline INLINED

// exp(x) for x <= 0: x = n ln 2 + f with |f| <= ln 2 / 2, exp(f) by a minimax polynomial, 2^n by the exponent's bits.
// Below x = -87 the result stays at 1.6e-38. Truncation of t - 1/2 rounds to nearest since t <= 0; no magic-number rounding, so no flag can break it.
constexpr float LOG2E = 1.44269504f, LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f, LOWEST = -87.0f;
// Horner's rule written out: a loop here would keep the compiler from vectorising the loop around it.
template <typename T>
INLINE T exp_near_zero(T f) {
#if DEGREE == 5
    const T p = 4.18903348e-2f + f * 8.31251068e-3f;
    return 1.0f + f * (1.0f + f * (4.99992303e-1f + f * (1.66671153e-1f + f * p)));
#else
    const T p = 4.16683855e-2f + f * (8.36873655e-3f + f * 1.38148491e-3f);
    return 1.0f + f * (1.0f + f * (4.99999935e-1f + f * (1.66665205e-1f + f * p)));
#endif
}

INLINE float exp1(float x) {
#if EXP == 0
    return std::exp(x);
#else
    const float clipped = x < LOWEST ? LOWEST : x;
    const int32_t n = static_cast<int32_t>(clipped * LOG2E - 0.5f);
    const float k = static_cast<float>(n);
    const float f = (clipped - k * LN2_HIGH) - k * LN2_LOW;
    const float p = exp_near_zero(f);
    return __builtin_bit_cast(float, __builtin_bit_cast(int32_t, p) + n * (1 << 23));
#endif
}

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
typedef int32_t ivec __attribute__((vector_size(VECTOR * 4)));
typedef float loose __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));

INLINE vec load(const float* p) { return *reinterpret_cast<const loose*>(p); }
INLINE vec splat(float value) { return vec{} + value; }
INLINE vec larger(vec a, vec b) {
#if VECTOR == 16 && defined(__AVX512F__)
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif VECTOR == 8 && defined(__AVX__)
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#else
    const ivec mask = a > b;
    return (vec)(((ivec)a & mask) | ((ivec)b & ~mask));
#endif
}

// The first `count` lanes from memory, the others `rest`.
INLINE vec part(const float* p, int64_t count, float rest) {
#if VECTOR == 16 && defined(__AVX512F__)
    return (vec)_mm512_mask_loadu_ps(_mm512_set1_ps(rest), static_cast<__mmask16>((1u << count) - 1), p);
#else
    vec v = splat(rest);
    for (int lane = 0; lane < count; ++lane) v[lane] = p[lane];
    return v;
#endif
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

INLINE vec expv(vec x) {
#if EXP == 0
    vec e;
    for (int lane = 0; lane < VECTOR; ++lane) e[lane] = std::exp(x[lane]);
    return e;
#else
    const vec clipped = larger(x, splat(LOWEST));
#if EXP == 2 && VECTOR == 16 && defined(__AVX512F__)
    const vec k = (vec)_mm512_roundscale_ps((__m512)(clipped * LOG2E), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
    const ivec n = __builtin_convertvector(clipped * LOG2E - 0.5f, ivec);
    const vec k = __builtin_convertvector(n, vec);
#endif
    const vec f = (clipped - k * LN2_HIGH) - k * LN2_LOW;
    const vec p = exp_near_zero(f);
#if EXP == 2 && VECTOR == 16 && defined(__AVX512F__)
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)k);
#else
    return (vec)((ivec)p + (n << 23));
#endif
#endif
}

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

// How far p is past a vector's alignment, in elements.
INLINE int64_t past(const float* p) { return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p) / 4 % VECTOR); }

// Elements before p reaches the alignment that non-temporal stores need. Rows of x, y and the scratch row all start equally far from
// it, so that no other vector crosses a cache line either.
INLINE int64_t misaligned(const float* p, int64_t n) { return std::min<int64_t>(n, past(p) ? VECTOR - past(p) : 0); }

// body(index, accumulator) for every whole vector in [i, n), UNROLL of them a trip. Returns where the rest begins.
template <class Body>
INLINE int64_t sweep(int64_t i, int64_t n, Body body) {
    for (; i + VECTOR * UNROLL <= n; i += VECTOR * UNROLL)
#pragma GCC unroll 8
        for (int u = 0; u < UNROLL; ++u) body(i + u * VECTOR, u);
    for (; i + VECTOR <= n; i += VECTOR) body(i, 0);
    return i;
}

#endif

// Prefetches the next `count` floats if it is this pass's turn (`late`: the last pass) at accumulator u.
INLINE void prefetch(const float* ahead, int64_t count, bool late, int u) {
    const bool turn = PREFETCH_PASS == 0 ? !late : PREFETCH_PASS == 1 ? late == (u % 2 == 1) : late;
    if (!PREFETCH_ROWS || !turn) return;
    for (int64_t i = 0; i < count; i += 16) __builtin_prefetch(ahead + i, 0, PREFETCH_LEVEL);
}

INLINE float row_max(const float* x, int64_t n) {
    float best = -std::numeric_limits<float>::infinity();
    int64_t i = 0;
#if VECTOR > 1
    vec lanes[UNROLL];
    for (vec& each : lanes) each = splat(best);
    if ((i = misaligned(x, n)) > 0) lanes[0] = part(x, i, best);
    i = sweep(i, n, [&](int64_t at, int u) INLINED { lanes[u] = larger(lanes[u], load(x + at)); });
    if (i < n) lanes[0] = larger(lanes[0], part(x + i, n - i, best));
    i = n;
    for (const vec& each : lanes) lanes[0] = larger(lanes[0], each);
    best = across(lanes[0], [](float a, float b) INLINED { return a > b ? a : b; });
#endif
#if SIMD_PRAGMA
#pragma omp simd reduction(max : best)
#endif
    for (int64_t j = i; j < n; ++j) best = x[j] > best ? x[j] : best;
    return best;
}

// Sum of exp(x - shift); with KEEP the exponentials are stored in e as well. `ahead` is a later row, to be prefetched.
template <bool KEEP>
INLINE float exp_sum(const float* x, float* e, int64_t n, float shift, const float* ahead) {
    float sum = 0.0f;
    int64_t i = 0;
#if VECTOR > 1
    vec sums[UNROLL] = {};
    const auto some = [&](int64_t at, int64_t count) INLINED {
        const vec value = expv(part(x + at, count, shift + 2 * LOWEST) - shift);  // the lanes beyond add less than rounding takes
        for (int lane = 0; KEEP && lane < count; ++lane) e[at + lane] = value[lane];
        sums[0] += value;
    };
    if ((i = misaligned(x, n)) > 0) some(0, i);
    i = sweep(i, n, [&](int64_t at, int u) INLINED {
        prefetch(ahead + at, VECTOR, false, u);
        const vec value = expv(load(x + at) - shift);
        if (KEEP) *reinterpret_cast<loose*>(e + at) = value;
        sums[u] += value;
    });
    if (i < n) some(i, n - i);
    i = n;
    for (int u = 1; u < UNROLL; ++u) sums[0] += sums[u];
    sum = across(sums[0], [](float a, float b) INLINED { return a + b; });
#else
    prefetch(ahead, n, false, 0);
#endif
#if SIMD_PRAGMA
#pragma omp simd reduction(+ : sum)
#endif
    for (int64_t j = i; j < n; ++j) {
        const float value = exp1(x[j] - shift);
        if (KEEP) e[j] = value;
        sum += value;
    }
    return sum;
}

// y = factor * x, or factor * exp(x - shift) with COMPUTE. x may be y itself.
template <bool COMPUTE>
INLINE void finish(const float* x, float* y, int64_t n, float shift, float factor, const float* ahead) {
    int64_t i = 0;
#if VECTOR > 1
    for (const int64_t head = misaligned(y, n); i < head; ++i) store1(y + i, factor * (COMPUTE ? exp1(x[i] - shift) : x[i]));
    i = sweep(i, n, [&](int64_t at, int u) INLINED {
        prefetch(ahead + at, VECTOR, true, u);
        const vec value = load(x + at);
        store(y + at, factor * (COMPUTE ? expv(value - shift) : value));
    });
#else
    prefetch(ahead, n, true, 1);
#endif
#if SIMD_PRAGMA
#pragma omp simd
#endif
    for (int64_t j = i; j < n; ++j) store1(y + j, factor * (COMPUTE ? exp1(x[j] - shift) : x[j]));
}

INLINE void softmax_row(const float* x, float* y, [[maybe_unused]] float* scratch, int64_t n, const float* ahead) {
#if ALGORITHM == 3
    float top = -std::numeric_limits<float>::infinity(), sum = 0.0f;
    for (int64_t c = 0; c < n; c += TILE_COLS) {
        const int64_t width = std::min<int64_t>(TILE_COLS, n - c);
        const float tile_top = std::max(top, row_max(x + c, width));
        sum = sum * std::exp(top - tile_top) + exp_sum<false>(x + c, nullptr, width, tile_top, ahead + c);
        top = tile_top;
    }
    finish<true>(x, y, n, top, 1.0f / sum, ahead);
#else
    const float top = row_max(x, n);
#if VECTOR > 1
    scratch += past(x);
#endif
    float* const kept = ALGORITHM == 0 ? y : scratch;
    const float sum = exp_sum<ALGORITHM != 2>(x, kept, n, top, ahead);
    finish<ALGORITHM == 2>(ALGORITHM == 2 ? x : kept, y, n, top, 1.0f / sum, ahead);
#endif
}

extern "C" size_t workspace(int64_t, int64_t cols) { return static_cast<size_t>(cols + VECTOR) * sizeof(float); }

extern "C" void kernel(const float* x, float* y, void* workspace, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; ++r) {
        const float* ahead = x + std::min<int64_t>(r + PREFETCH_ROWS, rows - 1) * cols;
        softmax_row(x + r * cols, y + r * cols, static_cast<float*>(workspace), cols, ahead);
    }
#if STREAM && defined(__x86_64__)
    _mm_sfence();
#endif
}
