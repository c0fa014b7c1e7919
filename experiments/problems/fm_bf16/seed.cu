// Optimized factorization machine, x (xᵀ w) of bfloat16 batches, float32 inside. As it stands: a block an entry, xᵀ w in shared memory, a
// thread an element.
//
// The other way reads x once and is to wait for nothing but memory. Programs are small, several share a multiprocessor; each stays and has
// entries come in bulk (cp.async.bulk) into a ring of buffers. A warp works on some of w's columns: (xᵀ w)ᵀ of these on the tensor cores
// lies in its registers as the second product takes it, so that nothing goes from warp to warp. It is taken as two bfloat16 numbers, of
// which the second holds what the first rounds away: with one alone, outputs in which large terms cancel are too far off.
//
// An entry comes in eight pieces, one behind the other with 16 bytes between them. The eight rows that ldmatrix reads at once are one of
// each piece, so that they lie in different banks though a row is a whole line; what order the rows are in does not matter to the first
// product, and the second has its own rows in the same order.

#include <cstddef>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define ALGORITHM 0  // evo: {0, 1}
// Of the plain way.
#define THREADS 256  // evo: {64, 128, 256, 512}
// Of the other: columns of w that a warp works on; warps that share them, half of x's columns each in the first product, half of its rows
// in the second.
#define COLUMNS 16  // evo: {16, 32}
#define SHARERS 1   // evo: {1, 2}
// Entries that a program has room for, and programs that a multiprocessor has, where so many fit. 0: a program an entry.
#define STAGES 1    // evo: {1, 2, 3, 4, 5}
#define RESIDENT 4  // evo: {0, 1, 2, 3, 4, 5, 6, 8}
// 1: only as many programs as it takes for all of them to have the same number of entries.
#define EVEN 0  // evo: {0, 1}
// 1: a warp of its own sees to the copies.
#define COPIER 0  // evo: {0, 1}
// Sixteens of rows that are multiplied side by side.
#define TILES 2  // evo: {1, 2, 4}
// 0: y is written as it comes, 4 bytes a thread; 1: 16 bytes, after an exchange among four threads; 2: in bulk, from where w was.
#define WRITE 0  // evo: {0, 1, 2}
#define STREAM 0  // evo: {0, 1}
// evo: require STREAM == 0 or WRITE != 2
// 1: x and w are marked for being used once.
#define ONCE 0  // evo: {0, 1}

// Of an entry, `columns` columns of y, for which xᵀ w is kept.
__global__ void __launch_bounds__(THREADS) plain(
    const __nv_bfloat16* x, const __nv_bfloat16* w, __nv_bfloat16* y, int64_t n, int64_t d, int64_t k, int64_t columns) {
    extern __shared__ __align__(128) unsigned char room[];
    float* middle = reinterpret_cast<float*>(room);
    const int64_t first = blockIdx.y * columns, mine = k - first < columns ? k - first : columns;
    x += blockIdx.x * n * d, w += blockIdx.x * n * k + first, y += blockIdx.x * n * k + first;
    for (int64_t at = threadIdx.x; at < d * mine; at += THREADS) {
        float total = 0.0f;
        for (int64_t p = 0; p < n; ++p) total += __bfloat162float(x[p * d + at / mine]) * __bfloat162float(w[p * k + at % mine]);
        middle[at] = total;
    }
    __syncthreads();
    for (int64_t at = threadIdx.x; at < n * mine; at += THREADS) {
        float total = 0.0f;
        for (int64_t c = 0; c < d; ++c) total += __bfloat162float(x[at / mine * d + c]) * middle[c * mine + at % mine];
        y[at / mine * k + at % mine] = __float2bfloat16(total);
    }
}

constexpr int AT_ONCE = TILES, PIECES = 8, GAP = 16;

__device__ __forceinline__ uint32_t shared_address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

__device__ __forceinline__ void arrived(uint32_t barrier, uint32_t parity) {
    asm volatile(
        "{\n .reg .pred p;\n again%=:\n mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n @p bra done%=;\n bra again%=;\n done%=:\n}\n" ::"r"(barrier),
        "r"(parity)
        : "memory");
}

__device__ __forceinline__ void copied(uint32_t to, const __nv_bfloat16* from, int bytes, uint32_t barrier) {
    if (ONCE) {
        uint64_t policy;
        asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;\n" : "=l"(policy));
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], %4;\n" ::"r"(to), "l"(from),
                     "r"(bytes), "r"(barrier), "l"(policy)
                     : "memory");
    } else {
        asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];\n" ::"r"(to), "l"(from), "r"(bytes),
                     "r"(barrier)
                     : "memory");
    }
}

