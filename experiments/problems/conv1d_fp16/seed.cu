// One-dimensional convolution, float16 in and out, float32 inside. As it stands: a thread an element, all channels and taps in turn.
//
// The other way is for three taps, 96 channels, filters in strips of 16 and rows of whole 16 bytes: tensor cores, with filters down,
// positions across, channels summed over. Each tap has a sum of its own over the positions as they lie, so that nothing is read twice or
// off its alignment; the sums are moved by their taps when they are added up, a position between neighbouring threads. Weights stay in
// registers, sequences come in bulk (cp.async.bulk) while those before them are multiplied.

#include <cstddef>
#include <cstdint>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define ALGORITHM 0  // evo: {0, 1}
// Of the plain way.
#define THREADS 256  // evo: {64, 128, 256, 512}
// Of the other: a warp works on 16 filters; warps that are left over share a sequence.
#define WARPS 12  // evo: {6, 12}
#define STAGES 3  // evo: {1, 2, 3, 4, 5}
#define PROGRAMS 132  // evo: {132, 264}
// Eight positions that are multiplied side by side.
#define UNROLL 1  // evo: {1, 2, 3, 4}
// Eights of positions that are gathered in shared memory, to be written in whole lines; 0: written as they come.
#define CHUNK 0  // evo: {0, 4, 8}
#define STREAM 0  // evo: {0, 1}

__global__ void __launch_bounds__(THREADS) plain(
    const __half* x, const __half* w, __half* y, int64_t count, int64_t channels, int64_t filters, int64_t length, int64_t taps) {
    const int64_t at = blockIdx.x * int64_t(THREADS) + threadIdx.x;
    if (at >= count) return;
    const int64_t t = at % length, o = at / length % filters, b = at / (length * filters);
    float total = 0.0f;
    for (int64_t c = 0; c < channels; ++c)
        for (int64_t s = 0; s < taps; ++s) {
            const int64_t from = t + s - taps / 2;
            if (from >= 0 && from < length)
                total += __half2float(x[(b * channels + c) * length + from]) * __half2float(w[(o * channels + c) * taps + s]);
        }
    y[at] = __float2half(total);
}

constexpr int CHANNELS = 96, STEPS = CHANNELS / 16, AT_ONCE = UNROLL;
// Bytes between the rows of what is gathered: 16 more than a multiple of 128, so that eight rows lie in different banks.
constexpr int PITCH = CHUNK * 16 % 128 == 0 ? CHUNK * 16 + 16 : CHUNK * 16 + 16 + 128 - CHUNK * 16 % 128;

__device__ __forceinline__ uint32_t shared_address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

__device__ __forceinline__ void arrived(uint32_t barrier, uint32_t parity) {
    asm volatile(
        "{\n .reg .pred p;\n again%=:\n mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n @p bra done%=;\n bra again%=;\n done%=:\n}\n" ::"r"(barrier),
        "r"(parity)
        : "memory");
}

