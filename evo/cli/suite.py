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
    for number, entry in enumerate(waiting, 1):
        if not json:
            section(f"{entry.name} ({number} of {len(waiting)})")
        went_on = running.search(entry, lambda run: watched(run, json=json))
        if entry.name in running.failures:
            typer.echo(f"{entry.name}: {running.failures[entry.name]}", err=True)
        running.write(command)
        if not went_on:
            typer.echo(f"interrupted; the same command goes on: {' '.join(command)}", err=True)
            raise typer.Exit(INTERRUPTED)
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
