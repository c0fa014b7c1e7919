"""Programs that only move a problem's bytes: the memory side of its roofline, measured the way kernels are.

Ceilings of hot buffers (`fitness.roofline`) are what no kernel can beat; they serve to refuse impossible times. What a
kernel can *reach* also depends on how it is called: contents and addresses are fresh, nothing is in a cache, pages are the
slots' own. So shares are relative to programs that move what has to be moved and compute nothing, called through the same
runner on the same slots. Most problems read every input once and write every output once: copies do that, with ordinary
stores or past the caches. A problem that picks rows (`gather`) is bound by the picking: `fitness.gathering`.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archive.kernel import Kernel
from fitness import gathering
from fitness.failure import RunnerFailure
from fitness.inputs import draw_inputs
from fitness.problem import Problem, Sizes, shape_label
from fitness.program import Program
from fitness.referee import Referee, Runner
from fitness.slot_pool import SlotPool
from fitness.targets.base import BuildFailure, Target

__all__ = ["PLAIN_COPY", "RANDOM_GATHER", "STREAMING_COPY", "Move", "Mover", "moves", "source"]

PLAIN_COPY = "plain copy"
"""Every input read once, every output written once, with ordinary stores (each of which reads its cache line first)."""
STREAMING_COPY = "streaming copy"
"""The same, stores past the caches: on most machines the fastest way there is."""
RANDOM_GATHER = "random gather"
"""The rows that the problem's own indices pick, all else read and written once."""

CALLS = 6
"""Calls per program and shape; the fastest counts, for a disturbed ceiling would flatter every kernel."""
COPIES = ((0, 0), (0, 4096), (1, 0), (1, 4096))
"""(stores past the caches, bytes prefetched ahead)."""
TRIES = 2
"""A busy machine may make a program of ours look guilty once; without the fastest a ceiling would be too low."""
KEPT = 2
"""Programs of each ceiling and shape that take part in a certification: which of the fastest is the fastest, few calls cannot tell."""

TEXT = """\
#include <immintrin.h>
#include <cstdint>

#define STREAM {stream}
#define AHEAD {ahead}
#define EVO_FLAGS "-O3 -funroll-loops"  // evo: {{"-O3 -funroll-loops"}}

#if defined(__AVX512F__)
typedef __m512 wide;
#define LOAD(p) _mm512_load_ps(p)
#define STORE(p, v) _mm512_store_ps(p, v)
#define PAST(p, v) _mm512_stream_ps(p, v)
#define PLUS(a, b) _mm512_add_ps(a, b)
#define ZERO _mm512_setzero_ps()
#elif defined(__AVX__)
typedef __m256 wide;
#define LOAD(p) _mm256_load_ps(p)
#define STORE(p, v) _mm256_store_ps(p, v)
#define PAST(p, v) _mm256_stream_ps(p, v)
#define PLUS(a, b) _mm256_add_ps(a, b)
#define ZERO _mm256_setzero_ps()
#else
typedef __m128 wide;
#define LOAD(p) _mm_load_ps(p)
#define STORE(p, v) _mm_store_ps(p, v)
#define PAST(p, v) _mm_stream_ps(p, v)
#define PLUS(a, b) _mm_add_ps(a, b)
#define ZERO _mm_setzero_ps()
#endif

static const int64_t W = sizeof(wide) / 4;

static inline void put(float* to, wide value) {{
#if STREAM
    PAST(to, value);
#else
    STORE(to, value);
#endif
}}

static inline void ahead(const float* from) {{
#if AHEAD
    __builtin_prefetch(reinterpret_cast<const char*>(from) + AHEAD);
#endif
}}

static void copy(const float* from, float* to, int64_t n) {{
    for (int64_t i = 0; i + 64 / 4 <= n; i += 64 / 4) {{
        ahead(from + i);
        for (int64_t j = 0; j < 64 / 4; j += W) put(to + i + j, LOAD(from + i + j));
    }}
}}

static void fill(float* to, int64_t n) {{
    for (int64_t i = 0; i + W <= n; i += W) put(to + i, ZERO);
}}

static wide read(const float* from, int64_t n) {{
    wide a = ZERO, b = ZERO, c = ZERO, d = ZERO;
    int64_t i = 0;
    for (; i + 4 * W <= n; i += 4 * W) {{
        ahead(from + i);
        a = PLUS(a, LOAD(from + i));
        b = PLUS(b, LOAD(from + i + W));
        c = PLUS(c, LOAD(from + i + 2 * W));
        d = PLUS(d, LOAD(from + i + 3 * W));
    }}
    return PLUS(PLUS(a, b), PLUS(c, d));
}}

extern "C" void kernel({parameters}) {{
    const float* in[] = {{{inputs}}};
    float* out[] = {{{outputs}}};
    int64_t ins[{count_in}] = {{}}, outs[{count_out}] = {{}};
{table}
    wide sink = ZERO;
    for (int k = 0; k < {count_in} || k < {count_out}; ++k) {{
        const int64_t i = k < {count_in} ? ins[k] : 0, o = k < {count_out} ? outs[k] : 0, both = i < o ? i : o;
        if (both) copy(in[k], out[k], both);
        const int64_t rest = (both + 15) / 16 * 16;
        if (i > rest) sink = PLUS(sink, read(in[k] + rest, i - rest));
        if (o > rest) fill(out[k] + rest, o - rest);
    }}
    STORE(out[0], PLUS(sink, LOAD(out[0])));
}}
"""


