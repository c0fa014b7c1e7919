// Causal attention: y[i] = sum over j <= i of softmax(q[i] k[j] / sqrt(width)) v[j], per head, fp32.
//
// As it stands this is the plain kernel: for each query its scores, their softmax, the weighted sum of v. The tunables below
// reach a polynomial exp and tiles of queries by keys with an online softmax, whose two matrix products run in a
// micro-kernel that keeps a block of the result in registers.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define EVO_FLAGS "-O3"  // evo: {"-O2", "-O3", "-O3 -fno-trapping-math", "-O3 -fno-trapping-math -mprefer-vector-width=512"}

// 0: query by query; 1: tiles with an online softmax (Milakov and Gimelshein 2018; Dao and others 2022).
#define ALGORITHM 0  // evo: {0, 1}
// Asks the compiler to vectorise plain loops, sums and maxima included.
#define SIMD_PRAGMA 0  // evo: {0, 1}
// 0: expf of the C library; 1: polynomial; 2: polynomial with the AVX-512 rounding and scaling instructions.
#define EXP 0  // evo: {0, 1, 2}
// Degree of the polynomial on [-ln 2 / 2, ln 2 / 2]: 5 is good to 1.5 ulp, 6 to 1 ulp.
#define DEGREE 6  // evo: {5, 6}
// Lanes of a vector; the micro-kernel's block is BLOCK_ROWS rows by BLOCK_VECTORS vectors.
#define VECTOR 8         // evo: {4, 8, 16}
#define BLOCK_ROWS 4     // evo: {2, 4, 6, 8, 12}
#define BLOCK_VECTORS 2  // evo: {1, 2, 3, 4}
// evo: require BLOCK_ROWS * BLOCK_VECTORS <= 28
// Terms per trip of the micro-kernel.
#define UNROLL 1  // evo: {1, 2, 4}
// Queries and keys of a tile.
#define TILE_QUERIES 32  // evo: {16, 32, 48, 64, 96}
#define TILE_KEYS 128    // evo: {128, 256, 512, 1024}
// Whether the rows of the next tile (or head) are prefetched, one by one between rows of this one. 1: into the
// first-level cache; 2: into the second.
#define PREFETCH 0  // evo: {0, 1, 2}

#define INLINED __attribute__((always_inline))
#define INLINE static inline INLINED

// exp(x) for x <= 0: x = n ln 2 + f with |f| <= ln 2 / 2, exp(f) by a minimax polynomial, 2^n by the exponent's bits.
// Below x = -87 the result stays at 1.6e-38. Truncation of t - 1/2 rounds to nearest since t <= 0.
constexpr float LOG2E = 1.44269504f, LN2_HIGH = 0.693359375f, LN2_LOW = -2.12194440e-4f, LOWEST = -87.0f;
constexpr float MINUS_INFINITY = -std::numeric_limits<float>::infinity();

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
    const float p = exp_near_zero((clipped - k * LN2_HIGH) - k * LN2_LOW);
    return __builtin_bit_cast(float, __builtin_bit_cast(int32_t, p) + n * (1 << 23));
#endif
}

#if ALGORITHM == 0

extern "C" size_t workspace(int64_t, int64_t length, int64_t) { return static_cast<size_t>(length) * sizeof(float); }

static void attend(const float* q, const float* k, const float* v, float* y, float* __restrict weight, int64_t length, int64_t width) {
    const float scale = 1.0f / std::sqrt(static_cast<float>(width));
    for (int64_t i = 0; i < length; ++i) {
        float top = MINUS_INFINITY, sum = 0.0f;
        for (int64_t j = 0; j <= i; ++j) {
            float score = 0.0f;
#if SIMD_PRAGMA
#pragma omp simd reduction(+ : score)
#endif
            for (int64_t d = 0; d < width; ++d) score += q[i * width + d] * k[j * width + d];
            weight[j] = score * scale;
            top = std::max(top, weight[j]);
        }
#if SIMD_PRAGMA
#pragma omp simd reduction(+ : sum)
#endif
        for (int64_t j = 0; j <= i; ++j) {
            weight[j] = exp1(weight[j] - top);
            sum += weight[j];
        }
        float* __restrict out = y + i * width;
        std::fill(out, out + width, 0.0f);
        for (int64_t j = 0; j <= i; ++j)
            for (int64_t d = 0; d < width; ++d) out[d] += weight[j] / sum * v[j * width + d];
    }
}

#else

typedef float vec __attribute__((vector_size(VECTOR * 4)));
typedef int32_t ivec __attribute__((vector_size(VECTOR * 4)));
typedef float loose __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));

