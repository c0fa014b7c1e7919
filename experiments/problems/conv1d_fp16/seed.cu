// One-dimensional convolution, float16 in and out, float32 inside. As it stands: a thread an element, all channels and taps in turn.
//
// The other way is for three taps, 96 channels, filters in strips of 16 and rows of whole 16 bytes: tensor cores, with filters down,
// positions across, channels summed over. Each tap has a sum of its own over the positions as they lie, so that nothing is read twice or
// off its alignment; the sums are moved by their taps when they are added up, a position between neighbouring threads. Weights stay in
// registers, sequences come in bulk (cp.async.bulk) while those before them are multiplied.
//
// The third way is Hopper's (wgmma): two or three warp groups, 64 filters each with their weights in registers, multiply what lies in shared
// memory. There a group of warps has turned each sequence, in place, so that the channels of a position lie side by side, eight by eight:
// a tap is then a row of 16 bytes further, rows of zeros part the sequence's blocks, and one sum takes all taps and channels.

#include <cstddef>
#include <cstdint>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define ALGORITHM 0  // evo: {0, 1, 2}
// Of the plain way.
#define THREADS 256  // evo: {64, 128, 256, 512}
// Of the second: a warp works on 16 filters; warps that are left over share a sequence.
#define WARPS 12  // evo: {6, 12}
#define STAGES 3  // evo: {1, 2, 3, 4, 5}
#define PROGRAMS 132  // evo: {132, 264}
// Eight positions that are multiplied side by side.
#define UNROLL 1  // evo: {1, 2, 3, 4}
// Eights of positions that are gathered in shared memory, to be written in whole lines; 0: written as they come.
#define CHUNK 0  // evo: {0, 4, 8}
#define STREAM 0  // evo: {0, 1}
// Of the third, which has STAGES too. Rows of zeros between blocks of eight channels; with 8, the middle tap lies on whole 128 bytes.
#define GAP 1  // evo: {1, 8}
// 1: the groups take turns, so that one multiplies while another writes.
#define TURNS 1  // evo: {0, 1}
// 1: a whole sequence of 200 positions at once where registers suffice.
#define WHOLE 1  // evo: {0, 1}
// 1: results leave in bulk, 0: 16 bytes a thread.
#define BULK 1  // evo: {0, 1}
// evo: require ALGORITHM != 2 or STAGES > 1 and PROGRAMS == 132

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

constexpr int BLOCKS = CHANNELS / 8, BLOCKS_EACH = BLOCKS / 4;  // of eight channels: all, and those that one of four warps brings and turns

// 16-byte rows of a sequence in shared memory: zeros, eight channels of each position, zeros, the next eight channels, … zeros.
__host__ __device__ constexpr int rows_of(int length) { return BLOCKS * (length + GAP) + GAP; }
// Bytes between filters where results are gathered: an odd number of 16, so that eight rows lie in different banks.
__host__ __device__ constexpr int pitch_of(int columns) { return columns * 2 + (columns % 16 == 0 ? 16 : 0); }

// Registers of a thread that multiplies, those that bring have what is left; positions of the longest sequence that these can turn.
constexpr int registers(int groups, int columns) { return groups == 2 ? 216 : columns > 88 ? 152 : 144; }
constexpr int longest(int groups, int columns) { return groups == 3 && columns > 88 ? 256 : 352; }

#define NAMES_44                                                                                                                              \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, " \
    "%29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43"
#define NAMES_52 NAMES_44 ", %44, %45, %46, %47, %48, %49, %50, %51"
#define NAMES_64 NAMES_52 ", %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define NAMES_100                                                                                                                             \
    NAMES_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, " \
             "%89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99"
#define FOUR(i) "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3])
#define TWELVE(i) FOUR(i), FOUR(i + 4), FOUR(i + 8)
#define SUMS_44 TWELVE(0), TWELVE(12), TWELVE(24), FOUR(36), FOUR(40)
#define SUMS_52 SUMS_44, FOUR(44), FOUR(48)
#define SUMS_64 SUMS_52, TWELVE(52)
#define SUMS_100 SUMS_64, TWELVE(64), TWELVE(76), TWELVE(88)

