"""`evo doctor`, `evo config`, `evo version`: the machine, the schema, the release."""

from __future__ import annotations

from itertools import groupby
from typing import Annotated

import typer

from evo.cli.output import emit_json, is_terminal, say, section, table

__all__ = ["register"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
MARKS = {"ok": "ok", "note": "note", "missing": "MISSING"}


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="The machine")(doctor)
    app.command(rich_help_panel="The machine")(config)
    app.command(rich_help_panel="The machine")(version)


def doctor(
    measure: Annotated[bool, typer.Option("--measure", help="Measure the roofline's ceilings (some seconds on one core).")] = False,
    json: AsJson = False,
) -> None:
    """What this machine offers, what is missing, how to get it.

    Exit code 2 when something that a search needs is missing.
    """
    from evo.doctor import examine

    report = examine(measure=measure)
    if json:
        emit_json(report.facts())
    else:
        for name, checks in groupby(report.checks, key=lambda check: check.section):
            section(name)
            for check in checks:
                show_check(check.state, check.name, check.value, check.remedy)
        say()
        say("This machine can search." if report.able else "This machine cannot search yet: see MISSING above.")
    if not report.able:
        raise typer.Exit(2)


def show_check(state: str, name: str, value: str, remedy: str) -> None:
    """One finding; further lines and the remedy are indented under its value."""
    lines = value.splitlines() or [""]
    head = f"  {MARKS[state]:<8}{name:<14}"
    if is_terminal():
        from rich.text import Text

        from evo.cli.output import console

        colour = {"ok": "green", "note": "yellow", "missing": "bold red"}[state]
        console().print(Text.assemble((f"  {MARKS[state]:<8}", colour), f"{name:<14}", lines[0]), soft_wrap=True)
    else:
        say(head + lines[0])
    for line in lines[1:]:
        say(" " * len(head) + line)
    for line in remedy.splitlines():
        say(" " * len(head) + f"→ {line}")


def config(
    json: AsJson = False, compare: Annotated[bool, typer.Option("--compare", help="The keys of a comparison instead of a run.")] = False
) -> None:
    """Every key of a config, with its default."""
    from evo.config import describe

    if compare:
        from evo.compare.config import CompareConfig

        rows = describe(CompareConfig)
    else:
        rows = describe()
    if json:
        emit_json([{"key": key, "default": default, "description": description} for key, default, description in rows])
        return
    table(("key", "default", "meaning"), rows)


def version() -> None:
    """The installed version."""
    from evo import __version__

    say(__version__)
