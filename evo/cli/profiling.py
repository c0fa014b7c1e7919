"""`evo profile`: what the hardware's own counters say of a kernel."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from evo.cli.output import emit_json, facts, say, table

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Look")(profile)


def profile(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, a unique prefix of its name, or `last`.")],
    candidate: Annotated[str, typer.Argument(metavar="[ID]", help="A candidate's number, `best`, or a kernel's id.")] = "best",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read the hardware's counters of one kernel by Nsight Compute.

    Needs an NVIDIA GPU and `ncu`. The counters are kept in the lineage, where prompts, `evo show` and data frames find them.
    """
    from evo.cli.runs import find_run
    from evo.profiling import MEANT, count, keep, refuse_early
    from evo.reading import open_run
    from evo.run import Run

    folder = find_run(run)
    with open_run(folder) as reader:
        number = reader.number_of(candidate)
        kernel = refuse_early(reader, number)
        evaluation = reader.candidate(number).evaluation
    shape = evaluation.samples[0].shape if evaluation is not None and evaluation.samples else ""
    with Run.open(folder).evaluator() as evaluator:
        counted = count(evaluator, kernel, number, shape)
    keep(counted, folder)
    if json:
        emit_json(asdict(counted))
        return
    say(f"candidate {number}" + (f" on {shape}" if shape else ""))
    say()
    table(("counter", "value", "meaning"), [(n, shown(n, v), MEANT.get(n, "")) for n, v in counted.counters.items()], right=("value",))
    say()
    facts({"kept": f"as counter.NAME in the profile: evo show {folder} {number}"})


def shown(name: str, value: float) -> str:
    return f"{value:.1%}" if name.endswith(("_share", "_rate", "_occupancy")) else f"{value:.4g}"
