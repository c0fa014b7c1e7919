"""What the archive and the lineage cost: offers per second, commits per second, bytes per candidate, seconds to replay.

    python experiments/bench/archive_bench.py [--candidates N] [--out results.json]

Synthetic candidates: a kernel of some 20 lines with 8 tunables, 3 shapes x 20 timed pairs and a profile of 16 facts where the
lineage of a measured run is meant; no samples where a recorded space is meant.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from archive.candidate import Candidate, Proposal
from archive.cvt import CVTArchive
from archive.descriptors import Descriptors, Log2
from archive.evaluation import Evaluation, Outcome, Samples
from archive.events import Event
from archive.grid import GridArchive
from archive.kernel import Kernel
from archive.lineage import Lineage
from archive.replay import replay
from archive.stats import prediction_interval, summarise

SHAPES = ("rows=4096,cols=1024", "rows=1024,cols=4096", "rows=2048,cols=2048")
SOURCE = "".join(f"#define T{i} 4  // evo: {{1, 2, 4, 8, 16, 32, 64, 128}}\n" for i in range(8)) + (
    'extern "C" void kernel(const float* x, float* y, void*, long n) {\n'
    + "  for (long i = 0; i < n; ++i) y[i] = x[i] * T0;\n" * 12
    + "}\n"
)
DESCRIPTORS = Descriptors((Log2("tile", "tile_elements", 1, 1 << 15), Log2("working_set", "working_set", 1 << 10, 1 << 25)))


def candidates(n: int, measured: bool) -> list[Candidate]:
    rng = np.random.default_rng(0)
    seed = Kernel("cpp", SOURCE)
    found = []
    for number in range(n):
        kernel = seed.with_values({f"T{i}": int(1 << rng.integers(0, 8)) for i in range(8)})
        objective = float(rng.normal())
        samples = []
        for shape in SHAPES if measured else ():
            baseline = 1e-3 * (1 + 0.02 * rng.random(20))
            samples.append(Samples(shape, baseline / np.exp(objective), baseline))
        profile = {f"fact_{i}": float(rng.random()) for i in range(14)} if measured else {}
        profile |= {"tile_elements": int(1 << rng.integers(0, 16)), "working_set": int(1 << rng.integers(10, 26))}
        cost = {stage: float(rng.random()) for stage in ("build", "wait", "fork", "fill", "check", "kernel", "baseline", "cpu")}
        evaluation = Evaluation(
            kernel.id, Outcome.OK, objective=objective, interval=(objective - 0.01, objective + 0.01), samples=tuple(samples),
            profile=profile, cost=cost if measured else {}, artifact=kernel.id if measured else "", environment="0123456789abcdef",
        )  # fmt: skip
        parents = tuple(int(p) for p in rng.integers(0, number, 2)) if number else ()
        notes = {"changed": ["T1", "T5"]}
        found.append(Candidate(Proposal(number, "crossover" if number else "seed", parents), kernel, evaluation, notes=notes))
    return found


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU) seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def offers(found: list[Candidate], make: Callable[[], GridArchive | CVTArchive]) -> float:
    """Offers per second of CPU, the best of three passes over an empty archive; every cell is found from its candidate's profile."""

    def work(archive: GridArchive | CVTArchive) -> None:
        for candidate in found:
            archive.offer(candidate)

    return len(found) / min(seconds(partial(work, make()))[1] for _ in range(3))


def lineage(found: list[Candidate], folder: Path, group_ms: float, deterministic: bool) -> dict[str, float]:
    path = folder / f"run-{group_ms:g}-{deterministic}.db"
    archive = GridArchive(DESCRIPTORS, deterministic=deterministic)
    with Lineage.create(path, group_ms=group_ms) as written:
        written.start_run("{}", 0, "bench", "cpp")

        def work() -> None:
            for candidate in found:
                written.propose(candidate.proposal)
                written.draft(candidate.number, candidate.kernel, candidate.notes)
                result = archive.offer(candidate)
                written.commit(replace(candidate, cell=result.cell, status=result.status), Event.offered(candidate.number, result))
            written.flush()

        wall, cpu = seconds(work)
    sources = len({c.kernel.id for c in found if c.kernel is not None}) * len(SOURCE)
    with Lineage.open(path, readonly=True) as stored:
        again = GridArchive(DESCRIPTORS, deterministic=deterministic)
        replayed = seconds(lambda: replay(stored, again))[0]
    assert again.state() == archive.state()
    n = len(found)
    return {
        "commits_per_s": n / wall,
        "cpu_ms_per_candidate": 1000 * cpu / n,
        "bytes_per_candidate_beside_source": (path.stat().st_size - sources) / n,
        "replay_seconds": replayed,
    }


def statistics() -> dict[str, float]:
    one = candidates(1, measured=True)[0].evaluation
    assert one is not None
    processes = [one.samples] * 5
    summarise(one.samples), prediction_interval(processes)  # the resamples are drawn once
    return {
        "summarise_3x20_us": 1e3 * seconds(lambda: [summarise(one.samples) for _ in range(1000)])[0],
        "prediction_5x3x20_us": 1e4 * seconds(lambda: [prediction_interval(processes) for _ in range(100)])[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=None, help="JSON file to write the figures to")
    arguments = parser.parse_args()
    n = arguments.candidates
    measured, recorded = candidates(n // 4, measured=True), candidates(n, measured=False)
    with tempfile.TemporaryDirectory(prefix="evo-bench-", dir=os.environ.get("EVO_BENCH_DIR")) as folder:
        figures: dict[str, object] = {
            "candidates": n,
            "grid_offers_per_cpu_s": offers(recorded, lambda: GridArchive(DESCRIPTORS)),
            "grid_offers_deterministic_per_cpu_s": offers(recorded, lambda: GridArchive(DESCRIPTORS, deterministic=True)),
            "cvt_offers_per_cpu_s": offers(recorded, lambda: CVTArchive(DESCRIPTORS, cells=256)),
            "measured_run": lineage(measured, Path(folder), 0.0, deterministic=False),
            "recorded_space_single_commits": lineage(recorded, Path(folder), 0.0, deterministic=True),
            "recorded_space_grouped_commits": lineage(recorded, Path(folder), 100.0, deterministic=True),
            "statistics": statistics(),
        }
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