// multiplied: 64 filters' weights of 16 channels and a tap times N positions. done: nothing reads the sums before all products are there.
#define PRODUCTS(N, S, A1, A2, A3, X, P)                                                                                           \
    __device__ __forceinline__ void multiplied(float (&s)[S], const uint32_t (&a)[4], uint64_t x, int add) {                       \
        asm volatile("{\n .reg .pred p;\n setp.ne.b32 p, %" #P ", 0;\n wgmma.mma_async.sync.aligned.m64n" #N                       \
                     "k16.f32.f16.f16 {" NAMES_##S "}, {%" #S ", %" #A1 ", %" #A2 ", %" #A3 "}, %" #X ", p, 1, 1, 0;\n}\n"         \
                     : SUMS_##S                                                                                                    \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(x), "r"(add));                                              \
    }                                                                                                                              \
    __device__ __forceinline__ void done(float (&s)[S]) { asm volatile("wgmma.wait_group.sync.aligned 0;\n" : SUMS_##S::"memory"); }
PRODUCTS(88, 44, 45, 46, 47, 48, 49)
PRODUCTS(104, 52, 53, 54, 55, 56, 57)
PRODUCTS(128, 64, 65, 66, 67, 68, 69)
PRODUCTS(200, 100, 101, 102, 103, 104, 105)

// Written by threads, to be read by what copies in bulk or by wgmma.
__device__ __forceinline__ void shown() { asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory"); }
__device__ __forceinline__ void arrive(uint64_t* barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(barrier)) : "memory");
}
__device__ __forceinline__ void kept(uint32_t address, uint32_t r0, uint32_t r1, uint32_t r2, uint32_t r3) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};\n" ::"r"(address), "r"(r0), "r"(r1), "r"(r2), "r"(r3) : "memory");
}
__device__ __forceinline__ void kept(uint32_t address, uint32_t r0, uint32_t r1) {
    asm volatile("stmatrix.sync.aligned.m8n8.x2.shared.b16 [%0], {%1, %2};\n" ::"r"(address), "r"(r0), "r"(r1) : "memory");
}
__device__ __forceinline__ uint32_t rounded(float one, float two) {
    const __half2 both = __floats2half2_rn(one, two);
    return *reinterpret_cast<const uint32_t*>(&both);
}

struct Barriers {
    uint64_t full[5][4], ready[5], empty[5];  // each warp's blocks have come; all are turned; all groups have multiplied them
};

// One of four warps: brings its blocks of each sequence and turns them, a block at a time through registers.
template <int FOURS>
__device__ __forceinline__ void bring(const __half* x, Barriers& barriers, uint32_t room, int batch, int length, int stages) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, tiles = length / 8, bytes = length * 16;
    const uint32_t first = room + (GAP + warp * BLOCKS_EACH * (length + GAP)) * 16;
    const auto fetch = [&](int b, int slot) {
        if (lane != 0) return;
        const uint32_t full = shared_address(&barriers.full[slot][warp]);
        asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(full), "r"(BLOCKS_EACH * bytes) : "memory");
        for (int i = 0; i < BLOCKS_EACH; ++i)
            asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::"r"(
                             first + (slot * rows_of(length) + i * (length + GAP)) * 16),
                         "l"(x + (int64_t(b) * BLOCKS + warp * BLOCKS_EACH + i) * 8 * length), "r"(bytes), "r"(full)
                         : "memory");
    };
    for (int s = 0; s < stages; ++s)
        if (blockIdx.x + s * gridDim.x < batch) fetch(blockIdx.x + s * gridDim.x, s);
    int slot = 0, parity = 0, last = 0, last_parity = 0;
    for (int b = blockIdx.x; b < batch; b += gridDim.x) {
        arrived(shared_address(&barriers.full[slot][warp]), parity);
#pragma unroll 1
        for (int i = 0; i < BLOCKS_EACH; ++i) {
            const uint32_t block = first + (slot * rows_of(length) + i * (length + GAP)) * 16;
            uint32_t r[FOURS][4];
            int nth = lane / 8;
            asm volatile("" : "+r"(nth));  // computed as it is needed: all places at once would take too many registers
            // where there is no tile any more, the last one is read and written again
            const auto tile = [&](int four) { return min(four * 4 + nth, tiles - 1); };
#pragma unroll
            for (int four = 0; four < FOURS; ++four)
                if (four * 4 < tiles) loaded(r[four], block + lane % 8 * length * 2 + tile(four) * 16);
            __syncwarp();
#pragma unroll
            for (int four = 0; four < FOURS; ++four)
                if (four * 4 < tiles) kept(block + (tile(four) * 8 + lane % 8) * 16, r[four][0], r[four][1], r[four][2], r[four][3]);
        }
        shown();
        __syncwarp();
        if (lane == 0) arrive(barriers.ready + slot);
        // the sequence before this one has most likely been multiplied: its slot is for the next that has none
        const int next = b + (stages - 1) * gridDim.x;
        if (b != blockIdx.x && next < batch) {
            arrived(shared_address(barriers.empty + last), last_parity);
            fetch(next, last);
        }
        last = slot, last_parity = parity;
        if (++slot == stages) slot = 0, parity ^= 1;
    }
}

