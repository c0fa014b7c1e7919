"""How far timings of the same kernel scatter, whether 5 % are seen, and whether certificates keep their word, beside busy neighbours.

    python experiments/bench/noise_bench.py [--short]

Needs g++, two cores and an otherwise quiet machine; four minutes. The kernels are fast softmaxes with a working set of 16 MiB.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from archive.evaluation import Evaluation  # noqa: E402
from archive.kernel import Kernel  # noqa: E402
from fitness.measuring import MeasuringEvaluator  # noqa: E402
from fitness.problem import Problem  # noqa: E402
from fitness.protocol import EvaluationSettings, Prepared  # noqa: E402
from fitness.targets import open_target  # noqa: E402

FAST = {"ALGORITHM": 1, "EXP": 1, "VECTOR": 16, "UNROLL": 2}
APART = 1.05
TOLERANCE = 0.004
PROGRAMS = {
    "computing": "a = np.full((256, 256), 0.5)\nwhile True: a @ a",
    "streaming": "a = np.ones(1 << 23)\nb = a.copy()\nwhile True: np.copyto(b, a)",
    "in bursts": "from time import monotonic as now, sleep\nwhile True:\n end = now() + 0.004\n while now() < end: pass\n sleep(0.03)",
}


@contextlib.contextmanager
def neighbour(kind: str, core: int) -> Iterator[None]:
    """A process that keeps `core` busy."""
    head = f"import os, numpy as np\nos.sched_setaffinity(0, {{{core}}})\nprint(flush=True)\n"
    if kind == "in bursts":  # on the measuring core: with as much right to it as a kernel has
        head += "try: os.nice(-20)\nexcept OSError: pass\n"
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", head + PROGRAMS[kind]], stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    try:
        select.select([process.stdout], [], [], 20)
        time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def slower(kernel: Kernel, turns: int) -> Kernel:
    """The same with a loop of `turns` dependent additions at the end."""
    source = kernel.source.rstrip()
    assert source.endswith("}")
    return Kernel("cpp", f"{source[:-1]}    for (volatile int64_t wasted = 0; wasted < {turns}; wasted = wasted + 1) {{\n    }}\n}}\n")


def seconds(evaluation: Evaluation) -> float:
    assert evaluation.ok, evaluation.diagnostics
    return float(evaluation.profile["seconds"])


def calibrated(evaluator: MeasuringEvaluator, kernel: Kernel) -> tuple[Prepared, Prepared, float]:
    """(a kernel, the same made slower by five per cent, how much it is slower by duels)."""
    fast, turns = evaluator.prepare(kernel), 200_000
    for duels in (7, 15, 25):  # the loop overlaps with the last stores, so its cost is not in proportion to its turns
        slow = evaluator.prepare(slower(kernel, turns))
        apart = float(np.exp(np.median([evaluator.duel(fast, slow).advantage for _ in range(duels)])))
        if abs(apart - APART) < TOLERANCE:
            break
        turns = max(100, round(turns * (APART - 1) / max(1e-3, apart - 1)))
    return fast, slow, apart


def scatter(evaluations: list[Evaluation]) -> str:
    times = np.array([seconds(evaluation) for evaluation in evaluations])
    ratios = np.exp(np.array([evaluation.objective for evaluation in evaluations], dtype=float))
    return f"{spread(times)}; speedup {spread(ratios)}"


def machine(problem: Problem, kernel: Kernel, core: int) -> str:
    """What the machine itself does meanwhile: the same program in a bare loop on the measuring core, no evaluator around it."""
    sizes = problem.shapes[0]
    artifact = open_target("cpp", EvaluationSettings()).build(kernel)
    program = (
        "import ctypes, os, sys, time, numpy as np\n"
        f"os.sched_setaffinity(0, {{{core}}})\n"
        f"run = ctypes.CDLL({str(artifact.path)!r}).kernel\n"
        f"rows, cols = {sizes['rows']}, {sizes['cols']}\n"
        "x = [np.random.default_rng(i).standard_normal((rows, cols), np.float32) for i in range(4)]\n"
        "y, work = [np.empty_like(a) for a in x], np.empty(1 << 20, np.uint8)\n"
        "point, size = ctypes.c_void_p, ctypes.c_int64\n"
        "for turn in range(480):\n"
        "    a, b = x[turn % 4], y[turn % 4]\n"
        "    begin = time.perf_counter()\n"
        "    run(point(a.ctypes.data), point(b.ctypes.data), point(work.ctypes.data), size(rows), size(cols))\n"
        "    print(time.perf_counter() - begin)\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    medians = np.median(np.array(told, dtype=float).reshape(30, 16), axis=1)
    return spread(medians)


def spread(times: np.ndarray) -> str:
    centre = np.median(times)
    within = np.mean(np.abs(times / centre - 1) <= 0.03)
    return f"{100 * (times.max() / times.min() - 1):5.1f} % from least to most, {100 * within:3.0f} % within 3 % of their median"


def main() -> None:
    short = "--short" in sys.argv
    problem = Problem.load(ROOT / "experiments" / "problems" / "softmax")
    problem = replace(problem, shapes=({"rows": 1024, "cols": 2048},), held_out_shapes=({"rows": 1500, "cols": 1300},))
    settings = EvaluationSettings()
    evaluator = MeasuringEvaluator(problem, open_target("cpp", settings), settings)
    evaluator.warm()
    core, other = evaluator.station.core, min(os.sched_getaffinity(0) - {evaluator.station.core})
    kernel = problem.seed_kernel("cpp").with_values(FAST)
    for _ in range(3):
        evaluator.measure(evaluator.prepare(kernel))
    fast, slow, apart = calibrated(evaluator, kernel)
    took = 1e3 * seconds(evaluator.measure(fast))
    print(f"load {os.getloadavg()[0]:.1f}; kernel {took:.2f} ms on core {core}, neighbours on core {other}")

    times = 6 if short else 30
    print(f"\nmedians of one kernel, evaluated {times} times (wanted: within 3 %)")
    print(f"  neighbour idle       {scatter([evaluator.measure(fast) for _ in range(times)])}")
    print(f"    bare loop, no evaluator: {machine(problem, kernel, core)}")
    for kind in ("computing", "streaming"):
        with neighbour(kind, other):
            print(f"    bare loop, no evaluator: {machine(problem, kernel, core)}")
            print(f"  neighbour {kind:<10} {scatter([evaluator.measure(fast) for _ in range(times)])}")

    trials = 6 if short else 30
    print(f"\ntwo kernels, {100 * (apart - 1):.1f} % apart, ordered rightly in {trials} trials (wanted: 95 %)")
    for kind in ("computing", "streaming"):
        with neighbour(kind, other):
            pairs = [(evaluator.measure(fast).objective, evaluator.measure(slow).objective) for _ in range(trials)]
            alone = np.mean([one is not None and two is not None and one > two for one, two in pairs])
            duels = [evaluator.duel(fast, slow) for _ in range(trials)]
        right = np.mean([duel.advantage > 0 for duel in duels])
        off = f"scatter {100 * np.std([duel.advantage for duel in duels]):.1f} %"
        print(f"  neighbour {kind:<10} measured one after the other {100 * alone:4.0f} %, in a duel {100 * right:4.0f} % ({off})")

    count = 3 if short else 10
    print(f"\ncertified {count} times: how often the next certificate's speedup lies in the interval stated (wanted: 90 %)")
    for kind in ("computing", "streaming"):
        with neighbour(kind, other):
            certificates = [evaluator.certify(fast).against["numpy"] for _ in range(count)]
        next_ones = np.mean([one.low <= two.value <= one.high for one, two in pairwise(certificates)])
        every = np.mean([one.low <= two.value <= one.high for one in certificates for two in certificates if one is not two])
        width = np.median([one.high / one.low - 1 for one in certificates])
        told = f"next one {100 * next_ones:4.0f} %, any other {100 * every:4.0f} %; median width {100 * width:4.1f} %"
        print(f"  neighbour {kind:<10} {told}")

    rounds = 3 if short else 10
    print(f"\npreemption: a burst of 4 ms on the measuring core every 34 ms, {rounds} evaluations")
    quiet = float(np.median([seconds(evaluator.measure(fast)) for _ in range(rounds)]))
    with neighbour("in bursts", core):
        disturbed = [evaluator.measure(fast) for _ in range(rounds)]
    retries, rest = (sum(e.cost.get(name, 0.0) for e in disturbed) / rounds for name in ("retries", "preempted"))
    off = 100 * (float(np.median([seconds(e) for e in disturbed])) / quiet - 1)
    print(f"  {retries:.1f} rounds repeated and {rest:.1f} taken disturbed per evaluation; median {off:+.1f} % against an undisturbed core")
    evaluator.close()


if __name__ == "__main__":
    main()
