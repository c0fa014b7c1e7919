// SwiGLU, bfloat16 in and out, float32 inside: y = a / (1 + exp(-a)) * b, element by element.

#include <cstddef>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define THREADS 256  // evo: {64, 128, 256, 512, 1024}
// Elements a thread reads at once: 1, or 8 (16 bytes) where their number allows it.
#define VECTOR 1  // evo: {1, 8}
// Such reads of each array that a thread has under way.
#define UNROLL 1  // evo: {1, 2, 4, 8}
#define FAST_EXP 0  // evo: {0, 1}
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

__device__ __forceinline__ float gated(float a, float b) {
#if FAST_EXP
    return __fdividef(a, 1.0f + __expf(-a)) * b;
#else
    return a / (1.0f + expf(-a)) * b;
#endif
}

template <int W>
__global__ void __launch_bounds__(THREADS) gate(const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat16* y, int64_t packs) {
    const int64_t first = int64_t(blockIdx.x) * (THREADS * UNROLL) + threadIdx.x;
    Pack<W> left[UNROLL], right[UNROLL];
#pragma unroll
    for (int u = 0; u < UNROLL; ++u) {
        const int64_t i = first + u * THREADS;
        if (i < packs) left[u] = loaded<W>(a + i * W), right[u] = loaded<W>(b + i * W);
    }
#pragma unroll
    for (int u = 0; u < UNROLL; ++u) {
        const int64_t i = first + u * THREADS;
        if (i >= packs) continue;
        Pack<W> result;
#pragma unroll
        for (int e = 0; e < W; ++e)
            result.lane[e] = __float2bfloat16(gated(__bfloat162float(left[u].lane[e]), __bfloat162float(right[u].lane[e])));
        stored<W>(y + i * W, result);
    }
}

template <int W>
static void launched(const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat16* y, int64_t count, cudaStream_t stream) {
    const int64_t packs = count / W, share = THREADS * UNROLL;
    gate<W><<<(packs + share - 1) / share, THREADS, 0, stream>>>(a, b, y, packs);
}

extern "C" void kernel(const __nv_bfloat16* a, const __nv_bfloat16* b, __nv_bfloat16* y, void*, int64_t rows, int64_t cols,
                       cudaStream_t stream) {
    const int64_t count = rows * cols;
    if (VECTOR == 8 && count % 8 == 0)
        launched<8>(a, b, y, count, stream);
    else
        launched<1>(a, b, y, count, stream);
}
