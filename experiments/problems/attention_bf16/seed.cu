// Causal attention of bfloat16 heads, float32 inside. As it stands: a warp a query, 32 keys at a time from shared memory.
//
// The other way is for heads of 128 on the tensor cores of Hopper (wgmma), after FlashAttention-3 (Shah et al., 2024): a program has 128
// queries, 64 of each of two warp groups that multiply, while a third brings keys and values. A group takes the exponentials of one tile's
// scores while the products of its neighbours in time are under way, and the two groups take turns. Programs stay: each takes pairs of a long
// and a short tile of queries, so that all have the same work. It needs no tensor map: 16 bytes a thread are copied to where wgmma looks.

#include <cstddef>
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define ALGORITHM 0  // evo: {0, 1}
// Of the plain way: queries, a warp each, that share tiles of keys.
#define WARPS 8  // evo: {4, 8, 16}
// Of the other: keys of a tile, tiles of keys and of values in shared memory, tiles of queries there.
#define KEYS 64  // evo: {64, 128}
#define STAGES 2  // evo: {2, 3, 4}
#define QUERIES 1  // evo: {1, 2}
// evo: require ALGORITHM == 0 or 32 * QUERIES + KEYS * STAGES // 2 <= 224
// 1: the groups take turns, one multiplies while the other takes exponentials.
#define TURNS 0  // evo: {0, 1}
// Multiprocessors.
#define PROGRAMS 132  // evo: {132}
// Registers of a thread that multiplies; those that copy have what is left.
#define REGISTERS 232  // evo: {216, 232, 240}

constexpr int TILE = 32, MOST = 256;  // of the plain way: keys at a time, the longest head

__global__ void __launch_bounds__(WARPS * 32) plain(
    const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, __nv_bfloat16* y, int length, int dim, float scale) {
    extern __shared__ __align__(128) unsigned char room[];
    const int pitch = dim + 1;  // so that 32 keys lie in different banks
    float* keys = reinterpret_cast<float*>(room);
    float* values = keys + TILE * pitch;
    float* query = values + TILE * dim + threadIdx.x / 32 * dim;
    const int lane = threadIdx.x % 32, first = blockIdx.x * WARPS, row = first + threadIdx.x / 32;
    const int64_t head = int64_t(blockIdx.y) * length * dim;
    for (int d = lane; d < dim; d += 32) query[d] = row < length ? __bfloat162float(q[head + int64_t(row) * dim + d]) * scale : 0.0f;
    float sums[MOST / 32] = {}, top = -1.0e30f, norm = 0.0f;
    const int last = first + WARPS < length ? first + WARPS : length;
    for (int begin = 0; begin < last; begin += TILE) {
        __syncthreads();
        for (int i = threadIdx.x; i < TILE * dim; i += WARPS * 32) {
            const int key = i / dim, d = i % dim;
            const bool there = begin + key < length;
            keys[key * pitch + d] = there ? __bfloat162float(k[head + int64_t(begin + key) * dim + d]) : 0.0f;
            values[i] = there ? __bfloat162float(v[head + int64_t(begin + key) * dim + d]) : 0.0f;
        }
        __syncthreads();
        float score = 0.0f;
        for (int d = 0; d < dim; ++d) score += query[d] * keys[lane * pitch + d];
        if (begin + lane > row) score = -1.0e30f;
        float higher = score;
        for (int away = 16; away > 0; away /= 2) higher = fmaxf(higher, __shfl_xor_sync(~0u, higher, away));
        higher = fmaxf(higher, top);
        const float weight = exp2f(score - higher), shrink = exp2f(top - higher);
        norm = norm * shrink + weight;
        top = higher;
        for (int i = 0; i < MOST / 32; ++i) sums[i] *= shrink;
        for (int key = 0; key < TILE; ++key) {
            const float one = __shfl_sync(~0u, weight, key);
#pragma unroll
            for (int i = 0; i < MOST / 32; ++i)
                if (i * 32 + lane < dim) sums[i] += one * values[key * dim + i * 32 + lane];
        }
    }
    for (int away = 16; away > 0; away /= 2) norm += __shfl_xor_sync(~0u, norm, away);
#pragma unroll
    for (int i = 0; i < MOST / 32; ++i)
        if (row < length && i * 32 + lane < dim) y[head + int64_t(row) * dim + i * 32 + lane] = __float2bfloat16(sums[i] / norm);
}

