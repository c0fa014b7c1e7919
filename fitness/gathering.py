"""Programs that only pick the rows a problem picks: the ceiling of embeddings, sparse matrices and their like.

Each reads the problem's own index array and, in its order, the rows of the table that it names; every other input is read once
in order and every output written once, both as far along as the picking is, so that memory is never asked for one thing at a
time. Rows come in the problem's own size from the problem's own slots, so what repeats in a cache, repeats here too. Nobody knows
beforehand which way of picking is the fastest on a processor, so there are many (`ways`), and the fastest counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from fitness.problem import Problem, Sizes

__all__ = ["ROWS", "WORDS", "Way", "source", "ways"]


@dataclass(frozen=True, slots=True)
class Way:
    """How rows are picked."""

    ahead: int = 0
    """Items ahead at which rows are prefetched; 0 leaves all to the processor."""
    level: int = 3
    """Of the caches they are prefetched into, as __builtin_prefetch counts them (3: the first level, 1: the last)."""
    block: int = 16
    """Items between two looks at what else is to be read and written."""
    part: int = 1
    """Vectors of a row that are read at once, for all rows of a block; then the next ones."""
    rows: int = 4
    """Read per trip, after as many are prefetched."""
    lanes: int = 1
    """Of the instruction that picks words, where a row is a single one; 1 picks them one by one."""
    once: bool = False
    """Whether what is read in order passes by the caches, which leaves them to the table."""
    stream: bool = False
    """Whether outputs are stored past the caches."""

    @property
    def name(self) -> str:
        said = [f"{self.ahead} items ahead to level {self.level}"] if self.ahead else []
        said += [f"{self.lanes} at once"] if self.lanes > 1 else []
        said += [
            f"blocks of {self.block} by {self.part}",
            *[f"{self.rows} rows a trip"] * (self.rows != 4),
            *["else for single use"] * self.once,
            *["streaming stores"] * self.stream,
        ]
        return ", ".join(said)


WORDS = (
    *(Way(lanes=lanes, once=once, block=block) for lanes in (1, 8, 16) for once, block in ((False, 16), (True, 16), (True, 64))),
    Way(ahead=64, level=3, lanes=1, once=True),
    Way(ahead=64, level=3, lanes=8, once=True, stream=True),
)
"""For rows of a single word."""
ROWS = (
    Way(ahead=12, level=3, block=32, part=8),
    Way(ahead=64, level=1, block=32, part=8, stream=True),
    Way(ahead=64, level=1, block=32, part=2),
    Way(ahead=48, level=2, block=64, part=2, rows=1, stream=True),
    Way(ahead=48, level=2, block=128, part=2, rows=1, stream=True),
    Way(ahead=64, level=1, block=64, part=2, rows=1, stream=True),
    Way(ahead=48, level=2, block=64, part=2, rows=1),
    Way(ahead=64, level=1, block=64, part=2, stream=True),
    Way(ahead=64, level=1, block=64, part=2, once=True, stream=True),
    Way(ahead=64, level=1, block=64, part=3, stream=True),
    Way(ahead=96, level=1, block=64, part=4, stream=True),
    Way(ahead=64, level=1, block=128, part=4, stream=True),
    Way(ahead=128, level=1, block=128, part=4, stream=True),
    Way(),
)
"""For all others."""

TEXT = """\
#include <cstdint>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define AHEAD {ahead}
#define LEVEL {level}
#define BLOCK {block}
#define PART {part}
#define ROWS {rows}
#define LANES {lanes}
#define ONCE {once}
#define STREAM {stream}
#define FAR 256  // items ahead at which what is read in order is prefetched
#define EVO_FLAGS "-O2"  // evo: {{"-O2"}}

#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define INLINED __attribute__((always_inline))
#define INLINE INLINED inline

// Bits are added as integers, whatever they stand for: no value makes that slow.
typedef uint32_t wide __attribute__((vector_size(BYTES)));
typedef uint32_t loose __attribute__((vector_size(BYTES), aligned(4), may_alias));
typedef uint32_t word __attribute__((may_alias));
typedef {element} element __attribute__((may_alias));
static const int64_t W = BYTES / 4;

static INLINE wide load(const word* from) {{ return *reinterpret_cast<const loose*>(from); }}

static INLINE void clear(word* to) {{
#if STREAM && BYTES == 64
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_setzero_si512());
#elif STREAM && BYTES == 32
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to), _mm256_setzero_si256());
#else
    *reinterpret_cast<loose*>(to) = loose{{}};
#endif
}}

