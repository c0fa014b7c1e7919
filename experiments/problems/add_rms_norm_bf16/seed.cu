// Residual addition and RMS normalisation of rows, bfloat16 in and out, float32 inside: a block a row. The tunables reach the rest.

#include <cstddef>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define THREADS 256  // evo: {64, 128, 256, 512, 1024}
// Elements a thread reads at once: 1, or 8 (16 bytes) where a row's length allows it.
#define VECTOR 1  // evo: {1, 8}
// 1: the row stays in registers between the trips (up to KEPT vectors a thread), 0: it is read again.
#define KEEP 0  // evo: {0, 1}
#define KEPT 4  // evo: {1, 2, 4, 8, 16}
// Loads and stores that are marked for being used once.
#define LOAD_STREAM 0   // evo: {0, 1}
#define STORE_STREAM 0  // evo: {0, 1}

// Sum over the block, in every thread.
__device__ __forceinline__ float summed(float v) {
    __shared__ float part[32];
    for (int lane = 16; lane; lane >>= 1) v += __shfl_xor_sync(0xffffffffu, v, lane);
    __syncthreads();
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
    __syncthreads();
    v = threadIdx.x % 32 < THREADS / 32 ? part[threadIdx.x % 32] : 0.0f;
    for (int lane = 16; lane; lane >>= 1) v += __shfl_xor_sync(0xffffffffu, v, lane);
    return v;
}

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

// Calls f(k, i) for the packs i of a row that are this thread's: the k-th of KEPT where they are held.
template <bool HELD, typename F>
__device__ __forceinline__ void each(int64_t packs, F f) {
    if constexpr (HELD) {
#pragma unroll
        for (int k = 0; k < KEPT; ++k) {
            const int64_t i = threadIdx.x + int64_t(k) * THREADS;
            if (i < packs) f(k, i);
        }
    } else {
        for (int64_t i = threadIdx.x; i < packs; i += THREADS) f(0, i);
    }
}

template <int W, bool HELD>
__global__ void __launch_bounds__(THREADS)
added(const __nv_bfloat16* x, const __nv_bfloat16* residual, const __nv_bfloat16* w, __nv_bfloat16* s, __nv_bfloat16* y,
      int64_t cols) {
    const int64_t start = blockIdx.x * cols, packs = cols / W;
    Pack<W> held[HELD ? KEPT : 1], other[HELD ? KEPT : 1];
    float sum = 0.0f;
    if constexpr (HELD)
        each<HELD>(packs, [&](int k, int64_t i) {
            held[k] = loaded<W>(x + start + i * W);
            other[k] = loaded<W>(residual + start + i * W);
        });
    each<HELD>(packs, [&](int k, int64_t i) {
        if constexpr (!HELD) held[0] = loaded<W>(x + start + i * W), other[0] = loaded<W>(residual + start + i * W);
        for (int e = 0; e < W; ++e) {
            held[k].lane[e] = __float2bfloat16(__bfloat162float(held[k].lane[e]) + __bfloat162float(other[k].lane[e]));
            const float v = __bfloat162float(held[k].lane[e]);
            sum += v * v;
        }
        stored<W>(s + start + i * W, held[k]);
    });
    const float scale = rsqrtf(summed(sum) / cols + 1e-5f);
    each<HELD>(packs, [&](int k, int64_t i) {
        const Pack<W> weight = *reinterpret_cast<const Pack<W>*>(w + i * W);
        if constexpr (!HELD) held[0] = *reinterpret_cast<const Pack<W>*>(s + start + i * W);
        Pack<W> result;
        for (int e = 0; e < W; ++e)
            result.lane[e] = __float2bfloat16(__bfloat162float(held[k].lane[e]) * scale * __bfloat162float(weight.lane[e]));
        stored<W>(y + start + i * W, result);
    });
}

template <int W>
static void launched(const __nv_bfloat16* x, const __nv_bfloat16* residual, const __nv_bfloat16* w, __nv_bfloat16* s, __nv_bfloat16* y,
                     int64_t rows, int64_t cols, cudaStream_t stream) {
    if (KEEP && cols / W <= int64_t(KEPT) * THREADS)
        added<W, true><<<rows, THREADS, 0, stream>>>(x, residual, w, s, y, cols);
    else
        added<W, false><<<rows, THREADS, 0, stream>>>(x, residual, w, s, y, cols);
}

extern "C" void kernel(const __nv_bfloat16* x, const __nv_bfloat16* residual, const __nv_bfloat16* w, __nv_bfloat16* s, __nv_bfloat16* y,
                       void*, int64_t rows, int64_t cols, cudaStream_t stream) {
    if (VECTOR == 8 && cols % 8 == 0)
        launched<8>(x, residual, w, s, y, rows, cols, stream);
    else
        launched<1>(x, residual, w, s, y, rows, cols, stream);
}
