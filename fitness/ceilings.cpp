// What one core of this machine can do at most: read, copy, copy with non-temporal stores, gather rows, multiply and add.
// Each loop is unrolled so far that the hardware is the limit; `roofline.py` checks the results for plausibility.

#include <cstdint>
#include <cstddef>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif

typedef float vecf __attribute__((vector_size(BYTES)));
typedef double vecd __attribute__((vector_size(BYTES)));
constexpr int64_t LANES = BYTES / 4;

// Everything before stays before, and memory counts as changed: repetitions cannot be merged.
static inline void fence() { asm volatile("" ::: "memory"); }

static inline void stream(float* to, vecf value) {
#if defined(__AVX512F__)
    _mm512_stream_ps(to, (__m512)value);
#elif defined(__AVX__)
    _mm256_stream_ps(to, (__m256)value);
#elif defined(__x86_64__)
    _mm_stream_ps(to, (__m128)value);
#else
    *reinterpret_cast<vecf*>(to) = value;
#endif
}

// Pointers are aligned to 64 bytes and counts are multiples of 8 vectors.
extern "C" float ceiling_read(const float* x, int64_t count, int64_t repetitions) {
    vecf sums[8] = {};
    for (int64_t r = 0; r < repetitions; ++r) {
        for (int64_t i = 0; i < count; i += 8 * LANES) {
#pragma GCC unroll 8
            for (int u = 0; u < 8; ++u) sums[u] += *reinterpret_cast<const vecf*>(x + i + u * LANES);
        }
        fence();
    }
    float total = 0;
    for (int u = 0; u < 8; ++u)
        for (int lane = 0; lane < LANES; ++lane) total += sums[u][lane];
    return total;
}

extern "C" void ceiling_copy(const float* x, float* y, int64_t count, int64_t repetitions) {
    for (int64_t r = 0; r < repetitions; ++r) {
        for (int64_t i = 0; i < count; i += 4 * LANES) {
            vecf part[4];
#pragma GCC unroll 4
            for (int u = 0; u < 4; ++u) part[u] = *reinterpret_cast<const vecf*>(x + i + u * LANES);
#pragma GCC unroll 4
            for (int u = 0; u < 4; ++u) *reinterpret_cast<vecf*>(y + i + u * LANES) = part[u];
        }
        fence();
    }
}

extern "C" void ceiling_stream(const float* x, float* y, int64_t count, int64_t repetitions) {
    for (int64_t r = 0; r < repetitions; ++r) {
        for (int64_t i = 0; i < count; i += 4 * LANES) {
            vecf part[4];
#pragma GCC unroll 4
            for (int u = 0; u < 4; ++u) part[u] = *reinterpret_cast<const vecf*>(x + i + u * LANES);
#pragma GCC unroll 4
            for (int u = 0; u < 4; ++u) stream(y + i + u * LANES, part[u]);
        }
#if defined(__x86_64__)
        _mm_sfence();
#endif
        fence();
    }
}

// Sums rows of `row` floats (a multiple of 16) picked by `index`; the next rows are asked for ahead, as a good kernel would.
extern "C" float ceiling_gather(const float* table, const int32_t* index, int64_t picks, int64_t row) {
    constexpr int64_t AHEAD = 16;
    vecf sums[4] = {};
    for (int64_t i = 0; i < picks; ++i) {
        if (i + AHEAD < picks) {
            const float* later = table + index[i + AHEAD] * row;
            for (int64_t c = 0; c < row && c < 64; c += 16) __builtin_prefetch(later + c, 0, 3);
        }
        const float* from = table + index[i] * row;
        for (int64_t c = 0; c < row; c += LANES) sums[c / LANES & 3] += *reinterpret_cast<const vecf*>(from + c);
    }
    float total = 0;
    for (int u = 0; u < 4; ++u)
        for (int lane = 0; lane < LANES; ++lane) total += sums[u][lane];
    return total;
}

// CHAINS independent chains a = a·b + c, enough to hide the latency of two units; returns the mean, which tends to c / (1 - b).
template <typename V, int COUNT>
static inline double multiply_add(int64_t steps, double b_, double c_) {
    constexpr int CHAINS = 16;
    using T = decltype(V{}[0] + 0);
    V a[CHAINS];
    const V b = V{} + (T)b_, c = V{} + (T)c_;
#pragma GCC unroll 16
    for (int u = 0; u < CHAINS; ++u) a[u] = V{} + (T)u;
    for (int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 16
        for (int u = 0; u < CHAINS; ++u) a[u] = a[u] * b + c;
    }
    double total = 0;
#pragma GCC unroll 16
    for (int u = 0; u < CHAINS; ++u)
        for (int lane = 0; lane < COUNT; ++lane) total += a[u][lane];
    return total / (CHAINS * COUNT);
}

extern "C" int64_t ceiling_fma_flops(int64_t steps, int32_t size) { return steps * 16 * 2 * (BYTES / size); }
extern "C" double ceiling_fma_f32(int64_t steps, double b, double c) { return multiply_add<vecf, BYTES / 4>(steps, b, c); }
extern "C" double ceiling_fma_f64(int64_t steps, double b, double c) { return multiply_add<vecd, BYTES / 8>(steps, b, c); }

// `steps` dependent additions: one a cycle on every core made, so their time is the clock's frequency.
extern "C" int64_t ceiling_cycles(int64_t steps, int64_t x) {
    for (int64_t i = 0; i < steps; i += 16) {
#pragma GCC unroll 16
        for (int u = 0; u < 16; ++u) {
            x += 1;
            asm volatile("" : "+r"(x));
        }
    }
    return x;
}
