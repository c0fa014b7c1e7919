"""Kernels that are a known part slower than others, by construction, and the bare loop that they are compared with.

A softmax is followed by a chain of dependent multiplications whose every turn takes the same time: it begins when the last element is
there and each turn needs the one before. Its cost per turn is the slope between short and long chains, called in turns in one process;
so the difference of two kernels is known to a fraction of itself, whatever the machine does to either.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archive.kernel import Kernel
from fitness.problem import Problem
from fitness.targets.base import Target

__all__ = ["Chain", "Twins", "bare", "chained", "slope", "twins"]

TINY = {"rows": 8, "cols": 64}
"""Shape on which the chain is all that takes time."""
SHORT, LONG = 50_000, 200_000
"""Turns between which the slope is taken: about 50 and 200 us."""

CHAIN = """
    uint64_t wasted = static_cast<uint64_t>(y[rows * cols - 1] * 1048576.0f) | 1;
    for (int64_t turn = 0; turn < {turns}; ++turn) wasted = wasted * 0x9E3779B97F4A7C15u + 1;
    if (wasted == 0) y[0] = 0.0f;  // once in 2^64 times, which no compiler knows
}}
"""


@dataclass(frozen=True, slots=True)
class Chain:
    """What one turn takes, in seconds, and the standard error of that."""

    seconds: float
    error: float


@dataclass(frozen=True, slots=True)
class Twins:
    """Two kernels that compute the same; `apart` is how much longer the slow one takes (0.05 = 5 %), `error` what that may be off by."""

    fast: Kernel
    slow: Kernel
    seconds: float
    """Of the fast one."""
    apart: float
    error: float


def chained(kernel: Kernel, turns: int) -> Kernel:
    """The same kernel with a chain of so many turns after its last statement."""
    source = kernel.source.rstrip()
    assert source.endswith("}"), "the kernel function has to be the last one of the file"
    return Kernel("cpp", source[:-1] + CHAIN.format(turns=turns))


def slope(target: Target, problem: Problem, kernel: Kernel, core: int, *, rounds: int = 200) -> Chain:
    """What a turn costs. Median over rounds of the difference between a long and a short chain."""
    times = bare(target, problem, [chained(kernel, SHORT), chained(kernel, LONG)], TINY, core, rounds=rounds)[:, :2]
    each = (times[:, 1] - times[:, 0]) / (LONG - SHORT)
    return Chain(float(np.median(each)), _error_of_median(each))


def twins(chain: Chain, kernel: Kernel, apart: float, times: NDArray[np.float64], *, turns: int = 0) -> Twins:
    """`kernel` with a chain of `turns`, and the same with as many more as make it longer by `apart`.

    times: seconds that the first of them takes, as often and in such conditions as it is measured later.
    """
    seconds = float(np.median(times))
    more = round(apart * seconds / chain.seconds)
    # The difference is off by what the slope is, its share of the whole by what the fast one's own time is.
    error = apart * float(np.hypot(chain.error / chain.seconds, _error_of_median(times) / seconds))
    return Twins(chained(kernel, turns), chained(kernel, turns + more), seconds, more * chain.seconds / seconds, error)


def _error_of_median(values: NDArray[np.float64]) -> float:
    """Standard error of the median, from the spread of the medians of consecutive stretches (drift included)."""
    medians = [float(np.median(part)) for part in np.array_split(values, min(10, len(values)))]
    return float(np.std(medians, ddof=1) / np.sqrt(len(medians)))


def bare(
    target: Target, problem: Problem, kernels: Sequence[Kernel], sizes: Mapping[str, int], core: int, *, rounds: int
) -> NDArray[np.float64]:
    """Seconds (rounds, kernels + 1) of kernels and the NumPy baseline, last, called in turns in one process on `core`: no evaluator, no
    checks, four sets of arrays by turns."""
    order = {
        "core": core,
        "libraries": [str(target.build(kernel).path) for kernel in kernels],
        "baseline": str(problem.baselines["numpy"]),
        "sizes": [sizes["rows"], sizes["cols"]],
        "rounds": rounds,
    }
    done = subprocess.run([sys.executable, __file__, json.dumps(order)], capture_output=True, text=True, timeout=300, check=True)
    return np.array(json.loads(done.stdout))


def _child(order: dict[str, object]) -> list[list[float]]:
    import ctypes
    import importlib.util
    import os
    import time

    os.sched_setaffinity(0, {order["core"]})  # type: ignore[arg-type]
    spec = importlib.util.spec_from_file_location("baseline", str(order["baseline"]))
    assert spec is not None and spec.loader is not None
    baseline = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(baseline)
    rows, cols = (int(extent) for extent in order["sizes"])  # type: ignore[attr-defined]
    arrays = [(np.random.default_rng(i).standard_normal((rows, cols), np.float32), np.zeros((rows, cols), np.float32)) for i in range(4)]
    work = np.zeros(1 << 20, np.uint8)
    functions = []
    for path in order["libraries"]:  # type: ignore[attr-defined]
        function = ctypes.CDLL(path).kernel
        function.restype, function.argtypes = None, [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 2
        functions.append(lambda x, y, run=function: run(x.ctypes.data, y.ctypes.data, work.ctypes.data, rows, cols))
    functions.append(baseline.numpy)
    found, turn = [], 0
    for number in range(int(order["rounds"]) + 2):  # type: ignore[call-overload]
        times = [0.0] * len(functions)
        for lane in range(len(functions)) if number % 2 else reversed(range(len(functions))):
            x, y = arrays[turn % len(arrays)]
            turn += 1
            begin = time.perf_counter()
            functions[lane](x, y)
            times[lane] = time.perf_counter() - begin
        found.append(times)
    return found[2:]  # the first touch pages


if __name__ == "__main__":
    print(json.dumps(_child(json.loads(sys.argv[1]))))