constexpr int DIM = 128, ROWS = 128;                                    // a head, and queries of a program
constexpr int QUERY_BYTES = ROWS * DIM * 2, KEY_BYTES = KEYS * DIM * 2;  // of a tile in shared memory: two halves of 64 columns
constexpr int COPIED = KEYS / 8;                                        // pieces of 16 bytes that each of 128 threads copies

__device__ __forceinline__ uint32_t shared_address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }

__device__ __forceinline__ void wait_for(uint32_t barrier, int parity) {
    asm volatile(
        "{\n .reg .pred p;\n again%=:\n mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n @p bra done%=;\n bra again%=;\n done%=:\n}\n" ::"r"(barrier),
        "r"(parity)
        : "memory");
}

__device__ __forceinline__ bool is_there(uint32_t barrier, int parity) {
    uint32_t there;
    asm volatile("{\n .reg .pred p;\n mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\n selp.u32 %0, 1, 0, p;\n}\n"
                 : "=r"(there)
                 : "r"(barrier), "r"(parity)
                 : "memory");
    return there;
}

__device__ __forceinline__ void arrive(uint32_t barrier) {
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(barrier) : "memory");
}

// How wgmma finds a tile of rows of 128 bytes whose pieces of 16 bytes change places by the row's number (128-byte swizzle): 1024 bytes are
// eight rows. `far` bytes separate 64 columns from the next 64, where columns are what the sum does not go over.
__device__ __forceinline__ uint64_t described(uint32_t address, uint32_t far) {
    return uint64_t((address & 0x3FFFF) >> 4) | uint64_t(far >> 4) << 16 | uint64_t(1024 >> 4) << 32 | uint64_t(1) << 62;
}

#define EIGHT(s, i) "+f"(s[i]), "+f"(s[i + 1]), "+f"(s[i + 2]), "+f"(s[i + 3]), "+f"(s[i + 4]), "+f"(s[i + 5]), "+f"(s[i + 6]), "+f"(s[i + 7])
#define THIRTY_TWO(s, i) EIGHT(s, i), EIGHT(s, i + 8), EIGHT(s, i + 16), EIGHT(s, i + 24)

#define NAMES_32                                                                                                                              \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, " \
    "%29, %30, %31"
#define NAMES_64                                                                                                                                    \
    NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, " \
             "%58, %59, %60, %61, %62, %63"

// 64 queries times KEYS keys, over 16 of a head: both in shared memory.
__device__ __forceinline__ void scored(float (&s)[64], uint64_t queries, uint64_t keys, int add) {
    asm volatile("{\n .reg .pred p;\n setp.ne.b32 p, %66, 0;\n wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES_64
                 "}, %64, %65, p, 1, 1, 0, 0;\n}\n"
                 : THIRTY_TWO(s, 0), THIRTY_TWO(s, 32)
                 : "l"(queries), "l"(keys), "r"(add));
}

__device__ __forceinline__ void scored(float (&s)[32], uint64_t queries, uint64_t keys, int add) {
    asm volatile("{\n .reg .pred p;\n setp.ne.b32 p, %34, 0;\n wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" NAMES_32
                 "}, %32, %33, p, 1, 1, 0, 0;\n}\n"
                 : THIRTY_TWO(s, 0)
                 : "l"(queries), "l"(keys), "r"(add));
}

// 64 queries' weights of 16 keys, in registers, times these keys' values, whose columns lie beside each other.
__device__ __forceinline__ void weighted(float (&s)[64], const uint32_t* p, uint64_t values) {
    asm volatile("wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" NAMES_64 "}, {%64, %65, %66, %67}, %68, 1, 1, 1, 1;\n"
                 : THIRTY_TWO(s, 0), THIRTY_TWO(s, 32)
                 : "r"(p[0]), "r"(p[1]), "r"(p[2]), "r"(p[3]), "l"(values));
}

