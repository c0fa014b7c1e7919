"""What one evaluation costs beyond its kernels, and beside a fresh `python` per candidate.

    python experiments/bench/evaluator_bench.py [--kernels 50] [--short]

Kernels are configurations of the softmax seed on one shape with a working set of 16 MiB, the fastest about 1 ms. Needs g++ and a quiet
machine; two minutes. The usual way is a fresh `python` per candidate, by `subprocess.run` with a timeout: it imports NumPy, the problem's
own reference and baseline, loads the built library, draws inputs, computes the reference in float64 and compares with `allclose`, five
times with new inputs (as KernelBench's scripts do) or once, takes as many timed pairs of kernel and baseline as this evaluator did, on
the same data again, and prints JSON. No time inside a kernel or the baseline counts on either side, first touches of fresh memory included
on the usual side; compilation on neither. Both are measured kernel by kernel in turns, so that both meet the same machine.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from _duplicates import measure as repeated  # noqa: E402

from archive.evaluation import Evaluation  # noqa: E402
from archive.kernel import Kernel  # noqa: E402
from fitness.fingerprint import Fingerprint  # noqa: E402
from fitness.measuring import MeasuringEvaluator  # noqa: E402
from fitness.native import library  # noqa: E402
from fitness.problem import Problem  # noqa: E402
from fitness.protocol import EvaluationSettings, Prepared  # noqa: E402
from fitness.targets import open_target  # noqa: E402

SHAPE = {"rows": 1024, "cols": 2048}
FAST = {"ALGORITHM": 1, "EXP": 1, "VECTOR": 16, "UNROLL": 2, "STREAM": 0, "PREFETCH_ROWS": 0}
FIXED_WALL, FIXED_CPU = 10e-3, 15e-3
"""Seconds that the framework may add to a warm evaluation beyond three streaming passes."""

USUAL = """
import ctypes, importlib.util, json, sys, time
import numpy as np

