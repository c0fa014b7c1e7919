"""What a proposal costs whose kernel, or whose program, is known already: seconds of a real engine with its database on disk.

A search of a few kernels runs first, with an evaluator that answers at once; then the same engine is handed drafts that repeat a kernel,
or new kernels that are built to a program it knows. What is left is what the framework does: identity, lineage, commit, budget.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from engine_bench import SEED, Immediate, NextTurn

import evo.run
from archive.candidate import Proposal
from archive.evaluation import Evaluation
from archive.kernel import Kernel
from evo.budget import StopReason
from evo.config import parse_config
from evo.engine import Engine
from evo.run import Run
from fitness.protocol import Bar, Prepared
from operators.base import Draft

__all__ = ["Repeated", "measure"]

COUNT = 300


@dataclass(frozen=True, slots=True)
class Repeated:
    """Medians per candidate. known: how many of them were recognised."""

    count: int
    known: int
    wall: float
    cpu: float


class _OneProgram(Immediate):
    """Whatever the kernel, it is built to the same program."""

    def prepare(self, kernel: Kernel) -> Prepared:
        return Prepared(kernel, artifact="the same program")

    def measure(self, prepared: Prepared, bar: Bar | None = None) -> Evaluation:
        return replace(super().measure(prepared, bar), artifact=prepared.artifact, cost={"measure": 1e-3})


def measure(kind: str, count: int = COUNT) -> Repeated:
    """kind: `kernel` or `program`."""
    config = parse_config(
        {"name": "duplicates", "problem": "immediate", "target": "cpp", "strategy": "random", "budget": {"evaluations": 1},
         "archive": {"descriptors": [{"name": "t0", "field": "tunable.T0", "kind": "bins", "edges": [1, 5, 9, 17]}]}}
    )  # fmt: skip
    seed = Kernel("python", SEED)
    rng = random.Random(1)
    kernels = [seed if kind == "kernel" else seed.with_values(seed.space.sample(rng)) for _ in range(count)]
    walls, cpus = [], []
    searched = Engine.search

    async def search(engine: Engine) -> StopReason:
        reason = await searched(engine)
        for kernel in kernels:
            wall, cpu = time.perf_counter(), time.process_time()
            await engine.evaluate([(Proposal(engine.take_number(), "sample"), Draft(kernel))])
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        return reason

    opened = evo.run.open_executor
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(
            config, Path(folder) / "run", evaluator_factory=Immediate if kind == "kernel" else _OneProgram, evaluator_arguments=(False,)
        )
        evo.run.open_executor = lambda config, make, arguments, log: NextTurn(make(*arguments))
        Engine.search = search  # type: ignore[method-assign]
        try:
            summary = run.search(picture=False)
        finally:
            evo.run.open_executor, Engine.search = opened, searched  # type: ignore[method-assign]
    return Repeated(count, summary.duplicates, median(walls), median(cpus))


if __name__ == "__main__":
    for kind in ("kernel", "program"):
        found = measure(kind)
        print(f"known {kind:<8}{1e3 * found.wall:.3f} ms wall, {1e3 * found.cpu:.3f} ms CPU ({found.known} of {found.count} recognised)")