__device__ __forceinline__ void begun() { asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory"); }
__device__ __forceinline__ void committed() { asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory"); }

// Until all but the last MORE groups of products are done; the sums are named so that nothing reads them before.
template <int MORE>
__device__ __forceinline__ void done(float (&s)[64]) {
    asm volatile("wgmma.wait_group.sync.aligned %64;\n" : THIRTY_TWO(s, 0), THIRTY_TWO(s, 32) : "n"(MORE) : "memory");
}
template <int MORE>
__device__ __forceinline__ void done(float (&s)[32]) {
    asm volatile("wgmma.wait_group.sync.aligned %32;\n" : THIRTY_TWO(s, 0) : "n"(MORE) : "memory");
}
// Nothing that writes them moves behind this.
__device__ __forceinline__ void written(float (&s)[64]) { asm volatile("" : THIRTY_TWO(s, 0), THIRTY_TWO(s, 32)::"memory"); }

__device__ __forceinline__ float power(float x) {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(result) : "f"(x));
    return result;
}

// A place in a ring of `size` buffers, and the parity of the barrier there that shows the use of it that is meant.
struct Place {
    int at = 0, parity = 0;
    __device__ __forceinline__ void next(int size) {
        if (++at == size) at = 0, parity ^= 1;
    }
};

struct Shared {
    uint64_t queries_full[QUERIES], queries_empty[QUERIES], keys_full[STAGES], keys_empty[STAGES], values_full[STAGES], values_empty[STAGES];
};

// Tiles of queries of a program: of each pair, the one with more keys first.
struct Work {
    int number, tiles, pairs, all, second = 0;
    __device__ __forceinline__ Work(int length, int heads)
        : number(blockIdx.x), tiles((length + ROWS - 1) / ROWS), pairs((tiles + 1) / 2), all(heads * pairs) {}
    __device__ __forceinline__ bool more() const { return number < all; }
    __device__ __forceinline__ int head() const { return number / pairs; }
    __device__ __forceinline__ int tile() const { return second ? number % pairs : tiles - 1 - number % pairs; }
    __device__ __forceinline__ void next() {
        if (!second && number % pairs != tiles - 1 - number % pairs) second = 1;
        else second = 0, number += gridDim.x;
    }
    // Tiles of keys that some query of the tile sees.
    __device__ __forceinline__ int steps(int length) const {
        const int end = tile() * ROWS + ROWS < length ? tile() * ROWS + ROWS : length;
        return (end + KEYS - 1) / KEYS;
    }
};

// The group that copies. What one copy brings is announced only once it lies there, before the next would have to wait.
struct Copier {
    uint32_t announced = 0;
    __device__ __forceinline__ void announce() {
        if (announced == 0) return;
        asm volatile("cp.async.wait_all;\n fence.proxy.async.shared::cta;\n" ::: "memory");
        arrive(announced);
        announced = 0;
    }
    template <int PIECES>
    __device__ __forceinline__ void copy(const __nv_bfloat16* from, int rows, uint32_t to, uint32_t full, uint32_t empty, int parity) {
        if (!is_there(empty, parity ^ 1)) {
            announce();
            wait_for(empty, parity ^ 1);
        }
        const int thread = threadIdx.x % 128, row = thread / 16, piece = thread % 16;
        const uint32_t place = to + piece / 8 * (PIECES * 8 * 128) + row * 128 + ((piece % 8 ^ row) << 4);
        const char* source = reinterpret_cast<const char*>(from) + thread * 16;
#pragma unroll
        for (int i = 0; i < PIECES; ++i) {
            const int bytes = row + i * 8 < rows ? 16 : 0;  // the rest is zeros
            asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;\n" ::"r"(place + i * 1024), "l"(bytes ? source + i * 2048 : source),
                         "r"(bytes)
                         : "memory");
        }
        asm volatile("cp.async.commit_group;\n" ::: "memory");
        if (announced != 0) {
            asm volatile("cp.async.wait_group 1;\n fence.proxy.async.shared::cta;\n" ::: "memory");
            arrive(announced);
        }
        announced = full;
    }
};

