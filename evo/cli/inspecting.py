"""`evo ls`, `status`, `best`, `show`, `plot`: looking at runs without touching them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evo.cli.output import emit_json, facts, say, source, table

if TYPE_CHECKING:
    from evo.facts import Best, Estimated, RunFacts

__all__ = ["register"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AnyRun = Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, a unique prefix of its name, or `last`.")]


def register(app: typer.Typer) -> None:
    app.command("ls", rich_help_panel="Look")(list_runs)
    app.command(rich_help_panel="Look")(status)
    app.command(rich_help_panel="Look")(best)
    app.command(rich_help_panel="Look")(show)
    app.command(rich_help_panel="Look")(plot)


def list_runs(
    folder: Annotated[Path | None, typer.Argument(metavar="DIR", help="Where to look; $EVO_RUNS or runs/ by default.")] = None,
    json: AsJson = False,
) -> None:
    """Runs in a folder, oldest first."""
    from evo.cli.runs import all_runs
    from evo.errors import UserError
    from evo.rundir import runs_folder

    if folder is not None and not folder.is_dir():
        raise UserError("There is no such folder.", file=folder, expected="a folder of runs", remedy="evo ls without DIR looks in runs/.")
    found, broken = read_all(all_runs(folder))
    for name, reason in broken.items():
        typer.echo(f"{name} cannot be read: {reason}", err=True)
    if json:
        emit_json([run_facts(run) for run in found])
        return
    if not found:
        say(f"No runs in {folder or runs_folder()}/. Start one: evo run softmax")
        return
    rows = [
        (
            *(run.name, Path(run.problem).name, run.target, state(run), str(run.evaluations)),
            *(speedup(run.best), certified(run.best), str(run.cells)),
        )
        for run in found
    ]
    columns = ("run", "problem", "target", "state", "evaluations", "best", "certified", "cells")
    table(columns, rows, right=("evaluations", "best", "certified", "cells"))


def read_all(folders: list[Path]) -> tuple[list[RunFacts], dict[str, str]]:
    """Facts of every run that can be read, and why the others cannot."""
    from evo.errors import as_user_error
    from evo.reading import open_run

    found: list[RunFacts] = []
    broken: dict[str, str] = {}
    for folder in folders:
        try:
            with open_run(folder) as reader:
                found.append(reader.facts())
        except Exception as error:
            known = as_user_error(error)
            if known is None:
                raise
            broken[folder.name] = f"{known.what} {known.found or ''}".strip()
    return found, broken


def state(run: RunFacts) -> str:
    """`running`, `killed`, `interrupted`, …, or `done` with the reason for which the run came to its own end."""
    from evo.budget import StopReason

    return f"done ({run.state})" if any(run.state == reason.value and reason.final for reason in StopReason) else run.state


def speedup(best: Best | None) -> str:
    return "" if best is None else f"{best.speedup:.2f}×"


def certified(best: Best | None) -> str:
    return "" if best is None or best.certified is None else f"{best.certified.value:.2f}×"


def run_facts(run: RunFacts) -> dict[str, object]:
    """JSON-able; the best's source is left to `evo best`."""
    from dataclasses import asdict

    plain = asdict(run) | {"evaluations": run.evaluations}
    if run.best is not None:
        plain["best"].pop("source")
    return plain


