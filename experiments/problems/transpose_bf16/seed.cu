// Transposition by square tiles through shared memory: read along rows, written along columns.

#include <cstddef>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define THREADS 256  // evo: {128, 256, 512}
#define TILE 32  // evo: {32, 64, 128}
// Elements a thread reads and writes at once, where rows and columns allow it.
#define VECTOR 1  // evo: {1, 2, 4, 8}
// Elements that a row of the tile is longer than it has to be, against conflicts between banks.
#define PAD 2  // evo: {0, 1, 2, 4, 6, 8}
// evo: require TILE * TILE >= THREADS * VECTOR
// Tiles down that neighbouring blocks take before the next column of tiles; 0 goes along rows.
#define GROUP 0  // evo: {0, 1, 4, 8, 16}
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
__global__ void __launch_bounds__(THREADS) turned(const __nv_bfloat16* x, __nv_bfloat16* y, int64_t rows, int64_t cols) {
    __shared__ __nv_bfloat16 tile[TILE][TILE + PAD];
    const int64_t across = (cols + TILE - 1) / TILE, down = (rows + TILE - 1) / TILE, block = blockIdx.x;
    int64_t row = block / across, col = block % across;
    if (GROUP) {
        const int64_t group = GROUP ? GROUP : 1, band = block / (group * across), height = min(down - band * group, group);
        const int64_t within = block % (group * across);
        row = band * group + within % height, col = within / height;
    }
    row *= TILE, col *= TILE;
    constexpr int PACKS = TILE / W;
#pragma unroll
    for (int i = threadIdx.x; i < TILE * PACKS; i += THREADS) {
        const int r = i / PACKS, c = i % PACKS * W;
        if (row + r >= rows || col + c >= cols) continue;
        const Pack<W> pack = loaded<W>(x + (row + r) * cols + col + c);
        for (int e = 0; e < W; ++e) tile[r][c + e] = pack.lane[e];
    }
    __syncthreads();
#pragma unroll
    for (int i = threadIdx.x; i < TILE * PACKS; i += THREADS) {
        const int c = i / PACKS, r = i % PACKS * W;
        if (row + r >= rows || col + c >= cols) continue;
        Pack<W> pack;
        for (int e = 0; e < W; ++e) pack.lane[e] = tile[r + e][c];
        stored<W>(y + (col + c) * rows + row + r, pack);
    }
}

extern "C" void kernel(const __nv_bfloat16* x, __nv_bfloat16* y, void*, int64_t rows, int64_t cols, cudaStream_t stream) {
    const int64_t blocks = (rows + TILE - 1) / TILE * ((cols + TILE - 1) / TILE);
    if (rows % VECTOR == 0 && cols % VECTOR == 0)
        turned<VECTOR><<<blocks, THREADS, 0, stream>>>(x, y, rows, cols);
    else
        turned<1><<<blocks, THREADS, 0, stream>>>(x, y, rows, cols);
}
