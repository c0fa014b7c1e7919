"""How far timings of the same kernel scatter, whether 5 % are seen, and whether certificates keep their word, beside busy neighbours.

    python experiments/bench/noise_bench.py [--quick] [--neighbours 1] [medians] [order] [itself] [certificates] [preemption]

Needs g++, two cores and an otherwise quiet machine; twenty minutes, `--quick` four. Three kernels of about 1 ms: a softmax that streams
16 MiB through the caches, which it shares with whoever else there is; one of 2 MiB made longer by computing, whose baseline does not
compute but fetches; and a matrix product, which computes, as its baseline does. Beside each figure of the evaluator stands what a bare
loop of the same kernel and baseline scatters by at that time, without any evaluator: that is the machine. The figure that decides
everything in a search is the speedup, which is made of pairs; times are shown beside it. Each is the geometric mean over three shapes.
Nobody waits for the device in the first section, so that an evaluation goes on until its interval is narrow (`fitness.timing.FREE`);
what it would have said at its cap, where somebody waits, is shown beside it, of the same repetitions.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np  # noqa: E402
from _apart import Chain, Twins, bare, chained, slope, twins  # noqa: E402

from archive.evaluation import Evaluation, Samples  # noqa: E402
from archive.kernel import Kernel  # noqa: E402
from archive.stats import log_speedup, typical_seconds  # noqa: E402
from fitness.measuring import MeasuringEvaluator  # noqa: E402
from fitness.problem import Problem  # noqa: E402
from fitness.protocol import EvaluationSettings  # noqa: E402
from fitness.targets import open_target  # noqa: E402

FAST = {"ALGORITHM": 1, "EXP": 1, "VECTOR": 16, "UNROLL": 2}
APART = 0.05
LENGTH = 1e-3
"""Seconds of the kernel that computes."""
PRODUCT = {
    "ALGORITHM": 2, "LOOP_ORDER": 1, "TILE_M": 128, "TILE_N": 128, "TILE_K": 512, "VECTOR": 16, "BLOCK_ROWS": 6, "BLOCK_VECTORS": 4,
    "UNROLL": 4, "PREFETCH_NEXT": 1,
}  # fmt: skip
ROUNDS = EvaluationSettings().repetitions
SECTIONS = ("medians", "order", "itself", "certificates", "preemption")
PROGRAMS = {
    "computing": "a = np.full((256, 256), 0.5)\nwhile True: a @ a",
    "streaming": "a = np.ones(1 << 23)\nb = a.copy()\nwhile True: np.copyto(b, a)",
    "in bursts": "from time import monotonic as now, sleep\nwhile True:\n end = now() + 0.004\n while now() < end: pass\n sleep(0.03)",
}
BUSY = ("computing", "streaming")


@contextlib.contextmanager
def neighbour(kind: str, cores: Sequence[int]) -> Iterator[None]:
    """Processes that keep `cores` busy; `idle`: none."""
    head = "import ctypes, os, numpy as np\nctypes.CDLL(None).prctl(1, 9)\n"  # PR_SET_PDEATHSIG: it must not outlive a bench that is killed
    head += "os.sched_setaffinity(0, {core})\nprint(flush=True)\n"
    if kind == "in bursts":  # on the measuring core: with as much right to it as a kernel has
        head += "try: os.nice(-20)\nexcept OSError: pass\n"
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    with contextlib.ExitStack() as running:
        for core in cores if kind != "idle" else ():
            argv = [sys.executable, "-c", head.replace("{core}", f"{{{core}}}") + PROGRAMS[kind]]
            process = running.enter_context(subprocess.Popen(argv, stdout=subprocess.PIPE, env=environment))
            running.callback(process.kill)
            assert process.stdout is not None
            select.select([process.stdout], [], [], 20)
        time.sleep(0.2)
        yield


def other_cores(measuring: int, wanted: int) -> list[int]:
    """Cores for neighbours: none that shares its execution units with the measuring one, the nearest by number first."""
    found = Path(f"/sys/devices/system/cpu/cpu{measuring}/topology/thread_siblings_list")
    siblings = {measuring}
    with contextlib.suppress(OSError, ValueError):
        for part in found.read_text().strip().split(","):
            first, _, last = part.partition("-")
            siblings |= set(range(int(first), int(last or first) + 1))
    allowed = os.sched_getaffinity(0) - {measuring}
    free = sorted(allowed - siblings, key=lambda core: abs(core - measuring)) or sorted(allowed)
    if not free:
        sys.exit("noise_bench: this process may use one core only; it needs another one for a neighbour (see taskset(1))")
    return free[:wanted]


@dataclass
class Subject:
    """One problem size under measurement, with a pair of kernels that are APART."""

    name: str
    evaluator: MeasuringEvaluator
    pair: Twins
    count: int
    """Evaluations, duels and so on per figure."""

    @classmethod
    def open(cls, name: str, sizes: dict[str, int], count: int, length: float | None) -> Subject:
        """length: seconds to stretch the kernel to by its chain; None leaves it as it is."""
        evaluator = opened([sizes])
        problem = evaluator.problem
        kernel = problem.seed_kernel("cpp").with_values(FAST)
        chain = slope(evaluator.target, problem, kernel, evaluator.station.core)
        turns = 0 if length is None else round(length / chain.seconds)
        prepared = evaluator.prepare(chained(kernel, turns))
        times = np.array([seconds(evaluator.measure(prepared)) for _ in range(23)])[3:]
        subject = cls(name, evaluator, twins(chain, kernel, APART, times, turns=turns), count)
        subject.introduce(chain)
        return subject

    def introduce(self, chain: Chain) -> None:
        pair = self.pair
        print(f"{self.name} kernel: {1e3 * pair.seconds:.2f} ms; its twin {100 * pair.apart:.2f} ± {100 * pair.error:.2f} % slower by")
        print(f"  a chain of turns of {1e9 * chain.seconds:.3f} ± {1e9 * chain.error:.3f} ns each", flush=True)

    def three_shapes(self) -> list[dict[str, int]]:
        """Its shape and two more that hold as many elements."""
        (sizes,) = self.evaluator.problem.shapes
        return [{"rows": int(sizes["rows"] * part), "cols": int(sizes["cols"] / part)} for part in (1, 2, 0.5)]

    def measured(self, kernel: Kernel | None = None) -> Evaluation:
        evaluator = self.evaluator
        return evaluator.measure(evaluator.prepare(self.pair.fast if kernel is None else kernel))

    def loop(self) -> list[tuple[Samples, ...]]:
        """Samples of a bare loop, in portions of as many rounds as an evaluation has."""
        evaluator, problem = self.evaluator, self.evaluator.problem
        core, sizes = evaluator.station.core, problem.shapes[0]
        times = bare(evaluator.target, problem, [self.pair.fast], sizes, core, rounds=ROUNDS * self.count)
        return [(Samples("bare", *pairs.T, only_longer=True),) for pairs in times.reshape(self.count, ROUNDS, 2)]


def opened(shapes: Sequence[dict[str, int]], name: str = "softmax") -> MeasuringEvaluator:
    """An evaluator of a problem on these shapes, warm."""
    problem = Problem.load(ROOT / "experiments" / "problems" / name)
    held_out = {size: max(8, extent * 3 // 4) + (size == "cols") for size, extent in shapes[0].items()}
    problem = replace(problem, shapes=tuple(shapes), held_out_shapes=(held_out,))
    evaluator = MeasuringEvaluator(problem, open_target("cpp", EvaluationSettings()), EvaluationSettings())
    evaluator.warm()
    return evaluator


def seconds(evaluation: Evaluation) -> float:
    assert evaluation.ok, evaluation.diagnostics
    return float(evaluation.profile["seconds"])


def spread(logs: Sequence[float]) -> str:
    values = np.exp(np.asarray(logs))
    within = np.mean(np.abs(values / np.median(values) - 1) <= 0.03)
    return f"{100 * np.std(logs):5.1f} {100 * (values.max() / values.min() - 1):6.1f} {100 * within:5.0f}"


def told(what: str, measured: Sequence[Sequence[Samples]]) -> None:
    """Spreads of the speedups and times that samples stand for."""
    speedups = [float(np.mean([log_speedup(samples) for samples in each])) for each in measured]
    times = [float(np.mean(np.log([typical_seconds(s.seconds, only_longer=True) for s in each]))) for each in measured]
    print(f"    {what:<38} {spread(speedups)}   {spread(times)}", flush=True)


def first(samples: Samples, rounds: int) -> Samples:
    return replace(samples, seconds=samples.seconds[:rounds], baseline=samples.baseline[:rounds])


def medians(subjects: Sequence[Subject], cores: Sequence[int]) -> None:
    count = subjects[0].count
    print(f"\none kernel on three shapes, measured {count} times; in %: standard deviation, from least to most, how many")
    print("lie within 3 % of their median (wanted: 100)             speedup                time")
    product = [{"m": 384, "n": 384, "k": 384}, {"m": 192, "n": 768, "k": 384}, {"m": 768, "n": 192, "k": 384}]
    loops: dict[str, Subject] = {subject.name: subject for subject in subjects}
    kinds = [(subject.name, "softmax", subject.three_shapes(), subject.pair.fast) for subject in subjects]
    for name, problem, shapes, kernel in [*kinds, ("matrix product", "matmul", product, None)]:
        with contextlib.closing(opened(shapes, problem)) as evaluator:
            evaluator.idle = lambda: True
            prepared = evaluator.prepare(kernel or evaluator.problem.seed_kernel("cpp").with_values(PRODUCT))
            for kind in ("idle", *BUSY):
                with neighbour(kind, cores):
                    loop = loops[name].loop() if name in loops else []
                    evaluations = [evaluator.measure(prepared) for _ in range(count)]
                failed = [evaluation.diagnostics for evaluation in evaluations if not evaluation.ok]
                assert not failed, failed
                samples = [evaluation.samples for evaluation in evaluations]
                rounds = np.mean([len(each.seconds) for one in samples for each in one])
                lasted = np.mean([evaluation.cost["measure"] for evaluation in evaluations])
                print(f"  {name}, neighbour {kind}: {rounds:.0f} rounds, {lasted:.2f} s")
                told("evaluator", samples)
                told(f"its first {ROUNDS} rounds", [[first(each, ROUNDS) for each in one] for one in samples])
                if loop:
                    told(f"bare loop, one shape, {ROUNDS} rounds", loop)


def order(subjects: Sequence[Subject], cores: Sequence[int]) -> None:
    print(f"\ntwins ordered rightly in {subjects[0].count} trials (wanted: 95 %)")
    for subject in subjects:
        fast, slow = (subject.evaluator.prepare(kernel) for kernel in (subject.pair.fast, subject.pair.slow))
        for kind in BUSY:
            with neighbour(kind, cores):
                pairs = [(subject.measured().objective, subject.measured(slow.kernel).objective) for _ in range(subject.count)]
                duels = [subject.evaluator.duel(fast, slow) for _ in range(subject.count)]
            alone = np.mean([one is not None and two is not None and one > two for one, two in pairs])
            found = np.array([duel.advantage for duel in duels])
            said = f"one after the other {100 * alone:4.0f} %, in a duel {100 * np.mean(found > 0):4.0f} %"
            apart = f"apart by {100 * np.expm1(np.median(found)):.1f} %, each ± {100 * np.std(found):.1f} %"
            print(f"  {subject.name:<10} neighbour {kind:<10} {said} ({apart})", flush=True)


def itself(subjects: Sequence[Subject], cores: Sequence[int]) -> None:
    """Duels of one program with itself. The two sets of memory change hands from duel to duel, so what every other one says tells what the
    place of a lane's memory does, and all of them what its place in the order does."""
    print(f"\none program against itself in {subjects[0].count} duels: the first lane's advantage in % (wanted: 0)")
    for subject in subjects:
        prepared = subject.evaluator.prepare(subject.pair.fast)
        for kind in ("idle", "computing"):
            with neighbour(kind, cores):
                duels = [subject.evaluator.duel(prepared, prepared) for _ in range(subject.count)]
            for side in (side for duel in duels for side in (duel.challenger, duel.incumbent) if not side.ok):
                print(f"  REFUSED: {side.outcome.value}, {side.diagnostics[0].reason}: {side.diagnostics[0].message}")
            found = np.array([duel.advantage for duel in duels if np.isfinite(duel.advantage)])
            error = np.std(found) / np.sqrt(len(found))
            parts = f"{100 * np.mean(found[::2]):+.1f} and {100 * np.mean(found[1::2]):+.1f} by turns"
            print(f"  {subject.name:<10} neighbour {kind:<10} {100 * np.mean(found):+.2f} ± {100 * error:.2f}; {parts}", flush=True)