__device__ __forceinline__ void bring(
    const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, Shared& barriers, uint32_t room, int heads, int length) {
    const uint32_t keys = room + QUERIES * QUERY_BYTES, values = keys + STAGES * KEY_BYTES;
    Copier copier;
    Place query, key, value;
    for (Work work(length, heads); work.more(); work.next()) {
        const int64_t head = int64_t(work.head()) * length * DIM;
        const int first = work.tile() * ROWS, steps = work.steps(length);
        copier.copy<ROWS / 8>(q + head + int64_t(first) * DIM, length - first, room + query.at * QUERY_BYTES,
                              shared_address(barriers.queries_full + query.at), shared_address(barriers.queries_empty + query.at), query.parity);
        query.next(QUERIES);
        for (int step = 0; step <= steps; ++step) {  // keys are one step ahead of values
            if (step < steps) {
                const int begin = (steps - 1 - step) * KEYS;
                copier.copy<COPIED>(k + head + int64_t(begin) * DIM, length - begin, keys + key.at * KEY_BYTES,
                                    shared_address(barriers.keys_full + key.at), shared_address(barriers.keys_empty + key.at), key.parity);
                key.next(STAGES);
            }
            if (step > 0) {
                const int begin = (steps - step) * KEYS;
                copier.copy<COPIED>(v + head + int64_t(begin) * DIM, length - begin, values + value.at * KEY_BYTES,
                                    shared_address(barriers.values_full + value.at), shared_address(barriers.values_empty + value.at), value.parity);
                value.next(STAGES);
            }
        }
    }
    copier.announce();
}

// A group that multiplies. `group`: 0 or 1.
struct Attention {
    static constexpr int SCORES = KEYS / 2;
    float total[64], top[2], norm[2];
    uint32_t weights[KEYS / 4];

