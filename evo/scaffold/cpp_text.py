"""The parts of a derived kernel that are the same in all: tunables, exp and what is made of it, streaming stores."""

from __future__ import annotations

__all__ = ["EXP_DOUBLE", "EXP_FLOAT", "EXP_TUNABLE", "EXP_USERS", "FLAGS", "FUNCTIONS", "HEAD", "PUT", "STREAM_TUNABLES"]

FLAGS = (
    '"-O2", "-O3", "-O3 -fno-math-errno -fno-trapping-math", "-O3 -fno-math-errno -fno-trapping-math -mprefer-vector-width=512", '
    '"-O3 -ffast-math", "-O3 -ffast-math -mprefer-vector-width=512"'
)
HEAD = """\
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define EVO_FLAGS "-O3"  // evo: {FLAGS}
// Asks the compiler to vectorise the inner loops, sums included.
#define SIMD 0  // evo: {0, 1}
"""
EXP_TUNABLE = """\
// 0: exp of the C library; 1: a polynomial that can be vectorised, good to 1 ulp.
#define EXP 0  // evo: {0, 1}
"""
STREAM_TUNABLES = """\
// Elements computed into a small buffer before they are written out; 0 writes them one by one.
#define TILE 0  // evo: {0, 256, 1024, 4096}
// Non-temporal stores from that buffer: results go to memory without being read into the cache first.
#define STREAM 0  // evo: {0, 1}
// evo: require STREAM == 0 or TILE > 0
"""
FUNCTIONS = """\

#define INLINE static inline __attribute__((always_inline))

typedef {real} real;

// NaNs go through, as NumPy has it.
INLINE real larger(real a, real b) {{ return a > b || a != a ? a : b; }}
INLINE real smaller(real a, real b) {{ return a < b || a != a ? a : b; }}
INLINE real sign(real x) {{ return static_cast<real>((x > 0) - (x < 0)); }}
"""
EXP_FLOAT = """
// exp(x) = 2^n exp(f) with |f| <= ln 2 / 2: a minimax polynomial, and 2^n by the exponent's bits.
INLINE real exponential(real x) {
#if EXP == 0
    return std::exp(x);
#else
    float clipped = x < -87.3f ? -87.3f : x;
    clipped = clipped > 88.7f ? 88.7f : clipped;
    const float k = __builtin_floorf(clipped * 1.44269504f + 0.5f);
    const int32_t n = static_cast<int32_t>(k);
    const float f = (clipped - k * 0.693359375f) + k * 2.12194440e-4f;
    const float q = 4.99999935e-1f + f * (1.66665205e-1f + f * (4.16683855e-2f + f * (8.36873655e-3f + f * 1.38148491e-3f)));
    const float p = 1.0f + f * (1.0f + f * q);
    const int32_t half = n >> 1;
    const float y = p * __builtin_bit_cast(float, (half + 127) << 23) * __builtin_bit_cast(float, (n - half + 127) << 23);
    const float bounded = x > 88.72283f ? std::numeric_limits<float>::infinity() : y;
    return x != x ? x : bounded;
#endif
}
"""
EXP_DOUBLE = """
INLINE real exponential(real x) { return std::exp(x); }
"""
EXP_USERS = """\
INLINE real logistic(real x) { return 1 / (1 + exponential(-x)); }
INLINE real hyperbolic_tangent(real x) {
#if EXP == 0
    return std::tanh(x);
#else
    const real a = std::fabs(x), t = a < real(0.25) ? a * a : exponential(-2 * a);
    // near 0 the continued fraction, which does not cancel
    const real small = a * (1 + t * (t + 105) / 945) / (1 + t * (420 + 15 * t) / 945), large = (1 - t) / (1 + t);
    const real y = a < real(0.25) ? small : large;
    return x < 0 ? -y : x != x ? x : y;
#endif
}
"""
PUT = """
// Writes n results from a buffer to y.
INLINE void put(real* y, const real* buffer, int64_t n) {
    int64_t i = 0;
#if STREAM && defined(__AVX512F__)
    constexpr int64_t LANES = 64 / sizeof(real);
    for (; i < n && reinterpret_cast<uintptr_t>(y + i) % 64; ++i) y[i] = buffer[i];
    for (; i + LANES <= n; i += LANES) _mm512_stream_si512(reinterpret_cast<__m512i*>(y + i), _mm512_loadu_si512(buffer + i));
#elif STREAM && defined(__x86_64__)
    constexpr int64_t LANES = 16 / sizeof(real);
    for (; i < n && reinterpret_cast<uintptr_t>(y + i) % 16; ++i) y[i] = buffer[i];
    for (; i + LANES <= n; i += LANES)
        _mm_stream_si128(reinterpret_cast<__m128i*>(y + i), _mm_loadu_si128(reinterpret_cast<const __m128i*>(buffer + i)));
#endif
    for (; i < n; ++i) y[i] = buffer[i];
}
"""