// What is read and written in order beside the picking, in whole vectors as far along as that is.
struct Others {{
    const word* in[{count_in}];
    word* out[{count_out}];
    int64_t ins[{count_in}], outs[{count_out}];            // words
    int64_t in_each[{count_in}], out_each[{count_out}];    // 65536ths of a word for each item
    int64_t read[{count_in}], written[{count_out}];        // words so far
    wide sum;

    INLINE void advance(int64_t item) {{
#pragma GCC unroll 4
        for (int k = 0; k < {count_in}; ++k) {{
            const int64_t end = item * in_each[k] >> 16;
            int64_t at = read[k];
            for (; at + W <= end; at += W) {{
                __builtin_prefetch(in[k] + at + FAR, 0, ONCE ? 0 : 3);
                sum += load(in[k] + at);
            }}
            read[k] = at;
        }}
#pragma GCC unroll 4
        for (int k = 0; k < {count_out}; ++k) {{
            const int64_t end = item * out_each[k] >> 16;
            int64_t at = written[k];
            for (; at + W <= end; at += W) clear(out[k] + at);
            written[k] = at;
        }}
    }}
    void finish() {{
        for (int k = 0; k < {count_in}; ++k) {{
            for (; read[k] + W <= ins[k]; read[k] += W) sum += load(in[k] + read[k]);
            for (; read[k] < ins[k]; ++read[k]) sum[0] += in[k][read[k]];
        }}
        for (int k = 0; k < {count_out}; ++k) {{
            for (; written[k] + W <= outs[k]; written[k] += W) clear(out[k] + written[k]);
            for (; written[k] < outs[k]; ++written[k]) out[k][written[k]] = 0;
        }}
    }}
}};

// Sixteen single words, added to sums.
static INLINE void sixteen(const word* table, const element* index, word (&sums)[16]) {{
#if LANES == 16 && defined(__AVX512F__)
    if (sizeof(element) == 4) {{
        const __m512i picked = _mm512_i32gather_epi32(_mm512_loadu_si512(index), table, 4);
        return _mm512_storeu_si512(sums, _mm512_add_epi32(_mm512_loadu_si512(sums), picked));
    }}
#elif LANES >= 8 && defined(__AVX2__)
    if (sizeof(element) == 4) {{
        __m256i* to = reinterpret_cast<__m256i*>(sums);
        const __m256i* at = reinterpret_cast<const __m256i*>(index);
        const int* from = reinterpret_cast<const int*>(table);
        const __m256i low = _mm256_i32gather_epi32(from, _mm256_loadu_si256(at), 4);
        const __m256i high = _mm256_i32gather_epi32(from, _mm256_loadu_si256(at + 1), 4);
        return _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), _mm256_add_epi32(low, high)));
    }}
#endif
#pragma GCC unroll 16
    for (int u = 0; u < 16; ++u) sums[u % 4] += table[index[u]];
}}

static wide pick_words(const word* table, const element* index, int64_t picks, Others& others) {{
    word sums[16] = {{}};
    int64_t i = 0;
    for (; i + 16 <= picks; i += 16) {{
        __builtin_prefetch(index + i + FAR, 0, ONCE ? 0 : 3);
        if (AHEAD && i + AHEAD + 16 <= picks)
            for (int u = 0; u < 16; ++u) __builtin_prefetch(table + index[i + AHEAD + u], 0, LEVEL);
        sixteen(table, index + i, sums);
        if (i % BLOCK == 0) others.advance(i);
    }}
    for (; i < picks; ++i) sums[0] += table[index[i]];
    wide sum = {{}};
    for (int u = 0; u < 16; ++u) sum[u % W] += sums[u];
    return sum;
}}

// Rows of ROW words; known ahead, so that a short row is no loop.
template <int64_t ROW>
static wide pick_rows(const word* table, const element* index, int64_t picks, Others& others) {{
    wide sums[PART] = {{}};
    word rest = 0;
    for (int64_t begin = 0; begin < picks; begin += BLOCK) {{
        const int64_t last = begin + BLOCK < picks ? begin + BLOCK : picks;
#pragma GCC unroll 4
        for (int64_t done = 0; done < ROW / W || done == 0; done += PART) {{
            const auto prefetch = [&](int64_t item) INLINED {{
#pragma GCC unroll 16
                for (int64_t c = 0; c < ROW; c += 16) __builtin_prefetch(table + index[item] * ROW + c, 0, LEVEL);
            }};
            const auto add = [&](int64_t item) INLINED {{
                const word* from = table + index[item] * ROW + done * W;
#pragma GCC unroll 8
                for (int64_t p = 0; p < PART; ++p)
                    if (done + p < ROW / W) sums[p] += load(from + p * W);
            }};
            int64_t i = begin;
            for (; i + ROWS <= last; i += ROWS) {{
                if (AHEAD && done == 0 && i + AHEAD + ROWS <= picks)
#pragma GCC unroll 4
                    for (int u = 0; u < ROWS; ++u) prefetch(i + AHEAD + u);
#pragma GCC unroll 4
                for (int u = 0; u < ROWS; ++u) add(i + u);
            }}
            for (; i < last; ++i) add(i);
        }}
        for (int64_t i = begin; ROW % W && i < last; ++i)
#pragma GCC unroll 16
            for (int64_t c = ROW / W * W; c < ROW; ++c) rest += table[index[i] * ROW + c];
        others.advance(last);
    }}
    for (int p = 1; p < PART; ++p) sums[0] += sums[p];
    sums[0][0] += rest;
    return sums[0];
}}

