"""`evo problems`, `evo lint`: what can be searched, and whether a problem's own checks would catch a cheat."""

from __future__ import annotations

from typing import Annotated

import typer

from evo.cli.output import emit_json, say, table

__all__ = ["register"]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def register(app: typer.Typer) -> None:
    app.command("problems", rich_help_panel="Problems")(list_problems)
    app.command(rich_help_panel="Problems")(lint)


def list_problems(json: AsJson = False) -> None:
    """Problems known by name."""
    from fitness.problem import SEEDS, Problem, shape_label

    found = [Problem.load(name) for name in Problem.names()]
    records = [
        {
            "name": problem.name,
            "what": problem.specification.strip().splitlines()[0] if problem.specification.strip() else "",
            "shapes": [shape_label(sizes) for sizes in problem.shapes],
            "targets": [target for target, (_, file) in SEEDS.items() if (problem.folder / file).is_file()],
            "folder": str(problem.folder),
        }
        for problem in found
    ]
    if json:
        emit_json(records)
        return
    rows = [
        (str(record["name"]), " ".join(record["targets"]), " ".join(record["shapes"]), str(record["what"])) for record in records
    ]
    table(("problem", "targets", "shapes", "what"), rows)


def lint(
    problem: Annotated[str, typer.Argument(help="A problem's name, or the path of its folder.")],
    json: AsJson = False,
) -> None:
    """Whether a problem's checks catch every known cheat.

    They must also pass its baseline and its plain seed. Exit code 2 when the problem is refused.
    """
    from fitness.lint import lint as examine
    from fitness.problem import Problem

    report = examine(Problem.load(problem))
    if json:
        rows = [{"name": row.name, "must": row.must, "ok": row.ok, "where": row.where} for row in report.rows]
        emit_json({"problem": report.problem, "ok": report.ok, "reasons": report.reasons, "checks": rows})
    else:
        say(report.table())
        for reason in report.reasons:
            typer.echo(reason, err=True)
    if not report.ok:
        raise typer.Exit(2)