constexpr int64_t up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }
constexpr int64_t WIDTH = int64_t{BLOCK_VECTORS} * VECTOR, QUERIES = std::max(1, TILE_QUERIES / BLOCK_ROWS) * BLOCK_ROWS;
constexpr int64_t KEYS = up(TILE_KEYS, WIDTH);

INLINE vec load(const float* p) { return *reinterpret_cast<const loose*>(p); }
INLINE void store(float* p, vec value) { *reinterpret_cast<loose*>(p) = value; }
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

// The sum or maximum of all lanes, by halves.
template <class Operation>
INLINE float across(vec v, Operation both) {
#if VECTOR == 16
    v = both(v, __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7));
    v = both(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11));
    v = both(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13));
    v = both(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
#elif VECTOR == 8
    v = both(v, __builtin_shufflevector(v, v, 4, 5, 6, 7, 0, 1, 2, 3));
    v = both(v, __builtin_shufflevector(v, v, 2, 3, 0, 1, 6, 7, 4, 5));
    v = both(v, __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6));
#else
    v = both(v, __builtin_shufflevector(v, v, 2, 3, 0, 1));
    v = both(v, __builtin_shufflevector(v, v, 1, 0, 3, 2));
#endif
    return v[0];
}
INLINE float largest(vec v) {
    return across(v, [](vec a, vec b) INLINED { return larger(a, b); });
}
INLINE float total(vec v) {
    return across(v, [](vec a, vec b) INLINED { return a + b; });
}

INLINE vec expv(vec x) {
#if EXP == 0
    for (int lane = 0; lane < VECTOR; ++lane) x[lane] = std::exp(x[lane]);
    return x;
#else
    const vec clipped = larger(x, vec{} + LOWEST);
#if EXP == 2 && VECTOR == 16 && defined(__AVX512F__)
    const vec k = (vec)_mm512_roundscale_ps((__m512)(clipped * LOG2E), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const vec p = exp_near_zero((clipped - k * LN2_HIGH) - k * LN2_LOW);
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)k);
#else
    const ivec n = __builtin_convertvector(clipped * LOG2E - 0.5f, ivec);
    const vec k = __builtin_convertvector(n, vec);
    const vec p = exp_near_zero((clipped - k * LN2_HIGH) - k * LN2_LOW);
    return (vec)((ivec)p + (n << 23));
#endif
#endif
}

// Parts of the workspace, in floats. Keys are packed in groups of WIDTH, each group contiguous and transposed, padded with zeros;
// values stay where they are unless their rows are no whole vectors.
struct Plan {
    int64_t length, width, padded;  // padded: columns of values with padding
    float *keys, *packed_values, *queries, *scores, *out, *top, *sum;
    const float* values = nullptr;
    int64_t packed = 0;  // keys so far

    INLINED int64_t lay_out(float* base) {
        float* next = base;
        const auto take = [&](int64_t floats) { return (next += up(floats, 16)) - up(floats, 16); };
        keys = take(up(length, WIDTH) * width);
        packed_values = take(padded == width ? 0 : length * padded);
        queries = take(QUERIES * width);
        scores = take(QUERIES * KEYS);
        out = take(QUERIES * padded);
        top = take(QUERIES);
        sum = take(QUERIES);
        return next - base;
    }
    Plan(int64_t rows, int64_t columns) : length(rows), width(columns), padded(up(columns, VECTOR)) {}
};

extern "C" size_t workspace(int64_t, int64_t length, int64_t width) {
    alignas(64) float origin[1];
    return static_cast<size_t>(Plan(length, width).lay_out(origin)) * sizeof(float);
}

#if VECTOR == 4
#define INTERLEAVE(a, b, half) __builtin_shufflevector(a, b, 2 * half, 4 + 2 * half, 2 * half + 1, 5 + 2 * half)
#elif VECTOR == 8
#define INTERLEAVE(a, b, half) __builtin_shufflevector(a, b, 4 * half, 8 + 4 * half, 4 * half + 1, 9 + 4 * half, 4 * half + 2, 10 + 4 * half, 4 * half + 3, 11 + 4 * half)
#else
#define INTERLEAVE(a, b, half) __builtin_shufflevector(a, b, 8 * half, 16 + 8 * half, 8 * half + 1, 17 + 8 * half, 8 * half + 2, 18 + 8 * half, 8 * half + 3, 19 + 8 * half, 8 * half + 4, 20 + 8 * half, 8 * half + 5, 21 + 8 * half, 8 * half + 6, 22 + 8 * half, 8 * half + 7, 23 + 8 * half)
#endif

