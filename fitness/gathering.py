"""A program that only picks the rows a problem picks: the ceiling of embeddings, sparse matrices and their like.

It reads the problem's own index array and, in its order, the rows of the table that it names; every other input is read once
in order and every output written once. Rows come in the problem's own size from the problem's own slots, so what repeats in
a cache, repeats here too. The rows of later items are prefetched, as a good kernel would.
"""

from __future__ import annotations

import math

from fitness.problem import Problem, Sizes

__all__ = ["source"]

TEXT = """\
#include <cstdint>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#define AHEAD {ahead}
#define ONCE {once}  // whether what is read in order passes by the caches, which leaves them to the table
#define FAR 256     // items ahead at which what is read in order is prefetched
#define CHUNK 1024  // items between two readings of the other inputs
#define EVO_FLAGS "-O2"  // evo: {{"-O2"}}

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif

typedef float wide __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef {element} element __attribute__((may_alias));
static const int64_t W = BYTES / 4;

static wide read(const void* data, int64_t words) {{
    const float* from = static_cast<const float*>(data);
    wide sums[4] = {{}};
    int64_t i = 0;
    for (; i + 4 * W <= words; i += 4 * W)
        for (int u = 0; u < 4; ++u) sums[u] += *reinterpret_cast<const wide*>(from + i + u * W);
    for (; i + W <= words; i += W) sums[0] += *reinterpret_cast<const wide*>(from + i);
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}}

static void fill(void* data, int64_t words) {{
    float* to = static_cast<float*>(data);
    int64_t i = 0;
    for (; i + W <= words; i += W) *reinterpret_cast<wide*>(to + i) = wide{{}};
    for (; i < words; ++i) to[i] = 0.0f;
}}

// What is read in order beside the picking, as far along as that is.
struct Others {{
    const void* const* in;
    const int64_t* words;
    int64_t each[{count_in}];  // 65536ths of a word for each item

    void prefetch(int64_t item) const {{
        for (int k = 0; k < {count_in}; ++k)
            if (each[k] >> 12) __builtin_prefetch(static_cast<const float*>(in[k]) + ((item + FAR) * each[k] >> 16), 0, ONCE ? 0 : 3);
    }}
    wide read_between(int64_t item, int64_t last, bool all) const {{
        wide sum = {{}};
        for (int k = 0; k < {count_in}; ++k) {{
            const int64_t begin = item * each[k] >> 16, end = all ? words[k] : last * each[k] >> 16;
            sum += read(static_cast<const float*>(in[k]) + begin, end - begin);
        }}
        return sum;
    }}
}};

// Items [i, last) of `picks`, rows of ROW words; known ahead, so that a short row is no loop.
template <int64_t ROW>
static wide gather(const float* table, const element* index, int64_t i, int64_t last, int64_t picks, const Others& others) {{
    constexpr int64_t row = ROW;
    wide sums[4] = {{}};
    if (row == 1) {{
        float eight[8] = {{}};
        for (; i + 16 <= last; i += 16) {{
            __builtin_prefetch(index + i + FAR, 0, ONCE ? 0 : 3);
            others.prefetch(i);
#if AHEAD >= 64 && defined(__AVX2__)  // words one by one, or by the instruction for it: which is faster depends on the processor
            if (sizeof(element) == 4) {{
                const __m256i* at = reinterpret_cast<const __m256i*>(index + i);
                __m256 sum = _mm256_loadu_ps(eight);
                for (int u = 0; u < 2; ++u) sum = _mm256_add_ps(sum, _mm256_i32gather_ps(table, _mm256_loadu_si256(at + u), 4));
                _mm256_storeu_ps(eight, sum);
                continue;
            }}
#endif
            for (int u = 0; u < 16; ++u) eight[u % 8] += table[index[i + u]];
        }}
        for (; i < last; ++i) eight[0] += table[index[i]];
        for (int u = 0; u < 8; ++u) sums[u % 4][u / 4] = eight[u];
        return (sums[0] + sums[1]) + (sums[2] + sums[3]);
    }}
    for (; i < last; ++i) {{
        if (AHEAD && i + AHEAD < picks) {{
            const float* later = table + index[i + AHEAD] * row;
#pragma GCC unroll 8
            for (int64_t c = 0; c < row; c += 16) __builtin_prefetch(later + c, 0, {level});
        }}
        const float* from = table + index[i] * row;
#pragma GCC unroll 8
        for (int64_t c = 0; c + W <= row; c += W) sums[c / W % 4] += *reinterpret_cast<const wide*>(from + c);
#pragma GCC unroll 8
        for (int64_t c = row / W * W; c < row; ++c) sums[c % 4][0] += from[c];
    }}
    return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}}

extern "C" void kernel({parameters}) {{
    int64_t picks = 0;
    wide (*pick)(const float*, const element*, int64_t, int64_t, int64_t, const Others&) = gather<1>;
    int64_t ins[{count_in}] = {{}}, outs[{count_out}] = {{}};
{table}
    const void* in[] = {{{inputs}}};
    void* out[] = {{{outputs}}};
    Others others = {{in, ins, {{}}}};
    for (int k = 0; k < {count_in}; ++k) others.each[k] = (ins[k] << 16) / (picks ? picks : 1);
    const element* index = static_cast<const element*>(i{picked_by});
    wide sink = {{}};
    for (int64_t i = 0; i < picks; i += CHUNK) {{
        const int64_t last = i + CHUNK < picks ? i + CHUNK : picks;
        sink += pick(static_cast<const float*>(i{rows_of}), index, i, last, picks, others);
        sink += others.read_between(i, last, last == picks);
    }}
    for (int k = 0; k < {count_out}; ++k) fill(out[k], outs[k]);
    float total = 0.0f;  // of everything: nothing that was read may be optimised away
    for (int64_t l = 0; l < W; ++l) total += sink[l];
    *static_cast<float*>(out[0]) = total;
}}
"""