// Until what was written in bulk has been read from shared memory.
__device__ __forceinline__ void sent() { asm volatile("cp.async.bulk.wait_group.read 0;\n" ::: "memory"); }

__device__ __forceinline__ void product(float (&sum)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 16 rows and 16 columns.
__device__ __forceinline__ void loaded(uint32_t (&r)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}
__device__ __forceinline__ void loaded_turned(uint32_t (&r)[4], uint32_t address) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address));
}

__device__ __forceinline__ uint32_t packed(float low, float high) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&both);
}

template <typename T>
__device__ __forceinline__ void put(__nv_bfloat16* to, T value) {
    if (STREAM) __stcs(reinterpret_cast<T*>(to), value);
    else *reinterpret_cast<T*>(to) = value;
}

// What a warp does of an entry: x and w in shared memory at `xs` and `ws`, y from `y` on.
template <int D, int K>
__device__ __forceinline__ void multiplied(uint32_t xs, uint32_t ws, uint4* exchanged, __nv_bfloat16* y, int n, int warp) {
    constexpr int STEPS = D / 16, MINE = STEPS / SHARERS, BLOCKS = COLUMNS / 16;  // sixteens of x's columns, of them mine at first, of w's
    const int lane = threadIdx.x % 32, quad = lane / 4, place = lane % 4, rows = n / PIECES, half = warp % SHARERS, strip = warp / SHARERS;
    const int x_pitch = rows * D * 2 + GAP, w_pitch = rows * K * 2 + GAP, column = strip * COLUMNS;
    // ldmatrix takes a row's address from each thread: of pieces 0 to 7 for the first of two rows, for the second, and both 8 columns on.
    const uint32_t left = xs + lane % 8 * x_pitch + lane / 8 % 2 * (D * 2) + lane / 16 * 16;
    // For wᵀ the 8 columns change before the rows do.
    const uint32_t right = ws + lane % 8 * w_pitch + lane / 8 % 2 * 16 + lane / 16 * (K * 2) + column * 2;
    const uint32_t own = left + half * (MINE * 32), other = left + (1 - half) * (MINE * 32);
    float middle[BLOCKS][MINE * 2][4] = {};
#pragma unroll AT_ONCE
    for (int tile = 0; tile < n / 16; ++tile) {
        uint32_t a[BLOCKS][4];
#pragma unroll
        for (int block = 0; block < BLOCKS; ++block) loaded_turned(a[block], right + tile * (K * 4) + block * 32);
#pragma unroll
        for (int step = 0; step < MINE; ++step) {
            uint32_t b[4];
            loaded_turned(b, own + tile * (D * 4) + step * 32);
#pragma unroll
            for (int block = 0; block < BLOCKS; ++block) {
                product(middle[block][2 * step], a[block], b[0], b[1]);
                product(middle[block][2 * step + 1], a[block], b[2], b[3]);
            }
        }
    }
    // Sums of w's column `quad` (and + 8) at x's columns 2 `place`, + 1: as the second product wants them of its right side, which holds
    // two words for each 8 columns. Of each, what bfloat16 holds and what is left.
    uint32_t m[STEPS][BLOCKS][2][4];
#pragma unroll
    for (int step = 0; step < MINE; ++step)
#pragma unroll
        for (int block = 0; block < BLOCKS; ++block)
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const float low = middle[block][2 * step + i % 2][i / 2 * 2], high = middle[block][2 * step + i % 2][i / 2 * 2 + 1];
                const uint32_t first = packed(low, high);
                m[step][block][0][i] = first;
                m[step][block][1][i] = packed(low - __uint_as_float(first << 16), high - __uint_as_float(first & 0xFFFF0000u));
            }
    if constexpr (SHARERS == 2) {
        constexpr int SIZE = MINE * BLOCKS * 2 * 32;
        uint4 *mine = exchanged + (strip * 2 + half) * SIZE + lane, *theirs = exchanged + (strip * 2 + 1 - half) * SIZE + lane;
        const auto together = [&] { asm volatile("bar.sync %0, 64;\n" ::"r"(strip + 1) : "memory"); };
        const auto each = [&](auto f) {
#pragma unroll
            for (int i = 0; i < MINE * BLOCKS * 2; ++i) f(i * 32, i / (BLOCKS * 2), i / 2 % BLOCKS, i % 2);
        };
        each([&](int at, int step, int block, int part) {
            const uint32_t(&word)[4] = m[step][block][part];
            mine[at] = make_uint4(word[0], word[1], word[2], word[3]);
        });
        together();
        each([&](int at, int step, int block, int part) {
            const uint4 word = theirs[at];
            uint32_t(&to)[4] = m[MINE + step][block][part];
            to[0] = word.x, to[1] = word.y, to[2] = word.z, to[3] = word.w;
        });
        together();  // so that nobody writes the next entry's before these are read
    }
    const auto several = [&]<int N>(int tile) {
        float sum[N][BLOCKS * 2][4] = {};
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
            uint32_t a[N][4];
#pragma unroll
            for (int u = 0; u < N; ++u) loaded(a[u], (step < MINE ? own + step * 32 : other + (step - MINE) * 32) + (tile + u) * (D * 4));
#pragma unroll
            for (int part = 1; part >= 0; --part)
#pragma unroll
                for (int u = 0; u < N; ++u)
#pragma unroll
                    for (int i = 0; i < BLOCKS * 2; ++i) product(sum[u][i], a[u], m[step][i / 2][part][i % 2 * 2], m[step][i / 2][part][i % 2 * 2 + 1]);
        }
