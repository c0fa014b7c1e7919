"""Strategies of `evo` under the rules of an autotuning benchmark on recorded spaces (repeats free, failures cost one evaluation).

    export EVO_AUTOTUNE_BENCH=…/autotune_bench.py
    python experiments/bench/autotune_evo.py --spaces A,B --contestants evo:auto,random --out runs.jsonl
    python experiments/bench/autotune_evo.py --report runs.jsonl
    python experiments/bench/autotune_evo.py --summary runs.jsonl [--csv FILE]
    python experiments/bench/autotune_evo.py --speed FILE.csv.gz [--strategy auto] [--evaluations 400]
    python experiments/bench/autotune_evo.py --recorded A.csv.gz,B.csv.gz --contestants genetic,genetic:adaptive=true [--leave-one-out]

`--bench PATH` does as the variable. All other arguments are the benchmark's own; its file is imported, never copied, and its
contestants stay available. Contestants of ours are `evo:STRATEGY`, and `evo:auto-PART+PART` for `auto` without some of its parts. A
search starts from a configuration drawn at random, not from one that is known to work. `--summary` gives the mean of best/found
over spaces with its standard error (over seeds; the spaces are fixed), and writes every run as a row. `--speed` runs the whole
engine, with archive and lineage, on a recorded space and says how many evaluations per second of CPU time of one core it makes.

`--recorded` needs no benchmark's file: it searches recorded spaces by the same rules (`--seeds 10 --first-seed 0 --budget 100`); a
contestant is `STRATEGY:key=value+key=value`, and of `auto` `settings.KEY` is a size of its surrogate (`auto:settings.around=2`,
`auto:without=[spread,squash]`).
`--leave-one-out` then chooses among the contestants without each kernel in turn and says what the choice finds on that kernel;
spaces named KERNEL__DEVICE are left out together. `--csv` keeps every run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # one core means one core
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from _recorded import Space as RecordedSpace
from _recorded import left_out, measure, parse_contestant, split_contestants, summary

from archive.candidate import Candidate, Draft, Proposal
from archive.descriptors import default_descriptors
from archive.evaluation import Evaluation, Outcome
from archive.grid import GridArchive
from archive.kernel import Kernel
from archive.space import Space
from archive.values import show
from evo.budget import Budget
from evo.config import BudgetSection
from evo.randomness import generator
from evo.state import State
from evo.strategies.prospect import PARTS
from evo.strategies.registry import create_strategy, strategy_names
from operators.base import Context, operator

VARIABLE = "EVO_AUTOTUNE_BENCH"
BUDGETS = (25, 50, 100, 200, 400)
BARREN = 400
"""Proposals in a row without a new configuration after which a search has ended."""

Contestant = Callable[[Any, Any, int], None]


@cache
def text_of(names: tuple[str, ...], domains: tuple[tuple[Any, ...], ...]) -> str:
    """A kernel text that declares the space, every tunable at its first value."""
    lines = (f"{name} = {show(domain[0])}  # evo: {{{', '.join(map(show, domain))}}}" for name, domain in zip(names, domains, strict=True))
    return "\n".join(lines) + "\n"


_spaces: dict[str, Space] = {}


def space_of(space: Any) -> tuple[Kernel, Space]:
    """A kernel of the benchmark's space, and its legal configurations (they have no memory, so runs may share them)."""
    plain = Kernel("tabular", text_of(tuple(space.names), tuple(map(tuple, space.values))))
    if space.stem not in _spaces:
        _spaces[space.stem] = plain.space.restricted(space.configs)
    return plain, _spaces[space.stem]