def status(run: AnyRun, json: AsJson = False) -> None:
    """How far a run is, what failed, what the best is."""
    from evo.cli.runs import find_run
    from evo.live import by_count, duration
    from evo.reading import open_run

    with open_run(find_run(run)) as reader:
        known = reader.facts()
    if json:
        emit_json(run_facts(known))
        return
    failed = {outcome: count for outcome, count in known.outcomes.items() if outcome != "ok"}
    rows = {
        "run": known.name,
        "problem": f"{known.problem} on {known.target}, {known.strategy}",
        "state": state(known) + (f", {known.in_flight} in flight" if known.in_flight else ""),
        "begun": known.created,
        "took": f"{duration(known.seconds)}, certification included",
        "evaluated": f"{known.evaluations} evaluations ({known.remeasured} re-measured elites), {known.proposals} proposals",
        "failures": ", ".join(f"{outcome} {count}" for outcome, count in by_count(failed)) or "none",
        "archive": f"{known.cells} cells filled",
        "best": "none yet",
    }
    if known.best is not None:
        rows["best"] = f"{known.best.speedup:.2f}× in the search, candidate {known.best.candidate} ({known.best.operator})"
        if known.best.certified is not None:
            rows["certified"] = f"{interval(known.best.certified)} over {known.best.certified_against}"
    if known.state in ("killed", "interrupted", "infrastructure", "models"):
        rows["resume"] = f"evo resume {shlex.quote(str(known.path))}"
    facts(rows)


def interval(value: Estimated) -> str:
    return f"{value.value:.2f}× (95 %: {value.low:.2f}× to {value.high:.2f}×)"


def best(
    run: AnyRun,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the source to FILE instead of printing it.")] = None,
    json: AsJson = False,
) -> None:
    """The source of a run's best kernel."""
    from dataclasses import asdict

    from evo.cli.runs import find_run
    from evo.errors import UserError
    from evo.reading import open_run

    folder = find_run(run)
    with open_run(folder) as reader:
        found = reader.best()
        kernel = None if found is None else reader.candidate(found.candidate).kernel
    if found is None:
        raise UserError(
            "This run has no best kernel yet.", file=folder, found="no evaluation that ended ok", remedy="evo status shows what failed."
        )
    if out is not None:
        try:
            out.write_text(found.source, encoding="utf-8")
        except OSError as error:
            raise UserError(
                "The source cannot be written.",
                file=out,
                found=error.strerror,
                expected="a file in a folder that exists",
                remedy="Choose another -o.",
            ) from error
        typer.echo(f"{out}: candidate {found.candidate}, {found.speedup:.2f}× in the search", err=True)
    if json:
        emit_json(asdict(found))
    elif out is None:
        source(found.source, "" if kernel is None else kernel.language)


def show(
    run: AnyRun,
    candidate: Annotated[str, typer.Argument(metavar="[ID]", help="A candidate's number, `best`, or a kernel's id.")] = "best",
    json: AsJson = False,
) -> None:
    """Everything about one candidate.

    What was measured, what went wrong, what changed since its parent, who it came from, its source.
    """
    from evo.certificates import load_certificate
    from evo.cli.runs import find_run
    from evo.cli.showing import candidate_json, print_candidate
    from evo.reading import open_run

    with open_run(find_run(run)) as reader:
        number = reader.number_of(candidate)
        known = reader.candidate(number)
        parents = [reader.candidate(parent) for parent in known.proposal.parents]
        ancestors = reader.lineage.ancestry(number)
        axes = reader.axes()
        certificate = None if known.kernel is None else load_certificate(reader.lineage, known.kernel.id)
    if json:
        emit_json(candidate_json(known, parents, ancestors, certificate))
    else:
        print_candidate(known, parents, ancestors, axes, certificate)


def plot(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="One run (convergence and archive), or several to compare.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture: .png, .svg or .pdf.")],
    kind: Annotated[
        str, typer.Option("--kind", "-k", help="summary, convergence, archive, filling, lineage, credit, roofline or stages.")
    ] = "summary",
) -> None:
    """Draw a run, or compare several."""
    from evo.cli.runs import find_run
    from evo.errors import UserError
    from evo.plots import FORMATS, KINDS, draw, save

    if out.suffix not in FORMATS:
        endings = " or ".join(FORMATS)
        raise UserError("This is not a picture's name.", file=out, found=repr(out.suffix), expected=endings, remedy="Rename it.")
    if kind not in KINDS:
        raise UserError("There is no such kind of picture.", key="--kind", found=kind, expected=", ".join(KINDS))
    say(str(save(draw([find_run(run) for run in runs], kind), out)))


