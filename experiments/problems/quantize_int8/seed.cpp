// Row-wise symmetric quantisation: scale = max |x| / 127, q = nearest integer to x * (127 / max |x|), ties to even.
//
// As it stands this is the plain kernel: two loops over each row. The tunables below reach the compiler's vectorisation,
// explicit vectors with packing instructions, non-temporal stores and prefetch of later rows.

#include <algorithm>
#include <cmath>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define EVO_FLAGS "-O3"  // evo: {"-O2", "-O3", "-O3 -fno-trapping-math", "-O3 -fno-trapping-math -fno-math-errno -mprefer-vector-width=512"}

// Asks the compiler to vectorise the plain loops, the maximum included.
#define SIMD_PRAGMA 0  // evo: {0, 1}
// Lanes of the explicit vectors; 1 leaves vectorisation to the compiler.
#define VECTOR 1  // evo: {1, 4, 8, 16}
// Vectors (and so independent maxima) per trip over a row's maximum.
#define UNROLL 1  // evo: {1, 2, 4, 8}
// Groups of four vectors (one full vector of bytes) written per trip.
#define UNROLL_PACK 1  // evo: {1, 2, 4}
// Non-temporal stores of q.
#define STREAM 0  // evo: {0, 1}
// How many rows ahead the passes over a row prefetch; 0 does not.
#define PREFETCH_ROWS 0  // evo: {0, 1, 2}
// Which pass does so. 0: the maximum; 1: the quantisation.
#define PREFETCH_PASS 1  // evo: {0, 1}
// Locality of that prefetch: 3 is the first-level cache, 2 the second, 1 the third.
#define PREFETCH_LEVEL 3  // evo: {1, 2, 3}

#define INLINED __attribute__((always_inline))
#define INLINE static inline INLINED

constexpr float SMALLEST = 0x1p-100f;

// |value| <= 128. Adding 1.5 * 2^23 instead would be fused with the product before it, which has to be rounded first.
INLINE int8_t nearest(float value) { return static_cast<int8_t>(static_cast<int32_t>(std::nearbyint(value))); }

INLINE void prefetch(const float* ahead, int64_t count, int pass) {
    if (!PREFETCH_ROWS || pass != PREFETCH_PASS) return;
    for (int64_t i = 0; i < count; i += 16) __builtin_prefetch(ahead + i, 0, PREFETCH_LEVEL);
}

#if VECTOR > 1

typedef float vec __attribute__((vector_size(VECTOR * 4)));
typedef int32_t ivec __attribute__((vector_size(VECTOR * 4)));
typedef int8_t bytes __attribute__((vector_size(VECTOR)));
typedef int8_t loose_bytes __attribute__((vector_size(VECTOR), aligned(1), may_alias));
typedef float loose __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));

INLINE vec load(const float* p) { return *reinterpret_cast<const loose*>(p); }
INLINE vec magnitude(vec v) { return (vec)((ivec)v & 0x7fffffff); }
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

INLINE ivec nearest(vec v) {
#if VECTOR == 16 && defined(__AVX512F__)
    return (ivec)_mm512_cvtps_epi32((__m512)v);
#elif VECTOR == 8 && defined(__AVX__)
    return (ivec)_mm256_cvtps_epi32((__m256)v);
#elif VECTOR == 4 && defined(__x86_64__)
    return (ivec)_mm_cvtps_epi32((__m128)v);
#else
    for (int lane = 0; lane < VECTOR; ++lane) v[lane] = std::nearbyint(v[lane]);
    return __builtin_convertvector(v, ivec);
#endif
}

// Sixteen (AVX-512), eight or four integers as bytes.
INLINE bytes packed(ivec v) {
#if VECTOR == 16 && defined(__AVX512F__)
    return (bytes)_mm512_cvtepi32_epi8((__m512i)v);
#else
    return __builtin_convertvector(v, bytes);
#endif
}