def contestant(strategy: str, parameters: dict[str, Any]) -> Contestant:
    """A search without engine and lineage; ends with the benchmark's own exception, or when nothing new comes."""
    from math import log

    def run(space: Any, objective: Any, seed: int) -> None:
        plain, legal = space_of(space)
        start = plain.with_key(legal.sample_key(generator(seed, "start", 0)))
        descriptors = default_descriptors("tabular", legal)
        archive = GridArchive(descriptors, deterministic=True)
        budget = Budget(BudgetSection(evaluations=objective.budget))
        state = State(archive, create_strategy(strategy, parameters), budget, lambda kernel: legal)
        make, barren, number = cache(operator), 0, 0
        while barren < BARREN:
            if number == 0:
                proposal, draft = Proposal(0, "seed"), Draft(start)
            else:
                move = state.strategy.ask(state.view, generator(seed, "ask", number))
                proposal = Proposal(number, move.operator, move.parents, move.goal)
                context = Context(state.view, generator(seed, "propose", number), (start,))
                draft = make(proposal.operator).propose(proposal, context)
            kernel = draft.kernel
            earlier = None if kernel is None else state.view.claim(kernel.id, number)
            evaluation: Evaluation | None = None
            cell = None
            if kernel is not None and earlier is None:
                values = kernel.values
                milliseconds = objective(tuple(values.values()))
                cell = descriptors.cell({}, values)
                evaluation = (
                    Evaluation(kernel.id, Outcome.CRASH)
                    if milliseconds is None
                    else Evaluation(kernel.id, Outcome.OK, objective=-log(milliseconds))
                )
            barren = barren + 1 if evaluation is None else 0
            candidate = Candidate(proposal, kernel, evaluation, cell if evaluation and evaluation.ok else None, duplicate_of=earlier)
            if evaluation is not None and evaluation.ok:
                result = state.offer(candidate)
                candidate = Candidate(proposal, kernel, evaluation, result.cell, result.status)
            state.finish(candidate)
            number += 1

    return run


