// Rotary embedding, bfloat16 in and out, float32 inside: a thread turns some pairs at one position of some heads.

#include <cstddef>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define THREADS 128  // evo: {64, 128, 256, 512}
// Pairs a thread turns at once: 1, or 8 (16 bytes of either half) where the width of a head allows it.
#define VECTOR 1  // evo: {1, 8}
// Heads that share the loaded angles in one thread.
#define HEADS 1  // evo: {1, 2, 4, 8}
// Loads and stores that are marked for being used once.
#define LOAD_STREAM 0   // evo: {0, 1}
#define STORE_STREAM 0  // evo: {0, 1}

template <int W>
struct alignas(2 * W) Pack {
    __nv_bfloat16 lane[W];
};

template <int W>
__device__ __forceinline__ Pack<W> loaded(const __nv_bfloat16* p) {
#if LOAD_STREAM
    if constexpr (W == 8) {
        const int4 word = __ldcs(reinterpret_cast<const int4*>(p));
        return *reinterpret_cast<const Pack<W>*>(&word);
    }
#endif
    return *reinterpret_cast<const Pack<W>*>(p);
}

template <int W>
__device__ __forceinline__ void stored(__nv_bfloat16* p, const Pack<W>& pack) {
#if STORE_STREAM
    if constexpr (W == 8) {
        __stcs(reinterpret_cast<int4*>(p), *reinterpret_cast<const int4*>(&pack));
        return;
    }
#endif
    *reinterpret_cast<Pack<W>*>(p) = pack;
}

template <int W>
__global__ void __launch_bounds__(THREADS)
turned(const __nv_bfloat16* x, const float* cosine, const float* sine, __nv_bfloat16* y, int64_t planes, int64_t length, int64_t half) {
    const int64_t i = (int64_t(blockIdx.x) * THREADS + threadIdx.x) * W;
    if (i >= length * half) return;
    const int64_t t = i / half, place = i % half;
    float c[W], s[W];
#pragma unroll
    for (int e = 0; e < W; ++e) c[e] = cosine[i + e], s[e] = sine[i + e];
    Pack<W> low[HEADS], high[HEADS];
#pragma unroll
    for (int h = 0; h < HEADS; ++h) {
        const int64_t plane = int64_t(blockIdx.y) * HEADS + h, at = (plane * length + t) * 2 * half + place;
        if (plane < planes) low[h] = loaded<W>(x + at), high[h] = loaded<W>(x + at + half);
    }
#pragma unroll
    for (int h = 0; h < HEADS; ++h) {
        const int64_t plane = int64_t(blockIdx.y) * HEADS + h, at = (plane * length + t) * 2 * half + place;
        if (plane >= planes) continue;
        Pack<W> one, other;
#pragma unroll
        for (int e = 0; e < W; ++e) {
            const float a = __bfloat162float(low[h].lane[e]), b = __bfloat162float(high[h].lane[e]);
            one.lane[e] = __float2bfloat16(a * c[e] - b * s[e]);
            other.lane[e] = __float2bfloat16(b * c[e] + a * s[e]);
        }
        stored<W>(y + at, one);
        stored<W>(y + at + half, other);
    }
}

template <int W>
static void launched(const __nv_bfloat16* x, const float* cosine, const float* sine, __nv_bfloat16* y, int64_t planes, int64_t length,
                     int64_t half, cudaStream_t stream) {
    const int64_t packs = length * half / W;
    const dim3 grid((packs + THREADS - 1) / THREADS, (planes + HEADS - 1) / HEADS);
    turned<W><<<grid, THREADS, 0, stream>>>(x, cosine, sine, y, planes, length, half);
}

extern "C" void kernel(const __nv_bfloat16* x, const float* cosine, const float* sine, __nv_bfloat16* y, void*, int64_t batch,
                       int64_t heads, int64_t length, int64_t dim, cudaStream_t stream) {
    if (VECTOR == 8 && dim % 16 == 0)
        launched<8>(x, cosine, sine, y, batch * heads, length, dim / 2, stream);
    else
        launched<1>(x, cosine, sine, y, batch * heads, length, dim / 2, stream);
}
