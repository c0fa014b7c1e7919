// Gradients of RMS normalisation: with inverse = 1 / sqrt(mean(x^2) + 1e-6) per row,
// dx = inverse (dy gamma - x inverse^2 mean(dy gamma x)) and dgamma = sum over rows of dy x inverse, fp32.
//
// As it stands this is the plain kernel: two loops over each row, dgamma added up in place. The tunables below reach
// explicit vectors, several rows per trip over dgamma, non-temporal stores and prefetch of later rows.

#include <algorithm>
#include <cmath>
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define EVO_FLAGS "-O3"  // evo: {"-O2", "-O3", "-O3 -fno-trapping-math", "-O3 -fno-trapping-math -mprefer-vector-width=512"}

// Asks the compiler to vectorise the plain loops, sums included.
#define SIMD_PRAGMA 0  // evo: {0, 1}
// Lanes of the explicit vectors; 1 leaves vectorisation to the compiler.
#define VECTOR 1  // evo: {1, 4, 8, 16}
// Vectors (and so independent accumulators) per trip over a row's sums.
#define UNROLL 1  // evo: {1, 2, 4, 8}
// Rows whose gradients are written together, so that gamma and dgamma are loaded once for all of them.
#define BLOCK_ROWS 1  // evo: {1, 2, 4, 8}
// Non-temporal stores of dx, where rows are aligned for them.
#define STREAM 0  // evo: {0, 1}
// How many blocks of rows ahead x and dy are prefetched; 0 does not.
#define PREFETCH_BLOCKS 0  // evo: {0, 1, 2}
// Which pass prefetches. 0: the sums; 1: the gradients; 2: x in the sums, dy in the gradients.
#define PREFETCH_PASS 0  // evo: {0, 1, 2}
// Locality of that prefetch: 3 is the first-level cache, 2 the second, 1 the third.
#define PREFETCH_LEVEL 3  // evo: {1, 2, 3}

#define INLINED __attribute__((always_inline))
#define INLINE static inline INLINED

constexpr float EPSILON = 1e-6f;

struct Arrays {
    const float* __restrict x;
    const float* __restrict gamma;
    const float* __restrict dy;
    float* __restrict dx;
    float* __restrict dgamma;
    int64_t rows, cols;
};

// Of one row: dx = inverse * gamma * dy - factor * x.
struct Row {
    float inverse, factor;
};

// Prefetches `count` floats of x and dy at a later place, as far as it is this pass's turn.
INLINE void prefetch(const Arrays& s, int64_t at, int64_t count, bool gradients) {
    if (!PREFETCH_BLOCKS) return;
    const bool x = PREFETCH_PASS == 2 ? !gradients : gradients == (PREFETCH_PASS == 1);
    const bool dy = PREFETCH_PASS == 2 ? gradients : x;
    for (int64_t i = 0; i < count; i += 16) {
        if (x) __builtin_prefetch(s.x + at + i, 0, PREFETCH_LEVEL);
        if (dy) __builtin_prefetch(s.dy + at + i, 0, PREFETCH_LEVEL);
    }
}

#if VECTOR > 1

typedef float vec __attribute__((vector_size(VECTOR * 4)));
typedef float loose __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));

INLINE vec load(const float* p) { return *reinterpret_cast<const loose*>(p); }

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

INLINE float total(vec (&parts)[UNROLL]) {
    for (int u = 1; u < UNROLL; ++u) parts[0] += parts[u];
    return across(parts[0], [](float a, float b) INLINED { return a + b; });
}

#endif