// Four vectors' worth of bytes, at once: 4 * VECTOR of them.
INLINE void quantise_four(const float* x, int8_t* q, float inverse, [[maybe_unused]] bool aligned) {
    const auto part = [=](int k) INLINED { return nearest(load(x + k * VECTOR) * inverse); };
#if VECTOR == 16 && defined(__AVX512BW__)
    // packs work within 128-bit lanes: the permutation puts groups of four back into order
    const __m512i low = _mm512_packs_epi32((__m512i)part(0), (__m512i)part(1)), high = _mm512_packs_epi32((__m512i)part(2), (__m512i)part(3));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i all = _mm512_permutexvar_epi32(order, _mm512_packs_epi16(low, high));
    if (STREAM && aligned) return _mm512_stream_si512(reinterpret_cast<__m512i*>(q), all);
    _mm512_storeu_si512(q, all);
#elif VECTOR == 8 && defined(__AVX2__)
    const __m256i low = _mm256_packs_epi32((__m256i)part(0), (__m256i)part(1)), high = _mm256_packs_epi32((__m256i)part(2), (__m256i)part(3));
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    const __m256i all = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
    if (STREAM && aligned) return _mm256_stream_si256(reinterpret_cast<__m256i*>(q), all);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(q), all);
#elif VECTOR == 4 && defined(__x86_64__)
    const __m128i low = _mm_packs_epi32((__m128i)part(0), (__m128i)part(1)), high = _mm_packs_epi32((__m128i)part(2), (__m128i)part(3));
    const __m128i all = _mm_packs_epi16(low, high);
    if (STREAM && aligned) return _mm_stream_si128(reinterpret_cast<__m128i*>(q), all);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q), all);
#else
    for (int k = 0; k < 4; ++k) *reinterpret_cast<loose_bytes*>(q + k * VECTOR) = packed(part(k));
#endif
}

#endif

INLINE float row_largest(const float* x, int64_t n, const float* ahead) {
    float best = 0.0f;
    int64_t i = 0;
#if VECTOR > 1
    vec lanes[UNROLL] = {};
    const auto look = [&](int64_t at, int u) INLINED {
        prefetch(ahead + at, VECTOR, 0);
        lanes[u] = larger(lanes[u], magnitude(load(x + at)));
    };
    for (; i + VECTOR * UNROLL <= n; i += VECTOR * UNROLL)
#pragma GCC unroll 8
        for (int u = 0; u < UNROLL; ++u) look(i + u * VECTOR, u);
    for (; i + VECTOR <= n; i += VECTOR) look(i, 0);
    for (const vec& each : lanes) lanes[0] = larger(lanes[0], each);
    best = across(lanes[0], [](float a, float b) INLINED { return a > b ? a : b; });
#else
    prefetch(ahead, n, 0);
#endif
#if SIMD_PRAGMA
#pragma omp simd reduction(max : best)
#endif
    for (int64_t j = i; j < n; ++j) {
        const float value = std::fabs(x[j]);
        best = value > best ? value : best;
    }
    return best;
}

INLINE void quantise(const float* __restrict x, int8_t* __restrict q, int64_t n, float inverse, const float* ahead) {
    int64_t i = 0;
#if VECTOR > 1
    const int64_t past = static_cast<int64_t>(reinterpret_cast<uintptr_t>(q) % (4 * VECTOR));
    for (const int64_t head = STREAM && past ? std::min<int64_t>(n, 4 * VECTOR - past) : 0; i < head; ++i) q[i] = nearest(x[i] * inverse);
    for (; i + 4 * VECTOR * UNROLL_PACK <= n; i += 4 * VECTOR * UNROLL_PACK)
#pragma GCC unroll 4
        for (int u = 0; u < UNROLL_PACK; ++u) {
            prefetch(ahead + i + 4 * VECTOR * u, 4 * VECTOR, 1);
            quantise_four(x + i + 4 * VECTOR * u, q + i + 4 * VECTOR * u, inverse, true);
        }
    for (; i + VECTOR <= n; i += VECTOR) *reinterpret_cast<loose_bytes*>(q + i) = packed(nearest(load(x + i) * inverse));
#else
    prefetch(ahead, n, 1);
#endif
#if SIMD_PRAGMA
#pragma omp simd
#endif
    for (int64_t j = i; j < n; ++j) q[j] = nearest(x[j] * inverse);
}

extern "C" void kernel(const float* x, int8_t* q, float* scale, void*, int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < rows; ++r) {
        const float* ahead = x + std::min<int64_t>(r + PREFETCH_ROWS, rows - 1) * cols;
        const float largest = row_largest(x + r * cols, cols, ahead);
        scale[r] = largest / 127.0f;
        quantise(x + r * cols, q + r * cols, cols, largest >= SMALLEST ? 127.0f / largest : 0.0f, ahead);
    }
#if STREAM && defined(__x86_64__)
    _mm_sfence();
#endif
}
