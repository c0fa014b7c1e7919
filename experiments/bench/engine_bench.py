"""What the search itself costs: engine, strategy, operators, archive and lineage, with an evaluator that returns at once.

    python experiments/bench/engine_bench.py [--candidates 50000] [--json FILE]

Three ways: `inline` (no event loop, transactions in groups of 100 ms), `asyncio` (the event loop, a transaction per candidate,
an evaluator that answers at the next turn of the loop), `local` (the real executor: a build thread and a worker process;
engine and builds are counted, the worker is not). Reported per candidate, as CPU time of this process: the average, the median of
the last 500 over that of the 500 around the 500th, and the average of the second half over that of the first (which has in it
what comes in lumps: commits, garbage collection).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from archive.evaluation import Environment, Evaluation, Outcome
from archive.kernel import Kernel
from archive.space import Space
from evo.config import Config, parse_config
from evo.executors import inline
from evo.run import Run
from fitness.protocol import Bar, Certificate, Duel, Prepared

SEED = "\n".join(f"T{i} = 1    # evo: [1..16]" for i in range(12)) + "\n# evo: require T0 * T1 <= 128\n"
DESCRIPTORS = [{"name": f"t{i}", "field": f"tunable.T{i}", "kind": "bins", "edges": [1, 3, 5, 7, 9, 11, 13, 15, 17]} for i in range(3)]
WINDOW = 500


class Immediate:
    """An evaluator that returns at once and notes when it was asked."""

    inline = True
    deterministic = True

    def __init__(self, inline: bool) -> None:
        self.inline = inline
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def environment(self) -> Environment:
        return Environment("immediate")

    def seeds(self) -> Sequence[Kernel]:
        return [Kernel("python", SEED)]

    def space(self, kernel: Kernel) -> Space:
        return kernel.space

    def prepare(self, kernel: Kernel) -> Prepared:
        self.wall.append(time.perf_counter())
        self.cpu.append(time.process_time())
        return Prepared(kernel)

    def measure(self, prepared: Prepared, bar: Bar | None = None) -> Evaluation:
        objective = -sum(abs(float(value) - 8) for value in prepared.kernel.values.values()) / 20
        return Evaluation(prepared.kernel.id, Outcome.OK, objective=objective)

    def duel(self, challenger: Prepared, incumbent: Prepared) -> Duel:
        raise AssertionError("exact measurements are never contested")

    def certify(self, prepared: Prepared, seed: Prepared | None = None) -> Certificate:
        return Certificate(prepared.kernel.id, True)

    def close(self) -> None:
        pass


class NextTurn(inline.InlineExecutor):
    """Answers at the next turn of the event loop."""

    inline = False
    window = 4

    async def prepare(self, kernel: Kernel) -> Prepared:
        await asyncio.sleep(0)
        return await super().prepare(kernel)

    async def measure(self, prepared: Prepared, bar: Bar | None = None) -> Evaluation:
        await asyncio.sleep(0)
        return await super().measure(prepared, bar)


def config(candidates: int, executor: str, strategy: str) -> Config:
    return parse_config(
        {
            "name": "bench",
            "problem": "immediate",
            "target": "tabular" if executor == "inline" else "cpp",
            "strategy": strategy,
            "budget": {"evaluations": candidates},
            "archive": {"descriptors": DESCRIPTORS},
            "executor": {"name": executor, "builders": 2},
        }
    )


def measure(way: str, strategy: str, candidates: int) -> dict[str, float | str | int]:
    """One run; CPU and wall time per candidate, and last over first."""
    evaluators: list[Immediate] = []

    def factory(returns_at_once: bool) -> Immediate:
        evaluators.append(Immediate(returns_at_once))
        return evaluators[-1]

    import evo.run

    real = evo.run.open_executor
    with tempfile.TemporaryDirectory() as folder:
        run = Run.create(
            config(candidates, "inline" if way == "inline" else "local", strategy),
            Path(folder) / "run",
            evaluator_factory=factory if way != "local" else Immediate,
            evaluator_arguments=(way == "inline",),
        )
        if way == "asyncio":
            evo.run.open_executor = lambda config, make, arguments, log: NextTurn(make(*arguments))
        elif way == "local":
            evo.run.open_executor = lambda config, make, arguments, log: _kept(real(config, make, arguments, log=log), evaluators)
        try:
            run.search(picture=False)
        finally:
            evo.run.open_executor = real
        size = sum(path.stat().st_size for path in (Path(folder) / "run").glob("run.db*"))
    noted = evaluators[0]
    steps = [after - before for before, after in zip(noted.cpu, noted.cpu[1:], strict=False)]
    around = steps[WINDOW // 2 : WINDOW // 2 + WINDOW]
    last = steps[-WINDOW:]
    half = len(steps) // 2
    return {
        "way": way,
        "strategy": strategy,
        "candidates": len(noted.cpu),
        "cpu_ms": 1e3 * math.fsum(steps) / len(steps),
        "per_second": len(noted.wall) / (noted.wall[-1] - noted.wall[0]),
        "last_over_500th": median(last) / median(around),
        "second_half_over_first": math.fsum(steps[half:]) / math.fsum(steps[:half]),
        "bytes_per_candidate": size / len(noted.cpu),
    }


def _kept(executor: object, evaluators: list[Immediate]) -> object:
    evaluators.append(executor.evaluator)  # type: ignore[attr-defined]
    return executor


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--candidates", type=int, default=50_000)
    parser.add_argument("--way", choices=("inline", "asyncio", "local"), help="only this one")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    rows = []
    for way, strategy, candidates in (
        ("inline", "random", chosen.candidates),
        ("inline", "map_elites", chosen.candidates),
        ("asyncio", "map_elites", chosen.candidates),
        ("local", "map_elites", min(chosen.candidates, 2000)),
    ):
        if chosen.way not in (None, way):
            continue
        row = measure(way, strategy, candidates)
        rows.append(row)
        print(
            f"{way:8} {strategy:10} {row['candidates']:>6} candidates: {row['cpu_ms']:.3f} ms CPU each, {row['per_second']:.0f}/s,"
            f" last/500th {row['last_over_500th']:.2f}, second half/first {row['second_half_over_first']:.2f},"
            f" {row['bytes_per_candidate']:.0f} bytes of database each",
            flush=True,
        )
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    import engine_bench  # by its name, so that the worker process finds the evaluator

    engine_bench.main()