// One of GROUPS warp groups: 64 filters of every sequence, N positions at a time.
template <int GROUPS, int N>
__device__ __forceinline__ void multiply(
    const __half* w, __half* y, Barriers& barriers, unsigned char* room, int batch, int filters, int length, int stages, int group) {
    constexpr int PITCH = pitch_of(N);
    const int lane = threadIdx.x % 32, warp = group * 4 + threadIdx.x % 128 / 32, filter = blockIdx.y * GROUPS * 64 + warp * 16;
    const bool mine = filter < filters;
    unsigned char* gathered = room + stages * rows_of(length) * 16 + warp * 16 * PITCH;
    const uint32_t to = shared_address(gathered) + lane % 16 * PITCH + lane / 16 * 16;
    const bool whole = PITCH == length * 2;  // the results of 16 filters lie together, as they are to be written
    uint32_t a[3][STEPS][4] = {};
    if (mine) {
#pragma unroll
        for (int step = 0; step < STEPS; ++step)
#pragma unroll
            for (int part = 0; part < 4; ++part)
                weights(w, filter + lane / 4 + part % 2 * 8, step * 16 + part / 2 * 8 + lane % 4 * 2, part, a, step);
    }
    // How wgmma finds x: 16-byte rows of eight channels, 128 bytes from eight positions to the next eight, `far` from channels to the next.
    const uint32_t far = length + GAP, x = (shared_address(room) >> 4) + GAP - 1 + (far << 16);
    const auto give = [&](int to) {
        if (TURNS) asm volatile("bar.arrive %0, 256;\n" ::"r"(to + 1) : "memory");
    };
    if (group == GROUPS - 1) give(0);
    int slot = 0, parity = 0;
    for (int b = blockIdx.x; b < batch; b += gridDim.x) {
        arrived(shared_address(barriers.ready + slot), parity);
        for (int from = 0; from < length; from += N) {
            const uint32_t start = x + slot * rows_of(length) + from;
            float sum[N / 2];
            if (TURNS) asm volatile("bar.sync %0, 256;\n" ::"r"(group + 1) : "memory");
            asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
#pragma unroll
            for (int step = 0; step < STEPS; ++step)
#pragma unroll
                for (int tap = 0; tap < 3; ++tap) multiplied(sum, a[tap][step], uint64_t(128 >> 4) << 32 | (start + step * 2 * far + tap), step + tap > 0);
            asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
            give(group == GROUPS - 1 ? 0 : group + 1);
            done(sum);
            if (lane == 0 && from + N >= length) arrive(barriers.empty + slot);
            if (!mine) continue;
            if (BULK) asm volatile("cp.async.bulk.wait_group.read 0;\n" ::: "memory");
            __syncwarp();
#pragma unroll
            for (int i = 0; i < N / 2; i += 8) {
                if (i + 8 <= N / 2)
                    kept(to + i * 4, rounded(sum[i], sum[i + 1]), rounded(sum[i + 2], sum[i + 3]), rounded(sum[i + 4], sum[i + 5]),
                         rounded(sum[i + 6], sum[i + 7]));
                else kept(to + i * 4, rounded(sum[i], sum[i + 1]), rounded(sum[i + 2], sum[i + 3]));
            }
            __half* out = y + (int64_t(b) * filters + filter) * length + from;
            const int count = length - from < N ? length - from : N;
            if (BULK) {
                shown();
                __syncwarp();
                if (lane < (whole ? 1 : 16))
                    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;\n" ::"l"(out + lane * length),
                                 "r"(shared_address(gathered + lane * PITCH)), "r"(whole ? 16 * PITCH : count * 2)
                                 : "memory");
                asm volatile("cp.async.bulk.commit_group;\n" ::: "memory");
            } else {
                __syncwarp();
                for (int i = lane; i < 2 * N; i += 32) {
                    const int r = i / (N / 8), k = i % (N / 8);
                    if (k * 8 >= count) continue;
                    const int4 value = *reinterpret_cast<const int4*>(gathered + r * PITCH + k * 16);
                    int4* where = reinterpret_cast<int4*>(out + r * length + k * 8);
                    if (STREAM) __stcs(where, value);
                    else *where = value;
                }
            }
        }
        if (++slot == stages) slot = 0, parity ^= 1;
    }
    if (BULK) asm volatile("cp.async.bulk.wait_group 0;\n" ::: "memory");
}

