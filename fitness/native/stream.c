/* Passes over shared buffers: streaming copy, poison, guard zones, checksums. Nothing here allocates or prints. */

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define LINE 64 /* bytes of a cache line: non-temporal stores are worth it only where they fill whole ones */

/* Stores one cache line past the caches: a freshly filled buffer must not be warm in them. `to` is 64-byte aligned. */
static inline void stream_line(unsigned char *to, const unsigned char *from) {
#if defined(__AVX512F__)
    _mm512_stream_si512((void *)to, _mm512_loadu_si512((const void *)from));
#elif defined(__AVX__)
    _mm256_stream_si256((__m256i *)to, _mm256_loadu_si256((const __m256i *)from));
    _mm256_stream_si256((__m256i *)(to + 32), _mm256_loadu_si256((const __m256i *)(from + 32)));
#elif defined(__x86_64__)
    for (int i = 0; i < LINE; i += 16)
        _mm_stream_si128((__m128i *)(to + i), _mm_loadu_si128((const __m128i *)(from + i)));
#else
    memcpy(to, from, LINE);
#endif
}

static inline void stream_fence(void) {
#if defined(__x86_64__)
    _mm_sfence();
#endif
}

static size_t bytes_to_line(const unsigned char *at, size_t bytes) {
    size_t head = (size_t)(-(uintptr_t)at) % LINE;
    return head < bytes ? head : bytes;
}

void evo_copy(unsigned char *to, const unsigned char *from, size_t bytes) {
    size_t at = bytes_to_line(to, bytes);
    memcpy(to, from, at);
    for (; at + LINE <= bytes; at += LINE)
        stream_line(to + at, from + at);
    memcpy(to + at, from + at, bytes - at);
    stream_fence();
}

/* Fills with an 8-byte pattern whose period divides 8; `to` is aligned to its own element. */
void evo_fill(unsigned char *to, uint64_t pattern, size_t bytes) {
    unsigned char line[2 * LINE];
    for (size_t i = 0; i < sizeof line; i += sizeof pattern)
        memcpy(line + i, &pattern, sizeof pattern);
    size_t at = bytes_to_line(to, bytes);
    memcpy(to, line, at);
    const unsigned char *phase = line + at % sizeof pattern;
    for (; at + LINE <= bytes; at += LINE)
        stream_line(to + at, phase);
    memcpy(to + at, phase, bytes - at);
    stream_fence();
}

/* Elements of `width` bytes that equal the pattern. */
#define COUNT(T)                                                \
    do {                                                        \
        const T *values = (const T *)from, wanted = (T)pattern; \
        for (int64_t i = 0; i < count; i++)                     \
            found += values[i] == wanted;                       \
    } while (0)

int64_t evo_count(const void *from, uint64_t pattern, int64_t count, int width) {
    int64_t found = 0;
    switch (width) {
    case 1: COUNT(uint8_t); break;
    case 2: COUNT(uint16_t); break;
    case 4: COUNT(uint32_t); break;
    default: COUNT(uint64_t);
    }
    return found;
}

/* Elements that differ, bit by bit; *first is the first of them or -1. */
#define DIFFER(T)                                                  \
    do {                                                           \
        const T *left = (const T *)a, *right = (const T *)b;       \
        for (int64_t at = 0; at < count; at += 4096) {             \
            int64_t end = at + 4096 < count ? at + 4096 : count;   \
            int64_t here = 0;                                      \
            for (int64_t i = at; i < end; i++)                     \
                here += left[i] != right[i];                       \
            for (int64_t i = at; here && *first < 0 && i < end; i++) \
                if (left[i] != right[i])                           \
                    *first = i;                                    \
            differing += here;                                     \
        }                                                          \
    } while (0)

int64_t evo_differ(const void *a, const void *b, int64_t count, int width, int64_t *first) {
    int64_t differing = 0;
    *first = -1;
    switch (width) {
    case 1: DIFFER(uint8_t); break;
    case 2: DIFFER(uint16_t); break;
    case 4: DIFFER(uint32_t); break;
    default: DIFFER(uint64_t);
    }
    return differing;
}

/* splitmix64: each word of a guard zone depends on a secret key and on its place, so no kernel can restore what it overwrote. */
static inline uint64_t guard_word(uint64_t key, uint64_t place) {
    uint64_t z = key + (place + 1) * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

void evo_guard_fill(unsigned char *to, size_t bytes, uint64_t key) {
    for (size_t at = 0; at < bytes; at += 8) {
        uint64_t word = guard_word(key, at / 8);
        memcpy(to + at, &word, bytes - at < 8 ? bytes - at : 8);
    }
}

/* Offset of the first byte that is not as filled, or -1. */
int64_t evo_guard_check(const unsigned char *from, size_t bytes, uint64_t key) {
    for (size_t at = 0; at < bytes; at += 8) {
        uint64_t word = guard_word(key, at / 8);
        size_t length = bytes - at < 8 ? bytes - at : 8;
        if (memcmp(from + at, &word, length) == 0)
            continue;
        for (size_t i = 0; i < length; i++)
            if (from[at + i] != ((const unsigned char *)&word)[i])
                return (int64_t)(at + i);
    }
    return -1;
}

/* Keyed 64-bit checksum over a buffer that a kernel must not have changed. Eight independent lanes keep the multiplier busy. */
uint64_t evo_checksum(const unsigned char *from, size_t bytes, uint64_t key) {
    uint64_t lane[8];
    for (int i = 0; i < 8; i++)
        lane[i] = guard_word(key, (uint64_t)i);
    size_t at = 0;
    for (; at + LINE <= bytes; at += LINE)
        for (int i = 0; i < 8; i++) {
            uint64_t word;
            memcpy(&word, from + at + 8 * i, 8);
            word = (lane[i] ^ word) * UINT64_C(0x9FB21C651E98DF25);
            lane[i] = word ^ (word >> 32);
        }
    uint64_t total = key ^ bytes;
    for (int i = 0; i < 8; i++)
        total = guard_word(total ^ lane[i], (uint64_t)i);
    for (; at < bytes; at++)
        total = guard_word(total ^ from[at], at);
    return total;
}
