"""What each strategy costs on one core: evaluations per second of CPU time, engine, archive and lineage included.

    python experiments/bench/strategies_bench.py [--space FILE] [--strategy NAME,NAME] [--rounds 5]

A row per strategy, columns separated by blanks (pandas reads it with `sep=r"\\s+", comment="#"`):

* `recorded`: 200 evaluations of a recorded space, as `evo compare` makes them: the space is read once, the run's folder is in memory.
* `large`: 2000 evaluations of a space of 10^14 configurations, by an evaluator that returns at once.
* `start_ms`: what a run on the recorded space costs before its first evaluation and after its last one.

A figure is evaluations over CPU time of this process, less that of a run of 12 evaluations; the best of some rounds through all the
strategies, because a core that is shared with others is slower for a while, never faster. `repeats` are proposals that the large run
threw away because their kernels were known.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # one core means one core
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from evo.compare.runner import in_memory, recorded_space
from evo.config import parse_config
from evo.run import Run
from evo.strategies.registry import strategy_names

SPACE = Path(__file__).resolve().parents[1] / "recorded" / "transpose.csv.gz"
START, RECORDED, LARGE = 12, 200, 2000
MODELLED = ("auto", "optuna")
"""Strategies that fit a model: fewer evaluations of the large space are enough for them."""


@dataclass
class Row:
    """The least CPU seconds of each kind of run so far."""

    start: float = math.inf
    recorded: float = math.inf
    start_large: float = math.inf
    large: float = math.inf
    evaluations: dict[str, int] = field(default_factory=dict)
    repeats: int = 0


def run(document: dict[str, Any], evaluations: int, **how: Any) -> tuple[float, int, int]:
    """CPU seconds of one whole search, its evaluations and its proposals."""
    with tempfile.TemporaryDirectory(dir=in_memory()) as folder:
        budget = {"evaluations": evaluations, "barren": 1000}
        made = Run.create(parse_config({**document, "name": "speed", "target": "tabular", "budget": budget}), Path(folder) / "run", **how)
        before = time.process_time()
        summary = made.search(picture=False)
        spent = time.process_time() - before
        return spent, summary.evaluations, summary.proposals


def one_round(strategy: str, space: Path, row: Row) -> None:
    from engine_bench import DESCRIPTORS, Immediate

    recorded = {"problem": str(space), "strategy": strategy, "executor": "inline"}
    large = {**recorded, "problem": "immediate", "archive": {"descriptors": DESCRIPTORS}}
    at_once: dict[str, Any] = {"evaluator_factory": Immediate, "evaluator_arguments": (True,)}
    wanted = RECORDED if strategy in MODELLED else LARGE
    row.start = min(row.start, run(recorded, START, evaluator_factory=recorded_space)[0])
    seconds, row.evaluations["recorded"], _ = run(recorded, RECORDED, evaluator_factory=recorded_space)
    row.recorded = min(row.recorded, seconds)
    row.start_large = min(row.start_large, run(large, START, **at_once)[0])
    seconds, row.evaluations["large"], proposals = run(large, wanted, **at_once)
    row.large = min(row.large, seconds)
    row.repeats = proposals - row.evaluations["large"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--space", type=Path, default=SPACE)
    parser.add_argument("--strategy", help="names, separated by commas; all that are installed by default")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    names = chosen.strategy.split(",") if chosen.strategy else [name for name in strategy_names() if name != "optuna"]
    rows = {name: Row() for name in names}
    run({"problem": str(chosen.space), "strategy": "random", "executor": "inline"}, START, evaluator_factory=recorded_space)  # imports
    for _ in range(chosen.rounds):
        for name, row in rows.items():
            one_round(name, chosen.space, row)
    print(f"# recorded: {chosen.space.name}; the best of {chosen.rounds} rounds")
    print(f"{'strategy':24}{'recorded':>10}{'large':>10}{'start_ms':>10}{'repeats':>10}")
    for name, row in rows.items():
        recorded = (row.evaluations["recorded"] - START) / (row.recorded - row.start)
        large = (row.evaluations["large"] - START) / (row.large - row.start_large)
        print(f"{name:24}{recorded:10.0f}{large:10.0f}{1e3 * row.start:10.1f}{row.repeats:10}")


if __name__ == "__main__":
    main()
