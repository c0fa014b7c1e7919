"""`evo suite`: many problems in one go."""

from __future__ import annotations

import json as codec
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evo.cli.output import emit_json, facts, is_terminal, say, section, table

if TYPE_CHECKING:
    from evo.run import Run
    from evo.suites.config import Entry
    from evo.suites.runner import SuiteRun
    from evo.suites.table import Row
    from evo.summary import Summary

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("suite", rich_help_panel="Search")(suite)


def suite(
    config: Annotated[str, typer.Argument(help="A suite's file, or the name of a shipped one (cpu).")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key in every run's config; repeatable.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The suite's folder; runs/suite-NAME by default.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", metavar="NAME", help="Search only this run now; repeatable.")] = None,
    table_only: Annotated[bool, typer.Option("--table", help="Search nothing; write table and picture of what is there.")] = False,
    search_only: Annotated[bool, typer.Option("--search-only", help="Write no table and no picture; `--table` does later.")] = False,
    devices: Annotated[int, typer.Option(min=1, help="GPUs to search on at once, one problem on each.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print the table as JSON; progress goes to standard error.")] = False,
) -> None:
    """Search many problems, one table and one picture out.

    What is finished is kept, what was interrupted or killed is continued: the same command again goes on. Exit code 2 when a
    problem could not be searched or its winner not certified, 130 when it was interrupted.
    """
    from evo.cli.searching import INTERRUPTED
    from evo.errors import UserError
    from evo.rundir import runs_folder
    from evo.suites.config import load_suite
    from evo.suites.runner import SuiteRun

    loaded = load_suite(find_suite(config), overrides or ())
    names = [entry.name for entry in loaded.entries]
    unknown = sorted(set(only or ()) - set(names))
    if unknown:
        raise UserError("The suite has no such run.", file=loaded.file, key="--only", found=", ".join(unknown), expected=", ".join(names))
    running = SuiteRun(loaded, out or runs_folder() / f"suite-{loaded.name}")
    command = ["evo", *sys.argv[1:]]
    waiting = [] if table_only else [entry for entry in running.pending() if not only or entry.name in only]
    if devices > 1 and waiting:
        beside(running, waiting, devices, overrides or [], command)
        waiting = []
    for number, entry in enumerate(waiting, 1):
        if not json:
            section(f"{entry.name} ({number} of {len(waiting)})")
        went_on = running.search(entry, lambda run: watched(run, json=json))
        if entry.name in running.failures:
            typer.echo(f"{entry.name}: {running.failures[entry.name]}", err=True)
        if not search_only:
            running.write(command)
        if not went_on:
            typer.echo(f"interrupted; the same command goes on: {' '.join(command)}", err=True)
            raise typer.Exit(INTERRUPTED)
    if search_only:
        raise typer.Exit(2 if any(not _certified(running, entry) for entry in waiting) else 0)
    rows = running.write(command)
    if json:
        emit_json(codec.loads(running.outputs.json.read_text(encoding="utf-8")))
    else:
        print_rows(rows)
        say()
        files = {"table": str(running.outputs.markdown), "data": f"{running.outputs.csv}, {running.outputs.json}"}
        facts(files | ({"picture": str(running.outputs.picture)} if running.outputs.picture.is_file() else {}))
    asked = [row for row in rows if not only or row.name in only]
    if any(row.state != "certified" for row in asked) and not table_only:
        raise typer.Exit(2)


def _certified(running: SuiteRun, entry: Entry) -> bool:
    from evo.suites.table import read_row

    return read_row(entry.name, running.folder / entry.name).state == "certified"


def beside(running: SuiteRun, waiting: list[Entry], count: int, overrides: list[str], command: list[str]) -> None:
    """Searches what is waiting on several GPUs, a process each, and keeps the table up to date. Raises UserError, typer.Exit."""
    from evo.cli.searching import INTERRUPTED
    from evo.executors import devices_of
    from evo.suites.side_by_side import side_by_side

    chosen = [devices_of(target, count) for target in sorted({entry.config.target.name for entry in waiting})]
    running.folder.mkdir(parents=True, exist_ok=True)
    settings = [word for override in overrides for word in ("--set", override)]

    def search(name: str) -> list[str]:
        own = ["suite", str(running.suite.file), "-o", str(running.folder), "--only", name, "--search-only"]
        return [sys.executable, "-m", "evo", *own, *settings]

    interrupted = False
    for ended in side_by_side([entry.name for entry in waiting], chosen[0], search, running.folder):
        interrupted |= ended.status == INTERRUPTED
        if ended.status not in (0, INTERRUPTED):
            running.failures[ended.name] = f"exit status {ended.status}, see {ended.log}"
        row = next(row for row in running.write(command) if row.name == ended.name)
        typer.echo(f"{ended.name}: {row.state}" + ("" if row.speedup is None else f", {row.speedup.value:.2f}×") + f" ({ended.log})")
    if interrupted:
        typer.echo(f"interrupted; the same command goes on: {' '.join(command)}", err=True)
        raise typer.Exit(INTERRUPTED)


def watched(run: Run, *, json: bool) -> Summary:
    """One search under the usual view."""
    from evo.live import watching

    with watching(terminal=is_terminal() and not json, stream=sys.stderr if json else sys.stdout) as observe:
        return run.search(observe)


def print_rows(rows: list[Row]) -> None:
    from evo.suites.table import cells, columns

    section("suite")
    shown = columns(rows)
    table(shown, [cells(row, shown) for row in rows], right=[name for name in shown if name not in ("problem", "over")])


def find_suite(reference: str) -> Path:
    """A suite's file: a path, else a name in `experiments/suites/` here or in the installation. Raises UserError."""
    from evo.errors import UserError

    path = Path(reference).expanduser()
    if path.is_file():
        return path
    homes = (Path("experiments/suites"), Path(__file__).resolve().parents[2] / "experiments" / "suites")
    for home in homes:
        for name in (path.name, f"{reference}.yaml"):
            if (home / name).is_file():
                return home / name
    known = sorted({file.stem for home in homes for file in home.glob("*.yaml")})
    raise UserError(
        "There is no such suite.", file=path, found="no file of this name", expected=f"a YAML file, or one of {', '.join(known)}"
    )