__device__ __forceinline__ void product(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
                 : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 32 channels of eight positions, as the products of two steps take them.
__device__ __forceinline__ void loaded(uint32_t (&r)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}

// Of filters `row` and `row` + 8 at channels `c`, `c` + 1: three words hold the three taps of both.
__device__ __forceinline__ void weights(const __half* w, int row, int c, int place, uint32_t (&a)[3][STEPS][4], int step) {
    const uint32_t* words = reinterpret_cast<const uint32_t*>(w + (int64_t(row) * CHANNELS + c) * 3);
    const uint32_t first = words[0], second = words[1], third = words[2];
    a[0][step][place] = __byte_perm(first, second, 0x7610);
    a[1][step][place] = __byte_perm(first, third, 0x5432);
    a[2][step][place] = __byte_perm(second, third, 0x7610);
}

__global__ void __launch_bounds__(WARPS * 32, 12 / WARPS) tensor(
    const __half* x, const __half* w, __half* y, int batch, int filters, int length, int strips, int stages) {
    extern __shared__ __align__(128) unsigned char room[];
    __shared__ uint64_t full[5], empty[5];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, quad = lane / 4, place = lane % 4;
    const int sequence = CHANNELS * length * 2;
    unsigned char* mine = room + stages * sequence + warp * 16 * PITCH;
    const int groups = WARPS / strips, group = warp / strips, filter = (blockIdx.y * strips + warp % strips) * 16;
    if (threadIdx.x == 0) {
        for (int s = 0; s < stages; ++s) {
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\n" ::"r"(shared_address(full + s)));
            asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(empty + s)), "r"(WARPS));
        }
        asm volatile("fence.mbarrier_init.release.cluster;\n fence.proxy.async.shared::cta;\n" ::: "memory");
    }
    __syncthreads();
    const auto fetch = [&](int b, int s) {
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(full + s)), "r"(sequence) : "memory");
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::"r"(
                         shared_address(room + s * sequence)),
                     "l"(x + int64_t(b) * CHANNELS * length), "r"(sequence), "r"(shared_address(full + s))
                     : "memory");
    };
    if (threadIdx.x == 0)
        for (int s = 0; s < stages; ++s)
            if (blockIdx.x + s * gridDim.x < batch) fetch(blockIdx.x + s * gridDim.x, s);

    uint32_t a[3][STEPS][4];
#pragma unroll
    for (int step = 0; step < STEPS; ++step)
#pragma unroll
        for (int part = 0; part < 4; ++part)
            weights(w, filter + quad + part % 2 * 8, step * 16 + part / 2 * 8 + place * 2, part, a, step);

    const int tiles = length / 8, begin = tiles * group / groups, end = tiles * (group + 1) / groups;
    // Rows of channels that this thread names to ldmatrix: four matrices of eight channels a time.
    const uint32_t row = lane * length * 2;
    const int before = (lane & 28) | ((lane + 3) & 3), after = (lane & 28) | ((lane + 1) & 3);
    int stage = 0, parity = 0;
    for (int b = blockIdx.x; b < batch; b += gridDim.x) {
        arrived(shared_address(full + stage), parity);
        const uint32_t source = shared_address(room + stage * sequence) + row;
        __half* out = y + (int64_t(b) * filters + filter) * length;
        // Of the tile before: the first tap's last positions; the sum that awaits the third tap; the third tap's positions.
        float left[2] = {0.0f, 0.0f}, total[4] = {}, late[4] = {};
        const auto one_tap = [&](float (&sum)[4], const uint32_t (&weights)[STEPS][4], int tile) {
#pragma unroll
            for (int step = 0; step < STEPS; step += 2) {
                uint32_t r[4];
                loaded(r, source + step * 32 * length + tile * 16);
                product(sum, weights[step], r[0], r[1]);
                product(sum, weights[step + 1], r[2], r[3]);
            }
        };
        if (begin > 0) {  // what the first tap brings over from the tile before mine
            float sum[4] = {};
            one_tap(sum, a[0], begin - 1);
            left[0] = sum[1], left[1] = sum[3];
        }
        const auto finished = [&](int tile, const float (&next)[4]) {
            // the third tap at position p + 1 belongs to position p: from the thread after this, or the tile after this
            const float one = __shfl_sync(~0u, place == 0 ? next[0] : late[0], after), two = __shfl_sync(~0u, place == 0 ? next[2] : late[2], after);
            const __half2 upper = __floats2half2_rn(total[0] + late[1], total[1] + one), lower = __floats2half2_rn(total[2] + late[3], total[3] + two);
            if constexpr (CHUNK == 0) {
                __half2* to = reinterpret_cast<__half2*>(out + quad * length + tile * 8 + place * 2);
                if (STREAM) __stcs(reinterpret_cast<int*>(to), *reinterpret_cast<const int*>(&upper));
                else *to = upper;
                to += 4 * length;
                if (STREAM) __stcs(reinterpret_cast<int*>(to), *reinterpret_cast<const int*>(&lower));
                else *to = lower;
            } else {
                const int nth = (tile - begin) % CHUNK;
                unsigned char* to = mine + quad * PITCH + nth * 16 + place * 4;
                *reinterpret_cast<__half2*>(to) = upper;
                *reinterpret_cast<__half2*>(to + 8 * PITCH) = lower;
                if (nth == CHUNK - 1 || tile == end - 1) {
                    __syncwarp();
                    for (int i = lane; i < 16 * CHUNK; i += 32) {
                        const int r = i / CHUNK, k = i % CHUNK;
                        if (k > nth) continue;
                        const int4 value = *reinterpret_cast<const int4*>(mine + r * PITCH + k * 16);
                        int4* where = reinterpret_cast<int4*>(out + r * length + (tile - nth + k) * 8);
                        if (STREAM) __stcs(where, value);
                        else *where = value;
                    }
                    __syncwarp();
                }
            }
        };
#pragma unroll AT_ONCE
        for (int tile = begin; tile < end; ++tile) {
            float sum[3][4] = {};
#pragma unroll
            for (int step = 0; step < STEPS; step += 2) {
                uint32_t r[4];
                loaded(r, source + step * 32 * length + tile * 16);
#pragma unroll
                for (int tap = 0; tap < 3; ++tap) product(sum[tap], a[tap][step], r[0], r[1]);
#pragma unroll
                for (int tap = 0; tap < 3; ++tap) product(sum[tap], a[tap][step + 1], r[2], r[3]);
            }
            if (tile > begin) finished(tile - 1, sum[2]);
            // the first tap at position p − 1 belongs to position p
            const float one = __shfl_sync(~0u, place == 3 ? left[0] : sum[0][1], before), two = __shfl_sync(~0u, place == 3 ? left[1] : sum[0][3], before);
            total[0] = sum[1][0] + one, total[1] = sum[1][1] + sum[0][0], total[2] = sum[1][2] + two, total[3] = sum[1][3] + sum[0][2];
            left[0] = sum[0][1], left[1] = sum[0][3];
#pragma unroll
            for (int i = 0; i < 4; ++i) late[i] = sum[2][i];
        }
        float sum[4] = {};
        if (end < tiles) one_tap(sum, a[2], end);  // what the third tap brings over from the tile behind mine
        if (end > begin) finished(end - 1, sum);
        __syncwarp();
        if (lane == 0) asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(empty + stage)) : "memory");
        if (threadIdx.x == 0 && b + stages * gridDim.x < batch) {
            arrived(shared_address(empty + stage), parity);
            fetch(b + stages * gridDim.x, stage);
        }
        __syncwarp();
        if (++stage == stages) stage = 0, parity ^= 1;
    }
}