template <int GROUPS, int N>
__global__ void __launch_bounds__(128 + GROUPS * 128, 1) grouped(
    const __half* x, const __half* w, __half* y, int batch, int filters, int length, int stages) {
    extern __shared__ __align__(128) unsigned char room[];
    __shared__ Barriers barriers;
    if (threadIdx.x == 0) {
        const auto init = [](uint64_t* barrier, int arrivals) {
            asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)), "r"(arrivals));
        };
        for (int s = 0; s < stages; ++s) {
            for (int i = 0; i < 4; ++i) init(&barriers.full[s][i], 1);
            init(barriers.ready + s, 4), init(barriers.empty + s, GROUPS * 4);
        }
        asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
    }
    for (int i = threadIdx.x; i < stages * (BLOCKS + 1) * GAP; i += blockDim.x) {
        const int gap = i / GAP % (BLOCKS + 1), row = i / GAP / (BLOCKS + 1) * rows_of(length) + gap * (length + GAP) + i % GAP;
        *reinterpret_cast<int4*>(room + row * 16) = make_int4(0, 0, 0, 0);
    }
    shown();
    __syncthreads();
    constexpr int MANY = registers(GROUPS, N), FEW = (GROUPS == 2 ? 504 : 512) - GROUPS * MANY;
    if (threadIdx.x < 128) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(FEW));
        bring<longest(GROUPS, N) / 32>(x, barriers, shared_address(room), batch, length, stages);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(MANY));
        multiply<GROUPS, N>(w, y, barriers, room, batch, filters, length, stages, threadIdx.x / 128 - 1);
    }
}

// Whether it fits; then it is under way.
template <int GROUPS, int N>
bool launched(const __half* x, const __half* w, __half* y, int64_t batch, int64_t filters, int64_t length, cudaStream_t stream) {
    const int64_t across = (filters + GROUPS * 64 - 1) / (GROUPS * 64), strips = (filters < GROUPS * 64 ? filters : GROUPS * 64) / 16;
    const int64_t slot = rows_of(int(length)) * 16, gathered = strips * 16 * pitch_of(N), most = (232448 - 1024 - gathered) / slot;
    const int64_t stages = most < STAGES ? most : STAGES;
    if (stages < 2 || length > longest(GROUPS, N)) return false;
    const int bytes = int(stages * slot + gathered);
    cudaFuncSetAttribute(grouped<GROUPS, N>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    const dim3 grid(unsigned(batch < PROGRAMS ? batch : PROGRAMS), unsigned(across));
    grouped<GROUPS, N><<<grid, 128 + GROUPS * 128, bytes, stream>>>(x, w, y, int(batch), int(filters), int(length), int(stages));
    return true;
}

// With as many positions at a time as leave the fewest over.
bool launched(const __half* x, const __half* w, __half* y, int64_t batch, int64_t filters, int64_t length, cudaStream_t stream) {
    const auto all = [&](int n) { return (length + n - 1) / n * n; };
    if (filters > 128 && (all(88) < all(104) || length > longest(3, 104))) return launched<3, 88>(x, w, y, batch, filters, length, stream);
    if (filters > 128) return launched<3, 104>(x, w, y, batch, filters, length, stream);
    if (WHOLE && all(200) <= all(128) && all(200) <= all(104)) return launched<2, 200>(x, w, y, batch, filters, length, stream);
    return all(128) < all(104) ? launched<2, 128>(x, w, y, batch, filters, length, stream)
                               : launched<2, 104>(x, w, y, batch, filters, length, stream);
}

extern "C" void kernel(const __half* x, const __half* w, __half* y, void*, int64_t batch, int64_t channels, int64_t filters, int64_t length,
                       int64_t taps, cudaStream_t stream) {
    const int64_t all = filters / 16, strips = all < WARPS ? all : WARPS;
    const bool fits = channels == CHANNELS && taps == 3 && filters % 16 == 0 && length % 8 == 0 && strips > 0 && all % strips == 0 && WARPS % strips == 0;
    const int64_t sequence = CHANNELS * length * 2, gathered = CHUNK ? WARPS * 16 * PITCH : 0, most = (WARPS == 12 ? 232448 : 115712) - 1024 - gathered;
    const int64_t stages = most / sequence < STAGES ? most / sequence : STAGES;
    const bool turns = channels == CHANNELS && taps == 3 && filters % 16 == 0 && length % 8 == 0;
    if (ALGORITHM == 2 && turns && launched(x, w, y, batch, filters, length, stream)) return;
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