def source(problem: Problem, shapes: tuple[Sizes, ...], ahead: int, level: int, once: bool) -> str:
    """C++ in the problem's ABI that gathers for any of `shapes`, prefetching rows `ahead` items ahead to `level` (3: the first-level
    cache, 1: the last), and the rest for single use if it is `once`. The problem declares `gather`."""
    assert problem.gather is not None
    inputs, outputs, (table, index) = problem.inputs, problem.outputs, problem.gather
    names = [argument.name for argument in inputs]
    rows_of, picked_by = names.index(table), names.index(index)
    cases = []
    for shape in shapes:
        same = " && ".join(f"s{k} == {shape[name]}" for k, name in enumerate(problem.sizes))
        row = inputs[rows_of].nbytes(shape) // inputs[rows_of].shape(shape)[0] // 4
        words = [f"picks = {math.prod(inputs[picked_by].shape(shape))};", f"pick = gather<{row}>;"]
        # the index array is read by the picking itself
        words += [f"ins[{k}] = {a.nbytes(shape) // 4};" for k, a in enumerate(inputs) if k not in (rows_of, picked_by)]
        words += [f"outs[{k}] = {a.nbytes(shape) // 4};" for k, a in enumerate(outputs)]
        cases.append(f"    if ({same}) {{ {' '.join(words)} }}")
    pointers = [f"const void* i{k}" for k in range(len(inputs))] + [f"void* o{k}" for k in range(len(outputs))]
    return TEXT.format(
        ahead=ahead,
        level=level,
        once=int(once),
        element=f"{inputs[picked_by].dtype}_t",
        parameters=", ".join([*pointers, "void*", *(f"int64_t s{k}" for k in range(len(problem.sizes)))]),
        inputs=", ".join(f"i{k}" for k in range(len(inputs))),
        outputs=", ".join(f"o{k}" for k in range(len(outputs))),
        count_in=len(inputs),
        count_out=len(outputs),
        table="\n".join(cases),
        rows_of=rows_of,
        picked_by=picked_by,
    )