extern "C" void kernel(const __half* x, const __half* w, __half* y, void*, int64_t batch, int64_t channels, int64_t filters, int64_t length,
                       int64_t taps, cudaStream_t stream) {
    const int64_t all = filters / 16, strips = all < WARPS ? all : WARPS;
    const bool fits = channels == CHANNELS && taps == 3 && filters % 16 == 0 && length % 8 == 0 && strips > 0 && all % strips == 0 && WARPS % strips == 0;
    const int64_t sequence = CHANNELS * length * 2, gathered = CHUNK ? WARPS * 16 * PITCH : 0, most = (WARPS == 12 ? 232448 : 115712) - 1024 - gathered;
    const int64_t stages = most / sequence < STAGES ? most / sequence : STAGES;
    if (ALGORITHM == 1 && fits && stages > 0) {
        const int bytes = int(stages * sequence + gathered);
        cudaFuncSetAttribute(tensor, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        const dim3 grid(unsigned(batch < PROGRAMS ? batch : PROGRAMS), unsigned(all / strips));
        tensor<<<grid, WARPS * 32, bytes, stream>>>(x, w, y, int(batch), int(filters), int(length), int(strips), int(stages));
    } else {
        const int64_t count = batch * filters * length;
        plain<<<unsigned((count + THREADS - 1) / THREADS), THREADS, 0, stream>>>(x, w, y, count, channels, filters, length, taps);
    }
}