// VECTOR by VECTOR of `from` (rows `stride` apart) to columns of `to`: interleaving the upper with the lower half of the rows,
// log2(VECTOR) times, transposes a square block.
INLINE void transpose_block(const float* from, int64_t stride, float* to) {
    vec v[VECTOR];
#pragma GCC unroll 16
    for (int i = 0; i < VECTOR; ++i) v[i] = load(from + i * stride);
#pragma GCC unroll 4
    for (int step = 1; step < VECTOR; step *= 2) {
        vec next[VECTOR];
#pragma GCC unroll 8
        for (int i = 0; i < VECTOR / 2; ++i) {
            next[2 * i] = INTERLEAVE(v[i], v[i + VECTOR / 2], 0);
            next[2 * i + 1] = INTERLEAVE(v[i], v[i + VECTOR / 2], 1);
        }
#pragma GCC unroll 16
        for (int i = 0; i < VECTOR; ++i) v[i] = next[i];
    }
#pragma GCC unroll 16
    for (int i = 0; i < VECTOR; ++i) store(to + i * WIDTH, v[i]);
}

// Packs the keys and values before `end` that are not packed yet: as early as the first queries that see them, and no earlier.
static void pack(Plan& p, const float* k, const float* v, int64_t end) {
    const int64_t begin = p.packed;
    for (; p.packed < end; p.packed += VECTOR) {
        const int64_t j = p.packed;
        const int64_t count = std::min<int64_t>(VECTOR, p.length - j);
        float* group = p.keys + j / WIDTH * WIDTH * p.width + j % WIDTH;
        int64_t d = 0;
        for (; count == VECTOR && d + VECTOR <= p.width; d += VECTOR) transpose_block(k + j * p.width + d, p.width, group + d * WIDTH);
        for (; d < p.width; ++d)
            for (int64_t l = 0; l < VECTOR; ++l) group[d * WIDTH + l] = l < count ? k[(j + l) * p.width + d] : 0.0f;
    }
    p.values = v;
    if (p.padded == p.width) return;
    p.values = p.packed_values;
    for (int64_t j = begin; j < std::min(p.packed, p.length); ++j) {
        float* to = p.packed_values + j * p.padded;
        std::fill(to + p.width, to + p.padded, 0.0f);
        std::memcpy(to, v + j * p.width, static_cast<size_t>(p.width) * sizeof(float));
    }
}

// BLOCK_ROWS by COUNT vectors of c: c = a b or, with ADD, c += a b.
template <bool ADD, int COUNT>
INLINE void micro_kernel(const float* a, int64_t a_stride, const float* b, int64_t b_stride, int64_t terms, float* c, int64_t c_stride) {
    vec sums[BLOCK_ROWS][COUNT] = {};
    const auto term = [&](int64_t t) INLINED {
        vec row[COUNT];
#pragma GCC unroll 4
        for (int l = 0; l < COUNT; ++l) row[l] = load(b + t * b_stride + l * VECTOR);
#pragma GCC unroll 12
        for (int r = 0; r < BLOCK_ROWS; ++r) {
            const float factor = a[r * a_stride + t];
#pragma GCC unroll 4
            for (int l = 0; l < COUNT; ++l) sums[r][l] += factor * row[l];
        }
    };
    int64_t t = 0;
    for (; t + UNROLL <= terms; t += UNROLL)
#pragma GCC unroll 4
        for (int u = 0; u < UNROLL; ++u) term(t + u);
    for (; t < terms; ++t) term(t);
#pragma GCC unroll 12
    for (int r = 0; r < BLOCK_ROWS; ++r)
#pragma GCC unroll 4
        for (int l = 0; l < COUNT; ++l) {
            float* to = c + r * c_stride + l * VECTOR;
            store(to, ADD ? load(to) + sums[r][l] : sums[r][l]);
        }
}

// BLOCK_ROWS rows of `out` plus weights times values, in columns from d on: BLOCK_VECTORS vectors of them, or what is left.
template <int COUNT>
static void add_values(const Plan& p, int64_t r, int64_t key, int64_t terms, int64_t d) {
    if constexpr (COUNT > 1)
        if (d + COUNT * VECTOR > p.padded) return add_values<COUNT - 1>(p, r, key, terms, d);
    micro_kernel<true, COUNT>(p.scores + r * KEYS, KEYS, p.values + key * p.padded + d, p.padded, terms, p.out + r * p.padded + d, p.padded);
}

