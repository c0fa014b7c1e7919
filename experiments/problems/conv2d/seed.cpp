// Convolution of images (NCHW) with 3 by 3 filters, stride 1, zero padding 1, fp32.
//
// As it stands this is the plain kernel: each tap of each filter adds a scaled row of x to a row of y. The tunables below
// reach the naive loop over outputs, and a micro-kernel that keeps a block of y (outputs by pixels) in registers over a
// padded copy of the image, its pixels taken in one line so that a vector may go across the ends of rows.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#define EVO_FLAGS "-O3"  // evo: {"-O2", "-O3", "-O3 -mprefer-vector-width=512"}

// 0: rows of y, tap by tap; 1: one output after another; 2: blocks of y in registers.
#define ALGORITHM 0  // evo: {0, 1, 2}
// Lanes of a vector of pixels; a block is BLOCK_OUTPUTS outputs by BLOCK_VECTORS vectors.
#define VECTOR 8         // evo: {4, 8, 16}
#define BLOCK_OUTPUTS 4  // evo: {1, 2, 4, 6, 8, 12}
#define BLOCK_VECTORS 2  // evo: {1, 2, 3, 4}
// evo: require BLOCK_OUTPUTS * BLOCK_VECTORS <= 28
// Pixels that all outputs go over before the next pixels.
#define TILE_PIXELS 256  // evo: {64, 128, 256, 512, 1024, 4096}
// Whether the filters of a block are copied side by side first.
#define PACK_FILTERS 0  // evo: {0, 1}
// What a block adds up first. 0: all taps of a channel; 1: a row of taps of all channels, then the next row.
#define TAP_ORDER 0  // evo: {0, 1}
// How many channels ahead the image is prefetched; 0 leaves that to the hardware.
#define PREFETCH 0  // evo: {0, 1, 2, 4}

#define INLINED __attribute__((always_inline))
#define INLINE static inline INLINED

struct Sizes {
    int64_t images, channels, height, width, outputs;
};

#if ALGORITHM == 0

static void convolve(const float* x, const float* filters, float* y, const Sizes& s, void*) {
    const int64_t plane = s.height * s.width;
    std::fill(y, y + s.images * s.outputs * plane, 0.0f);
    for (int64_t i = 0; i < s.images; ++i)
        for (int64_t k = 0; k < s.outputs; ++k)
            for (int64_t c = 0; c < s.channels; ++c)
                for (int64_t u = 0; u < 3; ++u)
                    for (int64_t v = 0; v < 3; ++v) {
                        const float tap = filters[((k * s.channels + c) * 3 + u) * 3 + v];
                        for (int64_t r = std::max<int64_t>(0, 1 - u); r < std::min(s.height, s.height + 1 - u); ++r) {
                            const float* __restrict from = x + (i * s.channels + c) * plane + (r + u - 1) * s.width + v - 1;
                            float* __restrict to = y + (i * s.outputs + k) * plane + r * s.width;
                            const int64_t end = std::min(s.width, s.width + 1 - v);
                            for (int64_t column = v == 0; column < end; ++column) to[column] += tap * from[column];
                        }
                    }
}

#elif ALGORITHM == 1

static void convolve(const float* x, const float* filters, float* y, const Sizes& s, void*) {
    const int64_t plane = s.height * s.width;
    for (int64_t i = 0; i < s.images; ++i)
        for (int64_t k = 0; k < s.outputs; ++k)
            for (int64_t r = 0; r < s.height; ++r)
                for (int64_t column = 0; column < s.width; ++column) {
                    float sum = 0.0f;
                    for (int64_t c = 0; c < s.channels; ++c)
                        for (int64_t u = std::max<int64_t>(0, 1 - r); u < std::min<int64_t>(3, s.height + 1 - r); ++u)
                            for (int64_t v = std::max<int64_t>(0, 1 - column); v < std::min<int64_t>(3, s.width + 1 - column); ++v)
                                sum += x[(i * s.channels + c) * plane + (r + u - 1) * s.width + column + v - 1] *
                                       filters[((k * s.channels + c) * 3 + u) * 3 + v];
                    y[(i * s.outputs + k) * plane + r * s.width + column] = sum;
                }
}

#else

typedef float vec __attribute__((vector_size(VECTOR * 4)));
typedef float loose __attribute__((vector_size(VECTOR * 4), aligned(4), may_alias));

constexpr int64_t SPAN = int64_t{BLOCK_VECTORS} * VECTOR, STEP = std::max<int64_t>(TILE_PIXELS / SPAN, 1) * SPAN;

// A padded image has two more rows and columns, and behind each channel room for the last block to read.
struct Padded {
    int64_t stride, plane, pixels;

    explicit Padded(const Sizes& s) : stride(s.width + 2), plane((s.height + 2) * stride + SPAN + 2), pixels(s.height * stride) {}
    int64_t image_floats(const Sizes& s) const { return (s.channels * plane + 15) / 16 * 16; }
};

extern "C" size_t workspace(int64_t images, int64_t channels, int64_t height, int64_t width, int64_t outputs) {
    const Sizes s{images, channels, height, width, outputs};
    const int64_t blocks = (outputs + BLOCK_OUTPUTS - 1) / BLOCK_OUTPUTS;
    return static_cast<size_t>(Padded(s).image_floats(s) + blocks * BLOCK_OUTPUTS * channels * 9) * sizeof(float);
}

