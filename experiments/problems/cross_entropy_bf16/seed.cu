// Cross entropy of rows of bfloat16 logits, float32 inside, in one trip: a block a row, every thread its own maximum and sum.

#include <cstddef>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define THREADS 256  // evo: {128, 256, 512, 1024}
// Elements a thread reads at once: 1, or 8 (16 bytes) where a row's length allows it.
#define VECTOR 1  // evo: {1, 8}
// Such reads that a thread has under way; their maximum is taken before anything is summed.
#define UNROLL 1  // evo: {1, 2, 4, 8}
#define BASE_TWO 0  // evo: {0, 1}
// Loads that are marked for being used once.
#define LOAD_STREAM 0   // evo: {0, 1}

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

constexpr float LOG2E = 1.4426950408889634f;

// exp(v - top)
__device__ __forceinline__ float below(float v, float top) {
#if BASE_TWO
    return exp2f(v * LOG2E - top * LOG2E);
#else
    return expf(v - top);
#endif
}

// Takes another maximum and sum into these.
__device__ __forceinline__ void joined(float& top, float& sum, float other_top, float other_sum) {
    const float higher = fmaxf(top, other_top);
    if (higher == -INFINITY) return;
    sum = sum * below(top, higher) + other_sum * below(other_top, higher);
    top = higher;
}

template <int W>
__global__ void __launch_bounds__(THREADS) entropy(const __nv_bfloat16* x, const int32_t* label, float* loss, int64_t classes) {
    __shared__ float tops[32], sums[32];
    const __nv_bfloat16* row = x + blockIdx.x * classes;
    const int64_t packs = classes / W;
    float top = -INFINITY, sum = 0.0f;
    for (int64_t begin = threadIdx.x; begin < packs; begin += THREADS * UNROLL) {
        Pack<W> pack[UNROLL];
        float higher = top;
#pragma unroll
        for (int u = 0; u < UNROLL; ++u)
            if (begin + u * THREADS < packs) pack[u] = loaded<W>(row + (begin + u * THREADS) * W);
#pragma unroll
        for (int u = 0; u < UNROLL; ++u)
            if (begin + u * THREADS < packs)
                for (int e = 0; e < W; ++e) higher = fmaxf(higher, __bfloat162float(pack[u].lane[e]));
        if (higher == -INFINITY) continue;
        sum *= below(top, higher);
        top = higher;
#pragma unroll
        for (int u = 0; u < UNROLL; ++u)
            if (begin + u * THREADS < packs)
                for (int e = 0; e < W; ++e) sum += below(__bfloat162float(pack[u].lane[e]), top);
    }
    for (int lane = 16; lane; lane >>= 1)
        joined(top, sum, __shfl_xor_sync(0xffffffffu, top, lane), __shfl_xor_sync(0xffffffffu, sum, lane));
    if (threadIdx.x % 32 == 0) tops[threadIdx.x / 32] = top, sums[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x >= 32) return;
    top = threadIdx.x < THREADS / 32 ? tops[threadIdx.x] : -INFINITY;
    sum = threadIdx.x < THREADS / 32 ? sums[threadIdx.x] : 0.0f;
    for (int lane = 16; lane; lane >>= 1)
        joined(top, sum, __shfl_xor_sync(0xffffffffu, top, lane), __shfl_xor_sync(0xffffffffu, sum, lane));
    if (threadIdx.x == 0) loss[blockIdx.x] = logf(sum) + top - __bfloat162float(row[label[blockIdx.x]]);
}

extern "C" void kernel(const __nv_bfloat16* x, const int32_t* label, float* loss, void*, int64_t rows, int64_t classes,
                       cudaStream_t stream) {
    if (VECTOR == 8 && classes % 8 == 0)
        entropy<8><<<rows, THREADS, 0, stream>>>(x, label, loss, classes);
    else
        entropy<1><<<rows, THREADS, 0, stream>>>(x, label, loss, classes);
}