#pragma unroll
        for (int u = 0; u < N; ++u)
#pragma unroll
            for (int block = 0; block < BLOCKS; ++block) {
                // of two rows, one behind the other: two columns of 8 and of the next 8
                uint32_t word[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) word[i] = packed(sum[u][block * 2 + i % 2][i / 2 * 2], sum[u][block * 2 + i % 2][i / 2 * 2 + 1]);
                const int row = 2 * (tile + u), from = column + block * 16;
                if constexpr (WRITE == 1) {
                    // word[t] of thread p becomes that of number p of thread t, by exchanges with the threads 1 and 2 away
                    const bool odd = place & 1, high = place & 2;
                    const uint32_t a = __shfl_xor_sync(~0u, odd ? word[0] : word[1], 1), b = __shfl_xor_sync(~0u, odd ? word[2] : word[3], 1);
                    const uint32_t c[4] = {odd ? a : word[0], odd ? word[1] : a, odd ? b : word[2], odd ? word[3] : b};
                    const uint32_t e = __shfl_xor_sync(~0u, high ? c[0] : c[2], 2), f = __shfl_xor_sync(~0u, high ? c[1] : c[3], 2);
                    put(y + (quad * rows + row + place / 2) * K + from + place % 2 * 8,
                        make_uint4(high ? e : c[0], high ? f : c[1], high ? c[2] : e, high ? c[3] : f));
                } else {
#pragma unroll
                    for (int i = 0; i < 4; ++i) {
                        const int at = (row + i / 2) * K + from + i % 2 * 8 + place * 2;
                        if (WRITE == 2) asm volatile("st.shared.b32 [%0], %1;\n" ::"r"(ws + quad * w_pitch + at * 2), "r"(word[i]) : "memory");
                        else put(y + quad * rows * K + at, word[i]);
                    }
                }
            }
    };
    int tile = n / 16 * half / SHARERS;
    const int end = n / 16 * (half + 1) / SHARERS;
    for (; tile + AT_ONCE <= end; tile += AT_ONCE) several.template operator()<AT_ONCE>(tile);
    if constexpr (AT_ONCE == 4)
        for (; tile + 2 <= end; tile += 2) several.template operator()<2>(tile);
    if constexpr (AT_ONCE > 1)
        for (; tile < end; ++tile) several.template operator()<1>(tile);
}