// Turns row r's scores into weights relative to its new maximum, rescales what was summed before. `seen` scores count.
INLINE void soften(const Plan& p, int64_t r, int64_t seen, int64_t keys) {
    float* s = p.scores + r * KEYS;
    if (seen <= 0) return void(std::fill(s, s + keys, 0.0f));
    const int64_t whole = up(seen, VECTOR);
    std::fill(s + seen, s + whole, MINUS_INFINITY);
    vec best[4], sums[2] = {};
    for (vec& each : best) each = load(s);
    int64_t j = VECTOR;
    for (; j + 4 * VECTOR <= whole; j += 4 * VECTOR)
#pragma GCC unroll 4
        for (int u = 0; u < 4; ++u) best[u] = larger(best[u], load(s + j + u * VECTOR));
    for (; j < whole; j += VECTOR) best[0] = larger(best[0], load(s + j));
    const float top = std::max(p.top[r], largest(larger(larger(best[0], best[1]), larger(best[2], best[3]))));
    const auto weigh = [&](int64_t at, int u) INLINED {
        const vec weight = expv(load(s + at) - top);
        store(s + at, weight);
        sums[u] += weight;
    };
    for (j = 0; j + 2 * VECTOR <= whole; j += 2 * VECTOR) weigh(j, 0), weigh(j + VECTOR, 1);
    if (j < whole) weigh(j, 0);
    const float sum = total(sums[0] + sums[1]);
    std::fill(s + seen, s + std::max(whole, keys), 0.0f);
    const float factor = std::exp(p.top[r] - top);
    p.sum[r] = p.sum[r] * factor + sum;
    p.top[r] = top;
    if (factor != 1.0f)
        for (int64_t d = 0; d < p.padded; d += VECTOR) store(p.out + r * p.padded + d, load(p.out + r * p.padded + d) * factor);
}

// Where q, k and v of a head begin, and how many rows of theirs follow, later heads' included.
struct Rows {
    const float *q, *k, *v;
    int64_t count;
};

INLINE void prefetch(const Rows& from, int64_t row, int64_t width) {
    if (!PREFETCH || row >= from.count) return;
    for (int64_t d = 0; d < width; d += 16) {
        __builtin_prefetch(from.q + row * width + d, 0, 4 - PREFETCH);
        __builtin_prefetch(from.k + row * width + d, 0, 4 - PREFETCH);
        __builtin_prefetch(from.v + row * width + d, 0, 4 - PREFETCH);
    }
}

// Queries [first, first + rows) against all keys they see.
static void tile(const Plan& p, const Rows& from, float* y, int64_t first, int64_t rows) {
    const float* q = from.q;
    const float scale = 1.0f / std::sqrt(static_cast<float>(p.width));
    for (int64_t e = 0; e < QUERIES * p.width; ++e) p.queries[e] = e < rows * p.width ? q[first * p.width + e] * scale : 0.0f;
    std::fill(p.out, p.out + QUERIES * p.padded, 0.0f);
    std::fill(p.top, p.top + QUERIES, MINUS_INFINITY);
    std::fill(p.sum, p.sum + QUERIES, 0.0f);
    for (int64_t key = 0; key < first + rows; key += KEYS) {
        const int64_t keys = std::min(KEYS, first + rows - key);
        for (int64_t j = 0; j < keys; j += WIDTH)
            for (int64_t r = std::max<int64_t>(0, (key + j - first) / BLOCK_ROWS * BLOCK_ROWS); r < rows; r += BLOCK_ROWS)
                micro_kernel<false, BLOCK_VECTORS>(p.queries + r * p.width, p.width, p.keys + (key + j) * p.width, WIDTH, p.width,
                                                   p.scores + r * KEYS + j, KEYS);
        for (int64_t r = 0; r < rows; ++r) {
            if (key == 0) prefetch(from, first + QUERIES + r, p.width);
            soften(p, r, std::min(keys, first + r - key + 1), keys);
        }
        for (int64_t d = 0; d < p.padded; d += WIDTH)
            for (int64_t r = 0; r < rows; r += BLOCK_ROWS)
                add_values<BLOCK_VECTORS>(p, r, key, std::min(keys, std::max<int64_t>(0, first + r + BLOCK_ROWS - key)), d);
    }
    for (int64_t r = 0; r < rows; ++r)
        for (int64_t d = 0; d < p.width; ++d) y[(first + r) * p.width + d] = p.out[r * p.padded + d] / p.sum[r];
}

static void attend(const Rows& from, float* y, float* base, int64_t length, int64_t width) {
    Plan p(length, width);
    p.lay_out(base);
    for (int64_t first = 0; first < length; first += QUERIES) {
        const int64_t rows = std::min(QUERIES, length - first);
        pack(p, from.k, from.v, first + rows);
        tile(p, from, y, first, rows);
    }
}

#endif

extern "C" void kernel(const float* q, const float* k, const float* v, float* y, void* workspace, int64_t heads, int64_t length, int64_t width) {
    const int64_t step = length * width;
    for (int64_t h = 0; h < heads; ++h) {
        float* own = static_cast<float*>(workspace);
#if ALGORITHM == 0
        attend(q + h * step, k + h * step, v + h * step, y + h * step, own, length, width);
#else
        attend({q + h * step, k + h * step, v + h * step, (heads - h) * length}, y + h * step, own, length, width);
#endif
    }
}
