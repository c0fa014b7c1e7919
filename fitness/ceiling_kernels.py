"""Runs the ceiling kernels (`ceilings.cpp`) on given cores, in memory of the kind that kernels get: memfd, huge pages advised.

Every figure is the best of several, in CPU time of the thread: what disturbs a measurement only ever makes it slower, and a
ceiling is what can be reached.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fitness.cache import Cache
from fitness.device import last_level_cache_bytes
from fitness.pages import Mapping
from fitness.roofline import Ceilings, Level, RooflineError
from fitness.targets.commands import unconfined
from fitness.targets.toolchain import Toolchain

__all__ = ["footprints", "measure", "measuring_cores"]

SOURCE = Path(__file__).with_name("ceilings.cpp")
# No -ffast-math: the chains of multiply_add must be computed as written.
FLAGS = ("-std=gnu++20", "-O3", "-shared", "-fPIC", "-fno-exceptions", "-ffp-contract=fast", "-nostartfiles")
SAMPLES = 12
SAMPLE_SECONDS = 0.002
ROWS = (64, 256, 1024, 4096)
"""Bytes of gathered rows."""
LARGEST = 512 << 20
MULTIPLIER, ADDEND = 0.5, 1.0
"""The chains tend to ADDEND / (1 - MULTIPLIER)."""

_SIGNATURES: dict[str, tuple[type, tuple[type, ...]]] = {
    "ceiling_read": (ctypes.c_float, (ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)),
    "ceiling_copy": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)),
    "ceiling_stream": (ctypes.c_int, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)),
    "ceiling_gather": (ctypes.c_float, (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)),
    "ceiling_fma_flops": (ctypes.c_int64, (ctypes.c_int64, ctypes.c_int32)),
    "ceiling_fma_f32": (ctypes.c_double, (ctypes.c_int64, ctypes.c_double, ctypes.c_double)),
    "ceiling_fma_f64": (ctypes.c_double, (ctypes.c_int64, ctypes.c_double, ctypes.c_double)),
    "ceiling_cycles": (ctypes.c_int64, (ctypes.c_int64, ctypes.c_int64)),
}

Work = Callable[[int, int], object]
"""(thread, repetitions) → anything; releases the interpreter's lock meanwhile."""


def measuring_cores(core: int, threads: int) -> tuple[int, ...]:
    """The measuring core and the highest-numbered others that this process may use. Raises `RooflineError`."""
    others = [each for each in sorted(os.sched_getaffinity(0), reverse=True) if each != core]
    if threads - 1 > len(others):
        raise RooflineError(f"evaluation.threads: found {threads}, expected at most {len(others) + 1}, the CPUs this process may use.")
    return (core, *others[: threads - 1])