static void pad(const float* x, const Sizes& s, const Padded& p, float* to) {
    std::memset(to, 0, static_cast<size_t>(s.channels * p.plane) * sizeof(float));
    for (int64_t c = 0; c < s.channels; ++c)
        for (int64_t r = 0; r < s.height; ++r)
            std::memcpy(to + c * p.plane + (r + 1) * p.stride + 1, x + (c * s.height + r) * s.width, static_cast<size_t>(s.width) * 4);
}

// Filters by block: the taps of a block's outputs side by side. Outputs beyond the last repeat it.
static void pack(const float* filters, const Sizes& s, float* __restrict to) {
    const int64_t taps = s.channels * 9;
    for (int64_t k = 0; k < s.outputs; k += BLOCK_OUTPUTS)
        for (int64_t t = 0; t < taps; ++t)
            for (int64_t o = 0; o < BLOCK_OUTPUTS; ++o) *to++ = filters[std::min(k + o, s.outputs - 1) * taps + t];
}

// One block: pixels [pixel, pixel + SPAN) of `count` outputs. The tap t of output o is filters[offset[o] + t * step].
INLINE void block(const float* image, const float* filters, const int64_t* offset, int64_t step, const Sizes& s, const Padded& p,
                  int64_t pixel, int64_t count, float* y) {
    vec sums[BLOCK_OUTPUTS][BLOCK_VECTORS] = {};
    const auto row_of_taps = [&](int64_t c, int64_t u) INLINED {
        const float* from = image + c * p.plane + pixel + u * p.stride;
        if (PREFETCH)
            for (int64_t l = 0; l < SPAN; l += 16) __builtin_prefetch(from + PREFETCH * p.plane + l, 0, 3);
#pragma GCC unroll 3
        for (int64_t v = 0; v < 3; ++v) {
            vec pixels[BLOCK_VECTORS];
#pragma GCC unroll 4
            for (int l = 0; l < BLOCK_VECTORS; ++l) pixels[l] = *reinterpret_cast<const loose*>(from + v + l * VECTOR);
#pragma GCC unroll 12
            for (int o = 0; o < BLOCK_OUTPUTS; ++o) {
                const float tap = filters[offset[o] + (c * 9 + u * 3 + v) * step];
#pragma GCC unroll 4
                for (int l = 0; l < BLOCK_VECTORS; ++l) sums[o][l] += tap * pixels[l];
            }
        }
    };
    if (TAP_ORDER == 0) {
        for (int64_t c = 0; c < s.channels; ++c)
            for (int64_t u = 0; u < 3; ++u) row_of_taps(c, u);
    } else {
        for (int64_t u = 0; u < 3; ++u)
            for (int64_t c = 0; c < s.channels; ++c) row_of_taps(c, u);
    }
    float done[BLOCK_OUTPUTS][SPAN];
#pragma GCC unroll 12
    for (int o = 0; o < BLOCK_OUTPUTS; ++o)
#pragma GCC unroll 4
        for (int l = 0; l < BLOCK_VECTORS; ++l) *reinterpret_cast<loose*>(&done[o][l * VECTOR]) = sums[o][l];
    // the two padding columns of each row were computed along and are left out
    for (int64_t at = pixel; at < std::min(pixel + SPAN, p.pixels);) {
        const int64_t r = at / p.stride, column = at % p.stride, length = std::min({s.width - column, pixel + SPAN - at, p.pixels - at});
        for (int64_t o = 0; length > 0 && o < count; ++o)
            std::memcpy(y + (o * s.height + r) * s.width + column, &done[o][at - pixel], static_cast<size_t>(length) * 4);
        at = std::min((r + 1) * p.stride, pixel + SPAN);
    }
}

static void convolve(const float* x, const float* filters, float* y, const Sizes& s, void* workspace) {
    const Padded p(s);
    float* image = static_cast<float*>(workspace);
    float* packed = image + p.image_floats(s);
    const int64_t taps = s.channels * 9;
    if (PACK_FILTERS) pack(filters, s, packed);
    for (int64_t i = 0; i < s.images; ++i) {
        pad(x + i * s.channels * s.height * s.width, s, p, image);
        for (int64_t tile = 0; tile < p.pixels; tile += STEP)
            for (int64_t k = 0; k < s.outputs; k += BLOCK_OUTPUTS) {
                const float* own = PACK_FILTERS ? packed + k * taps : filters + k * taps;
                int64_t offset[BLOCK_OUTPUTS];
                for (int64_t o = 0; o < BLOCK_OUTPUTS; ++o) offset[o] = PACK_FILTERS ? o : std::min(o, s.outputs - 1 - k) * taps;
                const int64_t end = std::min(p.pixels, tile + STEP);
                for (int64_t pixel = tile; pixel < end; pixel += SPAN)
                    block(image, own, offset, PACK_FILTERS ? BLOCK_OUTPUTS : 1, s, p, pixel, std::min<int64_t>(BLOCK_OUTPUTS, s.outputs - k),
                          y + (i * s.outputs + k) * s.height * s.width);
            }
    }
}

#endif

extern "C" void kernel(const float* x, const float* filters, float* y, void* workspace, int64_t images, int64_t channels, int64_t height,
                       int64_t width, int64_t outputs) {
    convolve(x, filters, y, {images, channels, height, width, outputs}, workspace);
}
