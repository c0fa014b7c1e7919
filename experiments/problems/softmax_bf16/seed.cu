// Row-wise softmax, bfloat16 in and out, float32 inside: a block a row, three trips over the row. The tunables reach the rest.

#include <cstddef>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define THREADS 256  // evo: {64, 128, 256, 512, 1024}
// Elements a thread reads at once: 1, or 8 (16 bytes) where a row's length allows it.
#define VECTOR 1  // evo: {1, 8}
// 1: the row stays in registers between the trips (up to KEPT vectors a thread), 0: it is read again.
#define KEEP 0  // evo: {0, 1}
#define KEPT 8  // evo: {2, 4, 8, 16}
#define FAST_EXP 0  // evo: {0, 1}
#define STREAM 0  // evo: {0, 1}

__device__ __forceinline__ float expo(float v) {
#if FAST_EXP
    return exp2f(v * 1.4426950408889634f);
#else
    return expf(v);
#endif
}

template <bool MAX>
__device__ __forceinline__ float reduced(float v) {
    __shared__ float part[32];
    for (int lane = 16; lane; lane >>= 1) {
        const float other = __shfl_xor_sync(0xffffffffu, v, lane);
        v = MAX ? fmaxf(v, other) : v + other;
    }
    __syncthreads();
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
    __syncthreads();
    v = threadIdx.x % 32 < THREADS / 32 ? part[threadIdx.x % 32] : (MAX ? -INFINITY : 0.0f);
    for (int lane = 16; lane; lane >>= 1) {
        const float other = __shfl_xor_sync(0xffffffffu, v, lane);
        v = MAX ? fmaxf(v, other) : v + other;
    }
    return v;
}

template <int W>
struct alignas(2 * W) Pack {
    __nv_bfloat16 lane[W];
};

template <int W>
__device__ __forceinline__ Pack<W> loaded(const __nv_bfloat16* p) {
    return *reinterpret_cast<const Pack<W>*>(p);
}

template <int W>
__device__ __forceinline__ void stored(__nv_bfloat16* p, const Pack<W>& pack) {
#if STREAM
    if constexpr (W == 8) {
        __stcs(reinterpret_cast<int4*>(p), *reinterpret_cast<const int4*>(&pack));
        return;
    }
#endif
    *reinterpret_cast<Pack<W>*>(p) = pack;
}

template <int W, bool HELD>
__global__ void __launch_bounds__(THREADS) rows_kernel(const __nv_bfloat16* x, __nv_bfloat16* y, int64_t cols) {
    const __nv_bfloat16* row = x + blockIdx.x * cols;
    __nv_bfloat16* out = y + blockIdx.x * cols;
    const int64_t packs = cols / W;
    Pack<W> held[HELD ? KEPT : 1];
    float top = -INFINITY;
    if constexpr (HELD) {
#pragma unroll
        for (int k = 0; k < KEPT; ++k) {
            const int64_t i = threadIdx.x + int64_t(k) * THREADS;
            if (i < packs) held[k] = loaded<W>(row + i * W);
        }
#pragma unroll
        for (int k = 0; k < KEPT; ++k)
            if (threadIdx.x + int64_t(k) * THREADS < packs)
                for (int e = 0; e < W; ++e) top = fmaxf(top, __bfloat162float(held[k].lane[e]));
    } else {
        for (int64_t i = threadIdx.x; i < packs; i += THREADS) {
            const Pack<W> pack = loaded<W>(row + i * W);
            for (int e = 0; e < W; ++e) top = fmaxf(top, __bfloat162float(pack.lane[e]));
        }
    }
    top = reduced<true>(top);
    float sum = 0.0f;
    if constexpr (HELD) {
#pragma unroll
        for (int k = 0; k < KEPT; ++k)
            if (threadIdx.x + int64_t(k) * THREADS < packs)
                for (int e = 0; e < W; ++e) sum += expo(__bfloat162float(held[k].lane[e]) - top);
    } else {
        for (int64_t i = threadIdx.x; i < packs; i += THREADS) {
            const Pack<W> pack = loaded<W>(row + i * W);
            for (int e = 0; e < W; ++e) sum += expo(__bfloat162float(pack.lane[e]) - top);
        }
    }
    const float scale = 1.0f / reduced<false>(sum);
    if constexpr (HELD) {
#pragma unroll
        for (int k = 0; k < KEPT; ++k) {
            const int64_t i = threadIdx.x + int64_t(k) * THREADS;
            if (i >= packs) continue;
            Pack<W> result;
            for (int e = 0; e < W; ++e) result.lane[e] = __float2bfloat16(expo(__bfloat162float(held[k].lane[e]) - top) * scale);
            stored<W>(out + i * W, result);
        }
    } else {
        for (int64_t i = threadIdx.x; i < packs; i += THREADS) {
            const Pack<W> pack = loaded<W>(row + i * W);
            Pack<W> result;
            for (int e = 0; e < W; ++e) result.lane[e] = __float2bfloat16(expo(__bfloat162float(pack.lane[e]) - top) * scale);
            stored<W>(out + i * W, result);
        }
    }
}

template <int W>
static void launched(const __nv_bfloat16* x, __nv_bfloat16* y, int64_t rows, int64_t cols, cudaStream_t stream) {
    if (KEEP && cols / W <= int64_t(KEPT) * THREADS)
        rows_kernel<W, true><<<rows, THREADS, 0, stream>>>(x, y, cols);
    else
        rows_kernel<W, false><<<rows, THREADS, 0, stream>>>(x, y, cols);
}

extern "C" void kernel(const __nv_bfloat16* x, __nv_bfloat16* y, void*, int64_t rows, int64_t cols, cudaStream_t stream) {
    if (VECTOR == 8 && cols % 8 == 0)
        launched<8>(x, y, rows, cols, stream);
    else
        launched<1>(x, y, rows, cols, stream);
}
