// Histogram of floats: counts[clamp(floor(16 v) + 128, 0, 255)] += 1 for every v of x.
//
// As it stands this is the plain kernel: one loop, one table. The tunables below reach several tables (equal neighbours do
// not wait for each other), bin numbers computed by vectors, and prefetch.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define EVO_FLAGS "-O3"  // evo: {"-O2", "-O3", "-O3 -fno-trapping-math", "-O3 -fno-trapping-math -funroll-loops", "-O3 -fno-trapping-math -mprefer-vector-width=512"}

// 0: bin number and count, element by element; 1: bin numbers of a tile into the workspace, then their counts;
// 2: bin numbers of VECTOR elements in registers, packed to bytes, counted from there.
#define ALGORITHM 0  // evo: {0, 1, 2}
// Tables that take turns.
#define TABLES 1  // evo: {1, 2, 4, 8, 16}
// How a number gets to its table. 0: tables one after the other; 1: tables side by side, the counts of a bin in one cache line.
#define INTERLEAVED 0  // evo: {0, 1}
// Elements of a tile of bin numbers.
#define TILE 2048  // evo: {256, 512, 1024, 2048, 4096, 8192}
// Whether bin numbers are kept as bytes, or as 32-bit integers.
#define BYTES 0  // evo: {0, 1}
// Lanes of a vector of bin numbers.
#define VECTOR 8  // evo: {4, 8, 16}
// Bytes of the words in which bin numbers leave a vector.
#define WORD 4  // evo: {4, 8}
// Elements counted per trip.
#define UNROLL 1  // evo: {1, 2, 4, 8, 16}
// evo: require UNROLL * TABLES <= 64
// How many floats ahead x is prefetched; 0 leaves that to the hardware.
#define PREFETCH 0  // evo: {0, 256, 512, 1024, 2048}

#define INLINED __attribute__((always_inline))
#define INLINE static inline INLINED

constexpr int BINS = 256;

INLINE int32_t bin(float value) {
    const float scaled = std::floor(value * 16.0f);
    const float low = scaled < -128.0f ? -128.0f : scaled;
    return static_cast<int32_t>(low > 127.0f ? 127.0f : low) + 128;
}

struct Tables {
    int32_t count[TABLES * BINS];

    INLINED void add(int table, uint32_t number) {
        ++count[INTERLEAVED ? number * TABLES + static_cast<uint32_t>(table) : static_cast<uint32_t>(table) * BINS + number];
    }
    void sum_into(int32_t* counts) const {
        for (int b = 0; b < BINS; ++b) {
            int32_t sum = 0;
            for (int t = 0; t < TABLES; ++t) sum += count[INTERLEAVED ? b * TABLES + t : t * BINS + b];
            counts[b] = sum;
        }
    }
};

#if BYTES
typedef uint8_t Number;
#else
typedef int32_t Number;
#endif

extern "C" size_t workspace(int64_t) { return sizeof(Tables) + TILE * sizeof(Number); }

INLINE void prefetch(const float* x, int64_t count) {
    if (!PREFETCH) return;
    for (int64_t i = 0; i < count; i += 16) __builtin_prefetch(x + PREFETCH + i, 0, 3);
}

#if ALGORITHM == 1

INLINE void by_tiles(const float* __restrict x, int64_t n, Tables& tables, Number* __restrict numbers) {
    for (int64_t start = 0; start < n; start += TILE) {
        const int64_t width = std::min<int64_t>(TILE, n - start);
        prefetch(x + start, width);
        for (int64_t i = 0; i < width; ++i) numbers[i] = static_cast<Number>(bin(x[start + i]));
        int64_t i = 0;
        for (; i + UNROLL * TABLES <= width; i += UNROLL * TABLES)
#pragma GCC unroll 64
            for (int u = 0; u < UNROLL * TABLES; ++u) tables.add(u % TABLES, static_cast<uint32_t>(numbers[i + u]));
        for (; i < width; ++i) tables.add(0, static_cast<uint32_t>(numbers[i]));
    }
}

#elif ALGORITHM == 2

typedef float vec __attribute__((vector_size(VECTOR * 4)));
typedef int32_t ivec __attribute__((vector_size(VECTOR * 4)));
typedef uint8_t bytes __attribute__((vector_size(VECTOR)));
typedef float loose __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));

INLINE bytes bins(const float* x) {
    const vec scaled = *reinterpret_cast<const loose*>(x) * 16.0f;
    // clipped first: then the conversion, which truncates, is of positive numbers only
    const ivec below = scaled < -128.0f, above = scaled > 127.0f;
    vec clipped = (vec)(((ivec)(vec{} - 128.0f) & below) | ((ivec)scaled & ~below));
    clipped = (vec)(((ivec)(vec{} + 127.0f) & above) | ((ivec)clipped & ~above));
    const ivec whole = __builtin_convertvector(clipped, ivec);
    const ivec number = whole + (__builtin_convertvector(whole, vec) > clipped) + 128;  // a comparison is -1 where it holds
#if VECTOR == 16 && defined(__AVX512F__)
    return (bytes)_mm512_cvtepi32_epi8((__m512i)number);
#else
    return __builtin_convertvector(number, bytes);
#endif
}

constexpr int BYTES_OF_WORD = std::min(WORD, VECTOR);

INLINE void by_vectors(const float* x, int64_t n, Tables& tables) {
    int64_t i = 0;
    for (; i + VECTOR * UNROLL <= n; i += VECTOR * UNROLL) {
        bytes numbers[UNROLL];
        prefetch(x + i, VECTOR * UNROLL);
#pragma GCC unroll 16
        for (int u = 0; u < UNROLL; ++u) numbers[u] = bins(x + i + u * VECTOR);
#pragma GCC unroll 16
        for (int u = 0; u < UNROLL; ++u)
#pragma GCC unroll 16
            for (int at = 0; at < VECTOR; at += BYTES_OF_WORD) {
                uint64_t word = 0;
                std::memcpy(&word, reinterpret_cast<const uint8_t*>(&numbers[u]) + at, BYTES_OF_WORD);
#pragma GCC unroll 8
                for (int lane = 0; lane < BYTES_OF_WORD; ++lane)
                    tables.add((at + lane + u * VECTOR) % TABLES, static_cast<uint32_t>(word >> (8 * lane) & 255));
            }
    }
    for (; i < n; ++i) tables.add(0, static_cast<uint32_t>(bin(x[i])));
}

#else

INLINE void by_element(const float* x, int64_t n, Tables& tables) {
    int64_t i = 0;
    for (; i + UNROLL * TABLES <= n; i += UNROLL * TABLES) {
        prefetch(x + i, UNROLL * TABLES);
#pragma GCC unroll 64
        for (int u = 0; u < UNROLL * TABLES; ++u) tables.add(u % TABLES, static_cast<uint32_t>(bin(x[i + u])));
    }
    for (; i < n; ++i) tables.add(0, static_cast<uint32_t>(bin(x[i])));
}

#endif

extern "C" void kernel(const float* x, int32_t* counts, void* workspace, int64_t n) {
    Tables& tables = *static_cast<Tables*>(workspace);
    std::memset(&tables, 0, sizeof tables);
#if ALGORITHM == 1
    by_tiles(x, n, tables, reinterpret_cast<Number*>(&tables + 1));
#elif ALGORITHM == 2
    by_vectors(x, n, tables);
#else
    by_element(x, n, tables);
#endif
    tables.sum_into(counts);
}