def load(path: str) -> ModuleType:
    """The benchmark's module."""
    spec = importlib.util.spec_from_file_location("autotune_bench", path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise SystemExit(f"autotune_evo: {path} is no Python file; give the benchmark's by --bench or {VARIABLE}")
    module = importlib.util.module_from_spec(spec)
    sys.modules["autotune_bench"] = module
    spec.loader.exec_module(module)
    return module


def summarise(bench: ModuleType, runs: Path, csv: Path | None) -> None:
    """Prints a line per contestant: mean of best/found at each budget, standard error in brackets."""
    spaces: dict[str, Any] = {}
    shares: dict[str, dict[str, dict[int, list[float]]]] = {}
    for line in runs.read_text().splitlines():
        row = json.loads(line)
        space = spaces.setdefault(row["space"], bench.Space(row["space"]))
        found = [bench.at(row["curve"], budget) for budget in BUDGETS if budget <= row["budget"]]
        shares.setdefault(row["contestant"], {}).setdefault(space.stem, {})[row["seed"]] = [space.best / x if x else 0.0 for x in found]
    for contestant, by_space in shares.items():
        columns = []
        for place in range(min(len(found) for seeds in by_space.values() for found in seeds.values())):
            values = [[found[place] for found in seeds.values()] for seeds in by_space.values()]
            error = sum(statistics.variance(one) / len(one) for one in values if len(one) > 1) ** 0.5 / len(values)
            columns.append(f"{statistics.mean(map(statistics.mean, values)):.3f} ({error:.3f})")
        fewest = min(map(len, by_space.values()))
        print(f"{contestant:28} {len(by_space)} spaces, {fewest:2} seeds  " + "  ".join(columns))
    if csv is not None:
        lines = ["contestant,space,seed," + ",".join(f"at_{budget}" for budget in BUDGETS)]
        for contestant, by_space in shares.items():
            for stem, seeds in by_space.items():
                for seed, found in sorted(seeds.items()):
                    cells = [f"{value:.4f}" for value in found] + [""] * (len(BUDGETS) - len(found))
                    lines.append(",".join([contestant, stem, str(seed), *cells]))
        csv.write_text("\n".join(lines) + "\n")


def speed(file: Path, strategy: str, evaluations: int) -> None:
    """Times a whole run on a recorded space."""
    from evo.config import parse_config
    from evo.run import Run

    def seconds(count: int) -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            document = {"name": "speed", "problem": str(file), "target": "tabular", "strategy": strategy, "executor": "inline"}
            run = Run.create(parse_config({**document, "budget": {"evaluations": count}}), Path(folder) / "run")
            before = time.process_time()
            summary = run.search(picture=False)
            return time.process_time() - before, summary.speedup or 0.0

    seconds(12)  # imports and caches
    start, _ = seconds(12)
    whole, best = seconds(evaluations)
    print(
        f"{strategy:22} {evaluations:6} evaluations of {file.name}: {(evaluations - 12) / (whole - start):6.0f} per second of CPU"
        f" (and {start:.2f} s to begin and to end); best {best:.3f}x the median",
        flush=True,
    )


def recorded(arguments: list[str]) -> None:
    """Searches recorded spaces, prints a line per contestant, and, when asked to, leaves kernels out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--recorded", type=lambda text: [Path(part) for part in text.split(",")], required=True)
    parser.add_argument("--contestants", type=split_contestants, default=["auto", "random"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--budget", type=int, default=100)
    parser.add_argument("--leave-one-out", action="store_true")
    parser.add_argument("--csv", type=Path)
    ours = parser.parse_args(arguments)
    spaces = [RecordedSpace(path) for path in ours.recorded]
    searches = {name: contestant(*parse_contestant(name)) for name in ours.contestants}
    at = [budget for budget in BUDGETS if budget <= ours.budget] or [ours.budget]
    results = list(measure(spaces, searches, range(ours.first_seed, ours.first_seed + ours.seeds), ours.budget, at))
    print(f"{len(spaces)} spaces, {ours.seeds} seeds; mean of best/found (standard error) after {', '.join(map(str, at))} evaluations")
    for name, by_count in summary(results).items():
        print(f"{name:44} " + "  ".join(f"{mean:.3f} ({error:.3f})" for mean, error in by_count.values()))
    if ours.leave_one_out:
        chosen, figures = left_out(results)
        print("\nchosen without: " + ", ".join(f"{kernel} → {name}" for kernel, name in chosen.items()))
        print("found by what was chosen without each kernel: " + "  ".join(f"{blind:.3f}" for blind, _ in figures.values()))
        print("and by the choice with everything in sight:   " + "  ".join(f"{every:.3f}" for _, every in figures.values()))
    if ours.csv is not None:
        lines = [",".join(["contestant", "space", "seed", *(f"at_{budget}" for budget in at)])]
        lines += [",".join([r.contestant, r.space, str(r.seed), *(f"{share:.4f}" for share in r.shares.values())]) for r in results]
        ours.csv.write_text("\n".join(lines) + "\n")


def main() -> None:
    if "--recorded" in sys.argv:
        recorded(sys.argv[1:])
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], add_help=False)
    parser.add_argument("--bench", default=os.environ.get(VARIABLE))
    parser.add_argument("--speed", type=Path)
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--evaluations", type=int, default=400)
    parser.add_argument("--summary", type=Path)
    parser.add_argument("--csv", type=Path)
    ours, rest = parser.parse_known_args()
    if ours.speed:
        for strategy in ours.strategy.split(","):
            speed(ours.speed, strategy, ours.evaluations)
        return
    if not ours.bench:
        print(f"autotune_evo: nothing measured, for there is no benchmark: set {VARIABLE} to the path of its file, or give --bench")
        return
    bench = load(ours.bench)
    if ours.summary:
        summarise(bench, ours.summary, ours.csv)
        return
    for name in strategy_names():
        bench.CONTESTANTS[f"evo:{name}"] = contestant(name, {})
    for name in rest[rest.index("--contestants") + 1].split(",") if "--contestants" in rest[:-1] else PARTS:
        parts = name.removeprefix("evo:auto-").split("+")
        if set(parts) <= set(PARTS):
            bench.CONTESTANTS[f"evo:auto-{'+'.join(parts)}"] = contestant("auto", {"without": parts})
    sys.argv = [ours.bench, *rest]
    bench.main()


if __name__ == "__main__":
    main()