    // The online softmax of one tile; what the sums so far are to be multiplied with comes back.
    __device__ __forceinline__ void softmax(float (&s)[SCORES], float scale, float (&shrink)[2], bool hides, int row, int begin) {
        const int place = threadIdx.x % 4 * 2;
        if (hides) {
#pragma unroll
            for (int i = 0; i < SCORES; ++i)
                if (begin + i / 4 * 8 + place + i % 2 > row + i % 4 / 2 * 8) s[i] = -1.0e30f;
        }
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float higher = top[r];
#pragma unroll
            for (int i = 0; i < SCORES; i += 4) higher = fmaxf(higher, fmaxf(s[i + 2 * r], s[i + 2 * r + 1]));
            higher = fmaxf(higher, __shfl_xor_sync(~0u, higher, 1));
            higher = fmaxf(higher, __shfl_xor_sync(~0u, higher, 2));
            shrink[r] = power((top[r] - higher) * scale);
            top[r] = higher;
            const float away = higher * scale;
            float sum = 0.0f;
#pragma unroll
            for (int i = 0; i < SCORES; i += 4) {
                s[i + 2 * r] = power(s[i + 2 * r] * scale - away);
                s[i + 2 * r + 1] = power(s[i + 2 * r + 1] * scale - away);
                sum += s[i + 2 * r] + s[i + 2 * r + 1];
            }
            norm[r] = norm[r] * shrink[r] + sum;
        }
    }

    __device__ __forceinline__ void round(const float (&s)[SCORES]) {
#pragma unroll
        for (int i = 0; i < SCORES / 2; ++i) {
            const __nv_bfloat162 both = __floats2bfloat162_rn(s[2 * i], s[2 * i + 1]);
            weights[i] = *reinterpret_cast<const uint32_t*>(&both);
        }
    }

    __device__ __forceinline__ void score(float (&s)[SCORES], uint32_t queries, uint32_t keys) {
        begun();
#pragma unroll
        for (int step = 0; step < DIM / 16; ++step)
            scored(s, described(queries + step / 4 * (ROWS * 128) + step % 4 * 32, 16), described(keys + step / 4 * (KEYS * 128) + step % 4 * 32, 16),
                   step > 0);
        committed();
    }

    __device__ __forceinline__ void weigh(uint32_t values) {
        written(total);
        begun();
#pragma unroll
        for (int step = 0; step < KEYS / 16; ++step) weighted(total, weights + step * 4, described(values + step * 2048, KEYS * 128));
        committed();
    }

    // Four neighbouring threads have two columns each of each eight; each of them writes whole eights, 16 bytes.
    __device__ __forceinline__ void write(__nv_bfloat16* y, int row, int length) {
        const int place = threadIdx.x % 4;
#pragma unroll
        for (int r = 0; r < 2; ++r) {
            float sum = norm[r];
            sum += __shfl_xor_sync(~0u, sum, 1);
            sum += __shfl_xor_sync(~0u, sum, 2);
            const float factor = 1.0f / sum;
#pragma unroll
            for (int block = 0; block < 16; block += 4) {
                uint32_t mine[4], whole[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const __nv_bfloat162 both =
                        __floats2bfloat162_rn(total[(block + i) * 4 + 2 * r] * factor, total[(block + i) * 4 + 2 * r + 1] * factor);
                    mine[i] = *reinterpret_cast<const uint32_t*>(&both);
                }
                // whole[t] of thread p is mine[p] of thread t: a transposition by exchanges with the thread 1 and 2 away
                const bool odd = place & 1, high = place & 2;
                const uint32_t a = __shfl_xor_sync(~0u, odd ? mine[0] : mine[1], 1), b = __shfl_xor_sync(~0u, odd ? mine[2] : mine[3], 1);
                const uint32_t c[4] = {odd ? a : mine[0], odd ? mine[1] : a, odd ? b : mine[2], odd ? mine[3] : b};
                const uint32_t e = __shfl_xor_sync(~0u, high ? c[0] : c[2], 2), f = __shfl_xor_sync(~0u, high ? c[1] : c[3], 2);
                whole[0] = high ? e : c[0], whole[1] = high ? f : c[1], whole[2] = high ? c[2] : e, whole[3] = high ? c[3] : f;
                if (row + r * 8 < length)
                    *reinterpret_cast<uint4*>(y + int64_t(row + r * 8) * DIM + (block + place) * 8) = make_uint4(whole[0], whole[1], whole[2], whole[3]);
            }
        }
    }
};

__device__ __forceinline__ void my_turn(int group) {
    if (TURNS) asm volatile("bar.sync %0, 256;\n" ::"r"(group + 1) : "memory");
}
__device__ __forceinline__ void your_turn(int group) {
    if (TURNS) asm volatile("bar.arrive %0, 256;\n" ::"r"(2 - group) : "memory");
}

