"""`evo ablate`, `evo merge`: what a kernel owes its speed to; two runs made one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evo.cli.output import emit_json, facts, say, table

if TYPE_CHECKING:
    from evo.ablation import Reversal

__all__ = ["register"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Look")(ablate)
    app.command("merge", rich_help_panel="Search")(merge_runs)


def ablate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, a unique prefix of its name, or `last`.")],
    candidate: Annotated[str, typer.Argument(metavar="[ID]", help="A candidate's number, `best`, or a kernel's id.")] = "best",
    json: AsJson = False,
) -> None:
    """Which of a kernel's differences from its seed carry the gain.

    Each tunable is set back alone and fights a duel with the whole kernel. Table, and a bar chart in the run's folder.
    """
    from evo.ablation import ablate as measure
    from evo.ablation import keep, plan
    from evo.cli.runs import find_run
    from evo.reading import open_run
    from evo.run import Run

    folder = find_run(run)
    with open_run(folder) as reader:
        planned = plan(reader, reader.number_of(candidate))
    with Run.open(folder).evaluator() as evaluator:
        done = measure(evaluator, planned, lambda line: typer.echo(line, err=True))
    data, picture = keep(done, folder)
    if json:
        emit_json(asdict(done))
        return
    say(f"candidate {done.candidate} against candidate {done.seed}, its seed")
    say()
    rows = [cells(one) for one in (*done.reversals, done.whole)]
    table(("tunable", "evolved", "back to", "times slower", "95 % interval"), rows, right=("times slower",))
    say()
    facts({"data": str(data), "picture": str(picture)})


def cells(one: Reversal) -> tuple[str, ...]:
    slower = one.outcome if one.factor is None else f"{one.factor:.3f}×"
    interval = "" if one.low is None or one.high is None else f"{one.low:.3f}× to {one.high:.3f}×"
    return one.tunable, str(one.evolved), str(one.plain), slower, interval


def merge_runs(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs that were measured alike: same problem, machine, compiler.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The new run's folder.")],
    json: AsJson = False,
) -> None:
    """Make one run of several, with one archive over all their candidates."""
    from evo.cli.runs import find_run
    from evo.merge import merge

    merged = merge([find_run(run) for run in runs], out)
    if json:
        emit_json(asdict(merged))
        return
    rows = {"run": str(merged.path), "candidates": f"{merged.candidates}, {merged.duplicates} of them in more than one run"}
    rows |= {"archive": f"{merged.cells} cells filled", "best": "none" if merged.best is None else f"candidate {merged.best}"}
    facts(rows | {"next": f"evo show {merged.path}; with a larger budget in its config.yaml, evo resume {merged.path}"})