extern "C" void kernel({parameters}) {{
    Others others = {{{{{inputs}}}, {{{outputs}}}, {{}}, {{}}, {{}}, {{}}, {{}}, {{}}, {{}}}};
    int64_t(&ins)[{count_in}] = others.ins, (&outs)[{count_out}] = others.outs;
    int64_t picks = 0;
    wide (*pick)(const word*, const element*, int64_t, Others&) = pick_words;
{table}
    for (int k = 0; k < {count_in}; ++k) others.in_each[k] = (ins[k] << 16) / (picks ? picks : 1);
    for (int k = 0; k < {count_out}; ++k) others.out_each[k] = (outs[k] << 16) / (picks ? picks : 1);
    wide sum = pick(static_cast<const word*>(i{rows_of}), static_cast<const element*>(i{picked_by}), picks, others);
    others.finish();
    sum += others.sum;
    word total = 0;  // of everything: nothing that was read may be optimised away
    for (int64_t l = 0; l < W; ++l) total += sum[l];
    others.out[0][0] = total;
}}
"""


def ways(problem: Problem, shapes: tuple[Sizes, ...]) -> tuple[Way, ...]:
    """What is worth trying for the problem's rows in `shapes`. The problem declares `gather`."""
    return WORDS if all(_row(problem, shape) == 1 for shape in shapes) else ROWS


def source(problem: Problem, shapes: tuple[Sizes, ...], way: Way) -> str:
    """C++ in the problem's ABI that gathers for any of `shapes`. The problem declares `gather`."""
    assert problem.gather is not None
    inputs, outputs, (table, index) = problem.inputs, problem.outputs, problem.gather
    names = [argument.name for argument in inputs]
    rows_of, picked_by = names.index(table), names.index(index)
    cases = []
    for shape in shapes:
        same = " && ".join(f"s{k} == {shape[name]}" for k, name in enumerate(problem.sizes))
        row = _row(problem, shape)
        words = [f"picks = {math.prod(inputs[picked_by].shape(shape))};", f"pick = {'pick_words' if row == 1 else f'pick_rows<{row}>'};"]
        # the index array is read by the picking itself
        words += [f"ins[{k}] = {a.nbytes(shape) // 4};" for k, a in enumerate(inputs) if k not in (rows_of, picked_by)]
        words += [f"outs[{k}] = {a.nbytes(shape) // 4};" for k, a in enumerate(outputs)]
        cases.append(f"    if ({same}) {{ {' '.join(words)} }}")
    pointers = [f"const void* i{k}" for k in range(len(inputs))] + [f"void* o{k}" for k in range(len(outputs))]
    return TEXT.format(
        ahead=way.ahead,
        level=way.level,
        block=way.block,
        part=way.part,
        rows=way.rows,
        lanes=way.lanes,
        once=int(way.once),
        stream=int(way.stream),
        element=f"{inputs[picked_by].dtype}_t",
        parameters=", ".join([*pointers, "void*", *(f"int64_t s{k}" for k in range(len(problem.sizes)))]),
        inputs=", ".join(f"static_cast<const word*>(i{k})" for k in range(len(inputs))),
        outputs=", ".join(f"static_cast<word*>(o{k})" for k in range(len(outputs))),
        count_in=len(inputs),
        count_out=len(outputs),
        table="\n".join(cases),
        rows_of=rows_of,
        picked_by=picked_by,
    )


def _row(problem: Problem, shape: Sizes) -> int:
    """Words of one row of the table."""
    assert problem.gather is not None
    table = next(argument for argument in problem.inputs if argument.name == problem.gather[0])
    return table.nbytes(shape) // table.shape(shape)[0] // 4