__device__ __forceinline__ void multiply(__nv_bfloat16* y, Shared& barriers, uint32_t room, int heads, int length, float scale, int group) {
    const uint32_t keys = room + QUERIES * QUERY_BYTES, values = keys + STAGES * KEY_BYTES;
    const int lane = threadIdx.x % 32, mine = group * 64 + threadIdx.x % 128 / 32 * 16 + lane / 4;
    const auto leave = [&](uint64_t* empty) {
        if (lane == 0) arrive(shared_address(empty));
    };
    Place query, key, value;
    if (group == 1) your_turn(group);
    for (Work work(length, heads); work.more(); work.next()) {
        const int first = work.tile() * ROWS, row = first + mine, steps = work.steps(length);
        const uint32_t queries = room + query.at * QUERY_BYTES + group * 64 * 128;
        Attention a;
#pragma unroll
        for (int i = 0; i < 64; ++i) a.total[i] = 0.0f;
        a.top[0] = a.top[1] = -1.0e30f, a.norm[0] = a.norm[1] = 0.0f;
        wait_for(shared_address(barriers.queries_full + query.at), query.parity);
        float s[Attention::SCORES], shrink[2];
        wait_for(shared_address(barriers.keys_full + key.at), key.parity);
        my_turn(group);
        a.score(s, queries, keys + key.at * KEY_BYTES);
        your_turn(group);
        done<0>(s);
        leave(barriers.keys_empty + key.at);
        key.next(STAGES);
        a.softmax(s, scale, shrink, true, row, (steps - 1) * KEYS);
        a.round(s);
        for (int step = steps - 2; step >= 0; --step) {
            wait_for(shared_address(barriers.keys_full + key.at), key.parity);
            my_turn(group);
            a.score(s, queries, keys + key.at * KEY_BYTES);
            wait_for(shared_address(barriers.values_full + value.at), value.parity);
            a.weigh(values + value.at * KEY_BYTES);
            your_turn(group);
            done<1>(s);
            leave(barriers.keys_empty + key.at);
            key.next(STAGES);
            a.softmax(s, scale, shrink, (step + 1) * KEYS > first + group * 64, row, step * KEYS);
            done<0>(a.total);
            leave(barriers.values_empty + value.at);
            value.next(STAGES);
#pragma unroll
            for (int i = 0; i < 64; ++i) a.total[i] *= shrink[i % 4 / 2];
            a.round(s);
        }
        leave(barriers.queries_empty + query.at);
        query.next(QUERIES);
        wait_for(shared_address(barriers.values_full + value.at), value.parity);
        a.weigh(values + value.at * KEY_BYTES);
        done<0>(a.total);
        leave(barriers.values_empty + value.at);
        value.next(STAGES);
        a.write(y + int64_t(work.head()) * length * DIM, row, length);
    }
}

__global__ void __launch_bounds__(384, 1) tensor(
    const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, __nv_bfloat16* y, int heads, int length, float scale) {
    extern __shared__ __align__(1024) unsigned char everything[];
    __shared__ Shared barriers;
    const uint32_t room = (shared_address(everything) + 1023) / 1024 * 1024;
    if (threadIdx.x == 0) {
        const auto init = [](uint64_t* barrier, int size, int arrivals) {
            for (int i = 0; i < size; ++i) asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier + i)), "r"(arrivals));
        };
        init(barriers.queries_full, QUERIES, 128), init(barriers.keys_full, STAGES, 128), init(barriers.values_full, STAGES, 128);
        init(barriers.queries_empty, QUERIES, 8), init(barriers.keys_empty, STAGES, 8), init(barriers.values_empty, STAGES, 8);
    }
    __syncthreads();
    if (threadIdx.x < 128) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"((504 - 2 * REGISTERS) / 8 * 8));
        bring(q, k, v, barriers, room, heads, length);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(REGISTERS));
        multiply(y, barriers, room, heads, length, scale, threadIdx.x / 128 - 1);
    }
}

extern "C" void kernel(const __nv_bfloat16* q, const __nv_bfloat16* k, const __nv_bfloat16* v, __nv_bfloat16* y, void*, int64_t batch, int64_t heads,
                       int64_t length, int64_t dim, cudaStream_t stream) {
    const float scale = 1.4426950408889634f / sqrtf(float(dim));
    if (ALGORITHM == 1 && dim == DIM) {
        const int64_t items = batch * heads * (((length + ROWS - 1) / ROWS + 1) / 2);
        const int bytes = QUERIES * QUERY_BYTES + 2 * STAGES * KEY_BYTES + 1024;
        cudaFuncSetAttribute(tensor, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        tensor<<<unsigned(items < PROGRAMS ? items : PROGRAMS), 384, bytes, stream>>>(q, k, v, y, int(batch * heads), int(length), scale);
    } else {
        const int bytes = int((TILE * (dim + 1) + TILE * dim + WARPS * dim) * 4);
        cudaFuncSetAttribute(plain, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
        plain<<<dim3(unsigned((length + WARPS - 1) / WARPS), unsigned(batch * heads)), WARPS * 32, bytes, stream>>>(q, k, v, y, int(length), int(dim), scale);
    }
}
