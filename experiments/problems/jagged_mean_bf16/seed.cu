// Means of consecutive rows by ragged bags, float32 inside: a warp a bag, row after row. The tunables reach the rest.

#include <cstddef>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define THREADS 128  // evo: {32, 64, 128, 256, 512}
// Elements of a row that a lane reads at once: 1, or 4 or 8 (16 bytes) where the width allows it.
#define VECTOR 1  // evo: {1, 4, 8}
// Rows that a lane has under way.
#define UNROLL 1  // evo: {1, 2, 4, 8, 16}
// Rows are marked for being used once.
#define LOAD_STREAM 0  // evo: {0, 1}

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

// A warp a bag. `lanes` lanes hold a row (or as much of it as fits), so 32 / lanes rows are read side by side.
template <int W>
__global__ void __launch_bounds__(THREADS)
summed(const __nv_bfloat16* x, const int64_t* offsets, float* y, int64_t bags, int64_t width, int lanes) {
    const int64_t bag = (int64_t(blockIdx.x) * THREADS + threadIdx.x) / 32;
    if (bag >= bags) return;
    const int lane = threadIdx.x % 32, side = lane / lanes, sides = 32 / lanes;
    const int64_t begin = offsets[bag], end = offsets[bag + 1];
    for (int64_t d = lane % lanes * W; d < width; d += lanes * W) {
        float sum[W] = {};
        for (int64_t i = begin + side; i < end; i += sides * UNROLL) {
            Pack<W> pack[UNROLL];
#pragma unroll
            for (int u = 0; u < UNROLL; ++u)
                if (i + u * sides < end) pack[u] = loaded<W>(x + (i + u * sides) * width + d);
#pragma unroll
            for (int u = 0; u < UNROLL; ++u)
                if (i + u * sides < end)
                    for (int e = 0; e < W; ++e) sum[e] += __bfloat162float(pack[u].lane[e]);
        }
        // every lane of a warp comes by here equally often wherever there is more than one side
        if (sides > 1)
            for (int e = 0; e < W; ++e)
                for (int other = lanes; other < 32; other <<= 1) sum[e] += __shfl_xor_sync(0xffffffffu, sum[e], other);
        if (side == 0)
            for (int e = 0; e < W; ++e) y[bag * width + d + e] = sum[e] / float(max(end - begin, int64_t(1)));
    }
}

template <int W>
static void launched(const __nv_bfloat16* x, const int64_t* offsets, float* y, int64_t bags, int64_t width, cudaStream_t stream) {
    // several rows side by side only where a row is a power of two of packs, all of them at once
    const int64_t packs = width / W;
    const int lanes = packs < 32 && (packs & (packs - 1)) == 0 ? int(packs) : 32;
    summed<W><<<(bags + THREADS / 32 - 1) / (THREADS / 32), THREADS, 0, stream>>>(x, offsets, y, bags, width, lanes);
}

extern "C" void kernel(const __nv_bfloat16* x, const int64_t* offsets, float* y, void*,
                       int64_t, int64_t width, int64_t bags, cudaStream_t stream) {
    if (width % VECTOR == 0)
        launched<VECTOR>(x, offsets, y, bags, width, stream);
    else
        launched<1>(x, offsets, y, bags, width, stream);
}