def load(path):
    spec = importlib.util.spec_from_file_location("loaded", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

library, folder = sys.argv[1:3]
rows, cols, pairs, trials = map(int, sys.argv[3:7])
reference, baseline = load(folder + "/problem.py").reference, load(folder + "/baseline.py").numpy
loaded = ctypes.CDLL(library)
loaded.workspace.restype = ctypes.c_size_t
loaded.workspace.argtypes = [ctypes.c_int64] * 2
kernel = loaded.kernel
kernel.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 2
kernel.restype = None
y, scratch = np.empty((rows, cols), np.float32), np.empty(loaded.workspace(rows, cols) + 64, np.uint8)
call = lambda: kernel(x.ctypes.data, y.ctypes.data, scratch.ctypes.data, rows, cols)
ok, inside = True, 0.0
def timed(function):
    global inside
    start = time.perf_counter()
    function()
    inside += time.perf_counter() - start
for _ in range(trials):
    x = np.random.default_rng().standard_normal((rows, cols), dtype=np.float32)
    timed(call)
    ok &= bool(np.allclose(y, reference(x.astype(np.float64)), rtol=1e-4, atol=1e-5))
for _ in range(pairs):
    timed(call)
    timed(lambda: baseline(x, y))
print(json.dumps({"ok": ok, "inside": inside}))
"""


def kernels(problem: Problem, count: int) -> list[Kernel]:
    """Different fast configurations of the seed."""
    seed = problem.seed_kernel("cpp").with_values(FAST)
    rng = random.Random(1)
    found = {seed.id: seed}
    free = ("ALGORITHM", "UNROLL", "VECTOR", "PREFETCH_ROWS", "PREFETCH_LEVEL", "EVO_FLAGS", "DEGREE", "SIMD_PRAGMA")
    domains = {tunable.name: tunable.domain for tunable in seed.tunables}
    while len(found) < count:
        values = {**FAST, **{name: rng.choice(domains[name]) for name in free}}
        values["VECTOR"] = rng.choice((8, 16))
        kernel = seed.with_values(values)
        found[kernel.id] = kernel
    return list(found.values())


def streaming_pass(nbytes: int) -> float:
    """Seconds to copy this many bytes past the caches, by the referee's own copy: one pass."""
    source, target = np.ones(nbytes // 4, np.float32), np.zeros(nbytes // 4, np.float32)
    seconds = []
    for _ in range(9):
        start = time.perf_counter()
        library().copy(target, source)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def framework(evaluation: Evaluation) -> tuple[float, float]:
    """(wall, CPU) seconds of a warm evaluation that are not inside kernels, without page faults (`map`) and cases made."""
    cost = evaluation.cost
    faults = cost["map"] + cost.get("cases", 0.0)
    return cost["measure"] - cost["kernel"] - faults, cost["cpu"] - faults


def usual_way(prepared: Prepared, problem: Problem, pairs: int, trials: int) -> float:
    """Wall seconds outside kernels of a fresh process for one candidate."""
    path = prepared.handle.path  # type: ignore[attr-defined]
    argv = [sys.executable, "-c", USUAL, str(path), str(problem.folder), str(SHAPE["rows"]), str(SHAPE["cols"]), str(pairs), str(trials)]
    start = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    wall = time.perf_counter() - start
    answer = json.loads(done.stdout)
    assert answer["ok"]
    return wall - float(answer["inside"])


def beside_the_usual_way(evaluator: MeasuringEvaluator, problem: Problem, prepared: list[Prepared]) -> None:
    """The same kernels both ways, kernel by kernel in turns."""
    ours: list[float] = []
    calls: list[float] = []
    usual: dict[int, list[float]] = {5: [], 1: []}
    for one in prepared:
        evaluation = evaluator.measure(one)
        assert evaluation.ok, evaluation.diagnostics
        ours.append(evaluation.cost["measure"] - evaluation.cost["kernel"])
        calls.append(evaluation.cost["calls"])
        for trials, found in usual.items():
            found.append(usual_way(one, problem, len(evaluation.samples[0].seconds), trials))
    print("\nsame kernels, same number of timed pairs, in turns; overhead per candidate is wall time outside kernels")
    print(f"  this evaluator: {median(calls):.0f} calls, fresh data for each, all of the kernel's checked {1e3 * median(ours):12.1f} ms")
    for trials, found in usual.items():
        ratio = median([theirs / own for theirs, own in zip(found, ours, strict=True)])
        what = f"a fresh python each: {trials} checked, the same data for every timed call"
        print(f"  {what} {1e3 * median(found):8.1f} ms, {ratio:.1f} times as much")
    print("  (wanted: 5 times as much)")


def median(values: list[float]) -> float:
    return statistics.median(values)


def main() -> None:
    count = int(sys.argv[sys.argv.index("--kernels") + 1]) if "--kernels" in sys.argv else 8 if "--short" in sys.argv else 50
    problem = replace(Problem.load(ROOT / "experiments" / "problems" / "softmax"), shapes=(SHAPE,))
    settings = EvaluationSettings(repetitions=12)
    evaluator = MeasuringEvaluator(problem, open_target("cpp", settings), settings)
    start = time.perf_counter()
    evaluator.warm()
    print(f"opening and warming up                                   {time.perf_counter() - start:8.2f} s")
    prepared = [evaluator.prepare(kernel) for kernel in kernels(problem, count)]
    assert all(one.failed is None for one in prepared), next(one.failed for one in prepared if one.failed is not None)
    start = time.perf_counter()
    first = evaluator.measure(prepared[0])
    print(f"first evaluation                                         {time.perf_counter() - start:8.2f} s")
    evaluator.measure(prepared[0])
    assert first.ok

    begin = time.perf_counter()
    evaluations = [evaluator.measure(one) for one in prepared]
    elapsed = time.perf_counter() - begin
    assert all(evaluation.ok for evaluation in evaluations)
    costs = [evaluation.cost for evaluation in evaluations]
    seconds = median([float(evaluation.profile["seconds"]) for evaluation in evaluations])
    print(f"warm evaluations: {count} kernels, median kernel {1e3 * seconds:.2f} ms, load {os.getloadavg()[0]:.1f}\n")

    print(f"{'per evaluation, ms':<56} {'median':>8}")
    for part in ("fork", "map", "cases", "fill", "check", "wait", "close", "canary", "statistics", "kernel", "measure", "cpu"):
        print(f"  {part:<54} {1e3 * median([cost.get(part, 0.0) for cost in costs]):8.2f}")
    for part in ("calls", "rounds", "retries", "preempted"):
        print(f"  {part:<54} {median([cost.get(part, 0.0) for cost in costs]):8.1f}")

    passes = [3 * streaming_pass(int(cost["copied"] + cost["checked"])) for cost in costs[:5]]
    wall, cpu = median([framework(e)[0] for e in evaluations]), median([framework(e)[1] for e in evaluations])
    three = median(passes)
    print(f"\nframework's wall time, page faults aside                 {1e3 * wall:8.2f} ms")
    print(f"  allowed: {1e3 * FIXED_WALL:.0f} ms and three passes over bytes copied and checked {1e3 * (FIXED_WALL + three):8.2f} ms")
    print(f"framework's CPU time, page faults aside                  {1e3 * cpu:8.2f} ms")
    print(f"  allowed: {1e3 * FIXED_CPU:.0f} ms and three passes                             {1e3 * (FIXED_CPU + three):8.2f} ms")
    print(f"page faults (slots mapped into runners)                  {1e3 * median([cost['map'] for cost in costs]):8.2f} ms")
    inside = sum(cost["kernel"] for cost in costs) / elapsed
    print(f"share of the timing core's wall time inside kernels      {100 * inside:8.1f} %   (wanted: 50)")

    beside_the_usual_way(evaluator, problem, prepared)
    evaluator.close()
    fingerprints()
    print("\na proposal whose kernel or program is known (wanted: 1 ms), engine and database included")
    for kind in ("kernel", "program"):
        found = repeated(kind)
        what = f"known {kind}, {found.known} of {found.count} recognised"
        print(f"  {what:<54} {1e3 * found.wall:8.3f} ms wall, {1e3 * found.cpu:.3f} ms CPU")


def fingerprints() -> None:
    """What it costs to notice writes after the call, per output of 8 MiB out of every cache: taken and looked at again."""
    outputs = [np.ones(1 << 21, np.float32) for _ in range(8)]
    prints = [Fingerprint(output.view(np.uint8)) for output in outputs]
    print("\nlate writes: fingerprint of an output of 8 MiB, taken and compared")
    for whole, what in ((False, "a secret word in each of 512 parts (filtered runner)"), (True, "every byte (no filter of system calls)")):
        seconds = []
        for number in range(24):
            start = time.perf_counter()
            prints[number % 8].take(whole=whole)
            assert not prints[number % 8].changed(thoroughly=True)
            seconds.append(time.perf_counter() - start)
            prints[number % 8].drop()
        print(f"  {what:<54} {1e3 * median(seconds):8.3f} ms")


if __name__ == "__main__":
    main()