def source(problem: Problem, shapes: tuple[Sizes, ...], stream: int, ahead: int) -> str:
    """C++ in the problem's ABI that moves the bytes of any of `shapes`."""
    inputs, outputs = problem.inputs, problem.outputs
    pointers = [f"const void* i{k}" for k in range(len(inputs))] + [f"void* o{k}" for k in range(len(outputs))]
    sizes = [f"int64_t s{k}" for k in range(len(problem.sizes))]
    rows = []
    for shape in shapes:
        same = " && ".join(f"s{k} == {shape[name]}" for k, name in enumerate(problem.sizes))
        words = [f"ins[{k}] = {a.nbytes(shape) // 4};" for k, a in enumerate(inputs)]
        words += [f"outs[{k}] = {a.nbytes(shape) // 4};" for k, a in enumerate(outputs)]
        rows.append(f"    if ({same}) {{ {' '.join(words)} }}")
    return TEXT.format(
        stream=stream,
        ahead=ahead,
        parameters=", ".join([*pointers, "void*", *sizes]),
        inputs=", ".join(f"static_cast<const float*>(i{k})" for k in range(len(inputs))),
        outputs=", ".join(f"static_cast<float*>(o{k})" for k in range(len(outputs))),
        count_in=max(1, len(inputs)),
        count_out=len(outputs),
        table="\n".join(rows),
    )


@dataclass(frozen=True, slots=True)
class Move:
    """One program that moves a problem's bytes."""

    roof: str
    """What it measures: PLAIN_COPY, STREAMING_COPY or RANDOM_GATHER."""
    name: str
    source: str


def moves(problem: Problem, shapes: tuple[Sizes, ...]) -> tuple[Move, ...]:
    """The programs for any of `shapes`: gathers where the problem declares one, else copies."""
    if problem.gather is not None:
        kept = gathering.ways(problem, shapes)
        return tuple(Move(RANDOM_GATHER, f"{RANDOM_GATHER}, {way.name}", gathering.source(problem, shapes, way)) for way in kept)
    kinds = (PLAIN_COPY, STREAMING_COPY)
    return tuple(Move(kinds[s], f"{kinds[s]}, {ahead} bytes ahead", source(problem, shapes, s, ahead)) for s, ahead in COPIES)


class Mover:
    """The fastest such programs on each shape; what is measured, is measured once, when it is first asked for."""

    def __init__(self, problem: Problem, target: Target, referee: Referee, pool: SlotPool) -> None:
        self._problem = problem
        self._target = target
        self._referee = referee
        self._pool = pool
        self._timed: dict[tuple[Move, str], float] = {}
        """Seconds by program and shape."""
        self._runnable: dict[tuple[str, ...], dict[Move, Program]] = {}
        """Programs that can be built, by the shapes they are made for."""

    def seconds(self, sizes: Sizes) -> float | None:
        """The least in which a program moved through the problem's own arguments what has to be moved; None where none can be built."""
        known = self._problem.shapes if sizes in self._problem.shapes else self._problem.held_out_shapes
        shapes = tuple(known) if sizes in known else (sizes,)
        label = shape_label(sizes)
        return min((self._timed[move, label] for move in self._measured(shapes) if (move, label) in self._timed), default=None)

    def programs(self, shapes: tuple[Sizes, ...]) -> dict[str, tuple[str, Program]]:
        """(roof, program) by name, for whoever measures them beside kernels: of each roof the fastest ones on some shape."""
        measured = self._measured(shapes)
        found = {}
        for label in map(shape_label, shapes):
            for roof in {move.roof for move in measured}:
                timed = [move for move in measured if move.roof == roof and (move, label) in self._timed]
                for best in sorted(timed, key=lambda move: self._timed[move, label])[:KEPT]:
                    found[best.name] = roof, measured[best]
        return found

    def scale(self, sizes: Sizes) -> float:
        """By what a copy's seconds are to be multiplied: a problem may have to move less than all of its arguments."""
        return 1.0 if self._problem.gather is not None else self._problem.bytes_moved(sizes) / self._problem.footprint(sizes)

    def _measured(self, shapes: tuple[Sizes, ...]) -> dict[Move, Program]:
        """The programs for these shapes, timed on each."""
        labels = tuple(map(shape_label, shapes))
        if labels not in self._runnable:
            self._runnable[labels] = {}
            for move in moves(self._problem, shapes):
                for _ in range(TRIES):
                    with contextlib.suppress(BuildFailure, RunnerFailure):
                        program = self._target.program(self._target.build(Kernel("cpp", move.source)))
                        self._time(move, program, shapes)
                        self._runnable[labels][move] = program
                        break
        return self._runnable[labels]

    def _time(self, move: Move, program: Program, shapes: tuple[Sizes, ...]) -> None:
        runner = self._referee.load(program, self._problem)
        try:
            for sizes in shapes:
                self._timed[move, shape_label(sizes)] = self._fastest(runner, sizes) * self.scale(sizes)
        finally:
            runner.close()

    def _contents(self, sizes: Sizes) -> list[NDArray[Any]]:
        """Copies may move anything; a gather needs indices as the problem has them."""
        if self._problem.gather is not None:
            return draw_inputs(self._problem, sizes, "normal", np.random.default_rng())
        return [np.zeros(a.shape(sizes), dtype=a.dtype) for a in self._problem.inputs]

    def _fastest(self, runner: Runner, sizes: Sizes) -> float:
        slots = self._pool.rotation(sizes, 0)
        try:
            arrays = self._contents(sizes)
            seconds = []
            for slot in slots:
                runner.attach(slot)
            for number in range(CALLS):
                slot = slots[number % len(slots)]
                slot.fill(arrays)
                slot.poison()
                call = runner.call(slot, 10.0)
                own = max(call.seconds - call.waited_seconds, min(call.cpu_seconds, call.seconds))
                seconds.append(own if call.preempted else call.seconds)
            return min(seconds)
        finally:
            self._pool.release(slots)