template <int D, int K>
__global__ void __launch_bounds__((K / COLUMNS * SHARERS + COPIER) * 32, 1) tensor(
    const __nv_bfloat16* x, const __nv_bfloat16* w, __nv_bfloat16* y, int batch, int n, int stages) {
    constexpr int WARPS = K / COLUMNS * SHARERS;
    extern __shared__ __align__(128) unsigned char room[];
    __shared__ uint64_t full[5], empty[5];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, rows = n / PIECES, x_bytes = rows * D * 2, w_bytes = rows * K * 2;
    const int w_begin = PIECES * (x_bytes + GAP), size = w_begin + PIECES * (w_bytes + GAP);
    if (threadIdx.x == 0) {
        for (int s = 0; s < stages; ++s) {
            asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;\n" ::"r"(shared_address(full + s)));
            asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(empty + s)), "r"(WARPS));
        }
        asm volatile("fence.mbarrier_init.release.cluster;\n fence.proxy.async.shared::cta;\n" ::: "memory");
    }
    __syncthreads();
    const uint32_t buffers = shared_address(room), piece = lane * (w_bytes + GAP);
    const auto fetch = [&](int b, int s) {
        const uint32_t to = buffers + s * size, barrier = shared_address(full + s);
        if (lane == 0) asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(barrier), "r"(PIECES * (x_bytes + w_bytes)) : "memory");
        __syncwarp();
        if (lane < PIECES) {
            copied(to + lane * (x_bytes + GAP), x + (int64_t(b) * n + lane * rows) * D, x_bytes, barrier);
            if (WRITE == 2) sent();
            copied(to + w_begin + piece, w + (int64_t(b) * n + lane * rows) * K, w_bytes, barrier);
        }
    };
    const auto renew = [&](int b, int s, int parity) {
        const bool more = b + stages * int(gridDim.x) < batch;
        if (!more && WRITE != 2) return;
        arrived(shared_address(empty + s), parity);
        if (WRITE == 2 && lane < PIECES)
            asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;\n cp.async.bulk.commit_group;\n" ::"l"(
                             y + (int64_t(b) * n + lane * rows) * K),
                         "r"(buffers + s * size + w_begin + piece), "r"(w_bytes)
                         : "memory");
        if (more) fetch(b + stages * int(gridDim.x), s);
    };
    const bool copies = warp == (COPIER ? WARPS : 0);
    if (copies)
        for (int s = 0; s < stages; ++s)
            if (blockIdx.x + s * gridDim.x < batch) fetch(blockIdx.x + s * gridDim.x, s);
    int stage = 0, parity = 0;
    for (int b = blockIdx.x; b < batch; b += gridDim.x) {
        if (warp < WARPS) {
            const uint32_t xs = buffers + stage * size;
            arrived(shared_address(full + stage), parity);
            multiplied<D, K>(xs, xs + w_begin, reinterpret_cast<uint4*>(room + stages * size), y + int64_t(b) * n * K, n, warp);
            if (WRITE == 2) asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
            __syncwarp();
            if (lane == 0) asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(empty + stage)) : "memory");
        }
        if (copies) renew(b, stage, parity);
        __syncwarp();
        if (++stage == stages) stage = 0, parity ^= 1;
    }
    if (WRITE == 2 && copies) sent();
}

// Whether it fits.
template <int D, int K>
static bool launched(const __nv_bfloat16* x, const __nv_bfloat16* w, __nv_bfloat16* y, int64_t batch, int64_t n, cudaStream_t stream) {
    constexpr int THERE = (K / COLUMNS * SHARERS + COPIER) * 32, EXCHANGED = SHARERS == 2 ? K * D * 4 : 0;
    const int64_t size = n * (D + K) * 2 + 2 * PIECES * GAP, most = (232448 - 1024 - EXCHANGED) / size, wanted = RESIDENT ? STAGES : 1;
    const int64_t stages = most < wanted ? most : wanted;
    if (stages == 0) return false;
    const int bytes = int(stages * size + EXCHANGED);
    cudaFuncSetAttribute(tensor<D, K>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    int64_t programs = batch;
    if (RESIDENT) {
        int resident = 1, multiprocessors = 132;
        cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, 0);
        cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, tensor<D, K>, THERE, bytes);
        programs = int64_t(multiprocessors) * (resident < 1 ? 1 : resident < RESIDENT ? resident : RESIDENT);
        const int64_t turns = (batch + programs - 1) / programs;
        if (EVEN) programs = (batch + turns - 1) / turns;
        if (programs > batch) programs = batch;
    }
    tensor<D, K><<<unsigned(programs), THERE, bytes, stream>>>(x, w, y, int(batch), int(n), int(stages));
    return true;
}

extern "C" void kernel(const __nv_bfloat16* x, const __nv_bfloat16* w, __nv_bfloat16* y, void*, int64_t batch, int64_t n, int64_t d, int64_t k,
                       cudaStream_t stream) {
    if (ALGORITHM == 1 && n % 16 == 0 && n > 0 && batch > 0) {
        if (d == 128 && k == 32 && launched<128, 32>(x, w, y, batch, n, stream)) return;
        if (d == 128 && k == 64 && launched<128, 64>(x, w, y, batch, n, stream)) return;
        if (d == 64 && k == 32 && launched<64, 32>(x, w, y, batch, n, stream)) return;
        if (d == 64 && k == 64 && launched<64, 64>(x, w, y, batch, n, stream)) return;
    }
    const int64_t most = 12288 / d, columns = most < 1 ? 1 : most < k ? most : k;
    plain<<<dim3(unsigned(batch), unsigned((k + columns - 1) / columns)), THREADS, columns * d * 4, stream>>>(x, w, y, n, d, k, columns);
}