def footprints(last_level: int) -> tuple[int, ...]:
    """Bytes to measure bandwidth over: from well within the caches to far beyond them."""
    sizes = [128 << 10, 512 << 10, 2 << 20, 8 << 20, last_level // 2, last_level, 2 * last_level, min(8 * last_level, LARGEST)]
    return tuple(sorted({max(128 << 10, size >> 16 << 16) for size in sizes}))


def measure(cache: Cache, toolchain: Toolchain, cores: tuple[int, ...]) -> Ceilings:
    """Measures everything, one pinned thread per core. Raises `RooflineError`."""
    library = _build(cache, toolchain)
    sizes = footprints(last_level_cache_bytes())
    memory = _Memory(sizes[-1])
    try:
        with _Crew(cores) as crew:
            frequency = len(cores) * crew.best(lambda _, n: library.ceiling_cycles(n << 16, 1), 1 << 16) / len(cores)
            levels = tuple(_level(library, crew, memory, size) for size in sizes)
            gathers = tuple((row, _gather(library, crew, memory, row)) for row in ROWS)
            rates = [_rate(library, crew, f"ceiling_fma_{kind}", size) for kind, size in (("f32", 4), ("f64", 8))]
    finally:
        memory.close()
    return Ceilings(levels, gathers, rates[0], rates[1], frequency, cores)


def _level(library: ctypes.CDLL, crew: _Crew, memory: _Memory, size: int) -> Level:
    """Each thread has its own part of the footprint; a copy's source and destination are the halves of it."""
    share = size // len(crew.cores) >> 12 << 12
    half = share // 2
    start = memory.address

    def read(thread: int, repetitions: int) -> object:
        return library.ceiling_read(start + thread * share, share // 4, repetitions)

    def copy(thread: int, repetitions: int) -> object:
        return library.ceiling_copy(start + thread * share, start + thread * share + half, half // 4, repetitions)

    def stream(thread: int, repetitions: int) -> object:
        return library.ceiling_stream(start + thread * share, start + thread * share + half, half // 4, repetitions)

    passed = share * len(crew.cores)
    return Level(size, crew.best(read, passed), crew.best(copy, passed), crew.best(stream, passed))


def _gather(library: ctypes.CDLL, crew: _Crew, memory: _Memory, row: int) -> float:
    picks = 2 * last_level_cache_bytes() // row  # so many that no row is still cached when its turn comes again
    rng = np.random.default_rng(row)
    indices: list[NDArray[np.int32]] = [rng.integers(0, memory.size // row, picks, dtype=np.int32) for _ in crew.cores]

    def gather(thread: int, repetitions: int) -> object:
        for _ in range(repetitions):
            library.ceiling_gather(memory.address, indices[thread].ctypes.data, picks, row // 4)
        return None

    return crew.best(gather, picks * row * len(crew.cores))


def _rate(library: ctypes.CDLL, crew: _Crew, name: str, size: int) -> float:
    steps = 4096
    kernel = getattr(library, name)
    limit = ADDEND / (1 - MULTIPLIER)
    value = kernel(steps, MULTIPLIER, ADDEND)
    if abs(value - limit) > 1e-5:
        raise RooflineError(f"{name}: found {value}, expected {limit}: the compiler did not compute the chains as written.")
    flops = library.ceiling_fma_flops(steps, size)
    return crew.best(lambda _, n: kernel(steps * n, MULTIPLIER, ADDEND), flops * len(crew.cores))


class _Memory:
    """One shared anonymous file like the slots of a measurement, faulted in, in huge pages where they are to be had."""

    def __init__(self, size: int) -> None:
        self.size = size
        descriptor = os.memfd_create("evo-ceilings", os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, size)
            self._map = Mapping(descriptor, size)
        except OSError as error:
            raise RooflineError(f"ceilings: {size >> 20} MiB of shared memory cannot be had: {error}. Free some memory.") from error
        finally:
            os.close(descriptor)
        self._map.collapse()
        self.address = self._map.address
        np.ctypeslib.as_array((ctypes.c_float * (size // 4)).from_address(self.address)).fill(1.0)

    def close(self) -> None:
        self._map.close()


class _Crew:
    """Pinned threads that start together; a round takes as long as its slowest."""

    def __init__(self, cores: tuple[int, ...]) -> None:
        self.cores = cores
        self._gate = threading.Barrier(len(cores) + 1)
        self._job: tuple[Work, int] | None = None
        self._failure: BaseException | None = None
        self._threads = [threading.Thread(target=self._work, args=(place,), daemon=True) for place in range(len(cores))]

    def __enter__(self) -> _Crew:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._job = None
        self._gate.wait()
        for thread in self._threads:
            thread.join()

    def best(self, work: Work, amount: int) -> float:
        """Largest of several rates: `amount` per repetition / seconds per repetition. Repetitions are chosen to last a while."""
        self._round(work, 1)
        repetitions = 1
        while (seconds := self._round(work, repetitions)) < SAMPLE_SECONDS and repetitions < 1 << 24:
            repetitions = max(repetitions + 1, min(16 * repetitions, int(1.2 * repetitions * SAMPLE_SECONDS / max(seconds, 1e-7))))
        return max(amount * repetitions / self._round(work, repetitions) for _ in range(SAMPLES))

    def _round(self, work: Work, repetitions: int) -> float:
        self._job = work, repetitions
        self._seconds = [0.0] * len(self.cores)
        self._gate.wait()
        self._gate.wait()
        if self._failure is not None:
            raise RooflineError(f"ceilings: a measuring thread failed: {self._failure}") from self._failure
        return max(self._seconds)

    def _work(self, place: int) -> None:
        try:
            os.sched_setaffinity(0, {self.cores[place]})  # of this thread alone
        except OSError as error:
            self._failure = error
        while True:
            self._gate.wait()
            if self._job is None:
                return
            work, repetitions = self._job
            try:
                start = time.thread_time()
                work(place, repetitions)
                self._seconds[place] = time.thread_time() - start
            except BaseException as error:
                self._failure = error
            self._gate.wait()


def _build(cache: Cache, toolchain: Toolchain) -> ctypes.CDLL:
    with cache.scratch() as scratch:
        made = scratch / "ceilings.so"
        argv = [str(toolchain.command), *FLAGS, *toolchain.machine_flags, str(SOURCE), "-o", str(made)]
        done = unconfined(argv, write=scratch, timeout=60.0, memory=4 << 30, output_limit=1 << 16)
        if done.ended != "exit" or done.status != 0:
            raise RooflineError(f"ceilings: {toolchain.command} could not build {SOURCE}: {done.output[-2000:]}")
        library = ctypes.CDLL(str(made))  # stays mapped when the file is gone
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