// The two sums of row r. `ahead` is a row later, to be prefetched.
INLINE Row sums(const Arrays& s, int64_t r, int64_t ahead) {
    const float *x = s.x + r * s.cols, *dy = s.dy + r * s.cols, *gamma = s.gamma;
    const int64_t n = s.cols;
    float squares = 0.0f, dot = 0.0f;
    int64_t i = 0;
#if VECTOR > 1
    vec all_squares[UNROLL] = {}, all_dots[UNROLL] = {};
    const auto add = [&](int64_t at, int u) INLINED {
        prefetch(s, ahead * n + at, VECTOR, false);
        const vec value = load(x + at);
        all_squares[u] += value * value;
        all_dots[u] += load(dy + at) * load(gamma + at) * value;
    };
    for (; i + VECTOR * UNROLL <= n; i += VECTOR * UNROLL)
#pragma GCC unroll 8
        for (int u = 0; u < UNROLL; ++u) add(i + u * VECTOR, u);
    for (; i + VECTOR <= n; i += VECTOR) add(i, 0);
    squares = total(all_squares);
    dot = total(all_dots);
#else
    prefetch(s, ahead * n, n, false);
#endif
#if SIMD_PRAGMA
#pragma omp simd reduction(+ : squares, dot)
#endif
    for (int64_t j = i; j < n; ++j) {
        squares += x[j] * x[j];
        dot += dy[j] * gamma[j] * x[j];
    }
    const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(n) + EPSILON);
    return {inverse, inverse * inverse * inverse * (dot / static_cast<float>(n))};
}

// dx of COUNT rows from r on, and their part of dgamma.
template <int COUNT, bool ALIGNED>
INLINE void gradients(const Arrays& s, int64_t r, const Row* row, int64_t ahead) {
    const float *x = s.x + r * s.cols, *dy = s.dy + r * s.cols;
    float* dx = s.dx + r * s.cols;
    const int64_t n = s.cols;
    int64_t i = 0;
#if VECTOR > 1
    for (; i + VECTOR <= n; i += VECTOR) {
        const vec gamma = load(s.gamma + i);
        vec sum = load(s.dgamma + i);
#pragma GCC unroll 8
        for (int k = 0; k < COUNT; ++k) {
            prefetch(s, (ahead + k) * n + i, VECTOR, true);
            const vec value = load(x + k * n + i), gradient = load(dy + k * n + i) * row[k].inverse;
            sum += gradient * value;
            store<ALIGNED>(dx + k * n + i, gradient * gamma - value * row[k].factor);
        }
        *reinterpret_cast<loose*>(s.dgamma + i) = sum;
    }
#else
    for (int k = 0; k < COUNT; ++k) prefetch(s, (ahead + k) * n, n, true);
#endif
#if SIMD_PRAGMA
#pragma omp simd
#endif
    for (int64_t j = i; j < n; ++j) {
        float sum = s.dgamma[j];
#pragma GCC unroll 8
        for (int k = 0; k < COUNT; ++k) {
            const float value = x[k * n + j], gradient = dy[k * n + j] * row[k].inverse;
            sum += gradient * value;
            dx[k * n + j] = gradient * s.gamma[j] - value * row[k].factor;
        }
        s.dgamma[j] = sum;
    }
}

template <int COUNT>
INLINE void block(const Arrays& s, int64_t r) {
    Row row[COUNT];
    const int64_t ahead = std::max<int64_t>(0, std::min<int64_t>(r + COUNT * PREFETCH_BLOCKS, s.rows - COUNT));
    for (int k = 0; k < COUNT; ++k) row[k] = sums(s, r + k, ahead + k);
    if (STREAM && VECTOR > 1 && s.cols % VECTOR == 0)
        gradients<COUNT, true>(s, r, row, ahead);
    else
        gradients<COUNT, false>(s, r, row, ahead);
}

extern "C" void kernel(const float* x, const float* gamma, const float* dy, float* dx, float* dgamma, void*, int64_t rows, int64_t cols) {
    const Arrays s{x, gamma, dy, dx, dgamma, rows, cols};
    std::fill(dgamma, dgamma + cols, 0.0f);
    int64_t r = 0;
    for (; r + BLOCK_ROWS <= rows; r += BLOCK_ROWS) block<BLOCK_ROWS>(s, r);
    for (; r < rows; ++r) block<1>(s, r);
#if STREAM && defined(__x86_64__)
    _mm_sfence();
#endif
}