def certificates(subjects: Sequence[Subject], cores: Sequence[int]) -> None:
    count = max(3, subjects[0].count // 3)
    print(f"\ncertified {count} times: how often the next certificate's speedup lies in the interval stated (wanted: 90 %)")
    for subject in subjects:
        prepared = subject.evaluator.prepare(subject.pair.fast)
        for kind in BUSY:
            with neighbour(kind, cores):
                found = [subject.evaluator.certify(prepared).against["numpy"] for _ in range(count)]
            next_ones = np.mean([one.low <= two.value <= one.high for one, two in pairwise(found)])
            every = np.mean([one.low <= two.value <= one.high for one in found for two in found if one is not two])
            width = np.median([one.high / one.low - 1 for one in found])
            said = f"next one {100 * next_ones:4.0f} %, any other {100 * every:4.0f} %; median width {100 * width:4.1f} %"
            print(f"  {subject.name:<10} neighbour {kind:<10} {said}", flush=True)


def preemption(subjects: Sequence[Subject], cores: Sequence[int]) -> None:
    rounds = max(3, subjects[0].count // 3)
    print(f"\npreemption: a burst of 4 ms on the measuring core every 34 ms, {rounds} evaluations")
    for subject in subjects:
        quiet = float(np.median([seconds(subject.measured()) for _ in range(rounds)]))
        with neighbour("in bursts", [subject.evaluator.station.core]):
            disturbed = [subject.measured() for _ in range(rounds)]
        retries, rest = (sum(e.cost.get(name, 0.0) for e in disturbed) / rounds for name in ("retries", "preempted"))
        off = 100 * (float(np.median([seconds(e) for e in disturbed])) / quiet - 1)
        said = f"{retries:.1f} rounds repeated and {rest:.1f} taken disturbed per evaluation"
        print(f"  {subject.name:<10} {said}; median {off:+.1f} % against an undisturbed core", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Scatter of timings beside busy neighbours.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer trials: a minute")
    parser.add_argument("--neighbours", type=int, default=1, help="how many other cores are kept busy")
    arguments = parser.parse_args()
    unknown = set(arguments.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown section {', '.join(sorted(unknown))}; expected {', '.join(SECTIONS)}")
    count = 8 if arguments.quick else 30
    subjects = []
    try:
        subjects.append(Subject.open("computing", {"rows": 512, "cols": 512}, count, LENGTH))
        subjects.append(Subject.open("streaming", {"rows": 1024, "cols": 2048}, count, None))
        core = subjects[0].evaluator.station.core
        cores = other_cores(core, arguments.neighbours)
        there = f"neighbours on {', '.join(map(str, cores))} of {len(os.sched_getaffinity(0))}"
        print(f"measured on core {core}, {there}; load {os.getloadavg()[0]:.1f}", flush=True)
        parts: dict[str, Callable[[Sequence[Subject], Sequence[int]], None]] = {
            "medians": medians, "order": order, "itself": itself, "certificates": certificates, "preemption": preemption
        }  # fmt: skip
        for name in arguments.sections or SECTIONS:
            parts[name](subjects, cores)
    finally:
        for subject in subjects:
            subject.evaluator.close()


if __name__ == "__main__":
    main()
