// Layer normalisation of rows, bfloat16 in and out, float32 inside: a block a row, three trips over it. The tunables reach the rest.

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
// 1: mean and variance from one trip, by sums of x and of its square about the row's first element.
#define ONE_TRIP 0  // evo: {0, 1}
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
normalised(const __nv_bfloat16* x, const __nv_bfloat16* w, const __nv_bfloat16* b, __nv_bfloat16* y, int64_t cols) {
    const __nv_bfloat16* row = x + blockIdx.x * cols;
    __nv_bfloat16* out = y + blockIdx.x * cols;
    const int64_t packs = cols / W;
    Pack<W> held[HELD ? KEPT : 1];
    if constexpr (HELD) each<HELD>(packs, [&](int k, int64_t i) { held[k] = loaded<W>(row + i * W); });
    const auto pack = [&](int k, int64_t i) {
        if constexpr (HELD)
            return held[k];
        else
            return loaded<W>(row + i * W);
    };
    const float centre = ONE_TRIP ? __bfloat162float(row[0]) : 0.0f;
    float sum = 0.0f, squares = 0.0f;
    each<HELD>(packs, [&](int k, int64_t i) {
        const Pack<W> values = pack(k, i);
        for (int e = 0; e < W; ++e) {
            const float v = __bfloat162float(values.lane[e]) - centre;
            sum += v;
            squares += v * v;
        }
    });
    const float off = summed(sum) / cols, mean = centre + off;
    float variance;
    if (ONE_TRIP) {
        variance = fmaxf(summed(squares) / cols - off * off, 0.0f);
    } else {
        squares = 0.0f;
        each<HELD>(packs, [&](int k, int64_t i) {
            const Pack<W> values = pack(k, i);
            for (int e = 0; e < W; ++e) {
                const float v = __bfloat162float(values.lane[e]) - mean;
                squares += v * v;
            }
        });
        variance = summed(squares) / cols;
    }
    const float scale = rsqrtf(variance + 1e-5f);
    each<HELD>(packs, [&](int k, int64_t i) {
        const Pack<W> values = pack(k, i);
        const Pack<W> weight = *reinterpret_cast<const Pack<W>*>(w + i * W), bias = *reinterpret_cast<const Pack<W>*>(b + i * W);
        Pack<W> result;
        for (int e = 0; e < W; ++e) {
            const float v = (__bfloat162float(values.lane[e]) - mean) * scale;
            result.lane[e] = __float2bfloat16(v * __bfloat162float(weight.lane[e]) + __bfloat162float(bias.lane[e]));
        }
        stored<W>(out + i * W, result);
    });
}

template <int W>
static void launched(const __nv_bfloat16* x, const __nv_bfloat16* w, const __nv_bfloat16* b, __nv_bfloat16* y,
                     int64_t rows, int64_t cols, cudaStream_t stream) {
    if (KEEP && cols / W <= int64_t(KEPT) * THREADS)
        normalised<W, true><<<rows, THREADS, 0, stream>>>(x, w, b, y, cols);
    else
        normalised<W, false><<<rows, THREADS, 0, stream>>>(x, w, b, y, cols);
}

extern "C" void kernel(const __nv_bfloat16* x, const __nv_bfloat16* w, const __nv_bfloat16* b, __nv_bfloat16* y,
                       void*, int64_t rows, int64_t cols, cudaStream_t stream) {
    if (VECTOR == 8 && cols % 8 == 0)
        launched<8>(x, w, b, y, rows, cols, stream);
    else
        launched<1>(x, w, b, y, rows, cols, stream);
}
