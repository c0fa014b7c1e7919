"""`evo new`: a problem folder from a user's function."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from evo.cli.output import emit_json, facts

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("new", rich_help_panel="Problems")(new)


def new(
    name: Annotated[str, typer.Argument(help="The problem's name, and its folder's.")],
    source: Annotated[Path, typer.Option("--from", metavar="FILE", help="A Python file with the NumPy or torch function.")],
    function: Annotated[str | None, typer.Option("--function", help="Which function, where the file has several.")] = None,
    shape: Annotated[
        list[str] | None, typer.Option("--shape", metavar="ARG=DIM,DIM", help="An argument's dimensions, e.g. x=rows,cols; repeatable.")
    ] = None,
    dtype: Annotated[list[str] | None, typer.Option("--dtype", metavar="ARG=TYPE", help="An argument's dtype; float32 else.")] = None,
    measure: Annotated[
        list[str] | None,
        typer.Option("--measure", metavar="SIZE=N,SIZE=N", help="A shape to measure on, e.g. rows=4096,cols=512; repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The folder; ./NAME by default.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make a problem of a NumPy or torch function.

    The function becomes reference and baseline; shapes and roles are guessed by calling it; a plain C++ kernel is derived
    where it consists of elementwise operations and reductions over one axis, else there is a skeleton to fill in. The
    problem is linted at once. Exit code 2 when it is refused.
    """
    from evo.cli.problems import check_problem
    from evo.errors import UserError
    from evo.scaffold.folder import scaffold

    if not name.isidentifier():
        raise UserError("This is not a problem's name.", key="NAME", found=name, expected="letters, digits and underscores")
    dims = {key: [one.strip() for one in value.split(",") if one.strip()] for key, value in pairs("--shape", shape or ()).items()}
    made = scaffold(
        name,
        source,
        out or Path(name),
        function=function,
        shapes=dims,
        dtypes=pairs("--dtype", dtype or ()),
        measure=extents(measure or ()),
    )
    report, seeds, reasons = check_problem(str(made.folder), seed=made.derived)
    inputs = {p.name: f"{p.dtype}[{', '.join(p.dims)}], {p.role}" for p in made.guess.inputs}
    outputs = {r.name: f"{r.dtype}[{', '.join(r.dims)}]" for r in made.guess.outputs}
    if json:
        emit_json({
            "folder": made.folder, "config": made.config, "inputs": inputs, "outputs": outputs,
            "seed": "derived" if made.derived else "skeleton",
            "why": made.why, "notes": made.notes, "ok": not reasons, "reasons": reasons,
        })  # fmt: skip
    else:
        rows = {"folder": str(made.folder)} | inputs | outputs
        rows["seed"] = "; ".join(seed.message for seed in seeds) if made.derived else f"a SKELETON to fill in: {made.why}"
        rows["lint"] = f"{len(report.rows)} checks passed" if not reasons else "REFUSED\n" + "\n".join(reasons)
        if made.notes:
            rows["check"] = "\n".join(made.notes)
        if made.derived and not reasons:
            rows["next"] = f"evo run {made.config}"
        else:
            rows["next"] = f"edit {made.folder / ('problem.py' if reasons else 'seed.cpp')}, then evo lint {made.folder}"
        facts(rows)
    if reasons:
        raise typer.Exit(2)


def pairs(option: str, assignments: Sequence[str]) -> dict[str, str]:
    """`a=b` texts as a mapping. Raises UserError."""
    from evo.errors import UserError

    found = dict(one.partition("=")[::2] for one in assignments)
    if not all(found.values()):
        raise UserError("An option is not an assignment.", key=option, found=", ".join(assignments), expected="ARG=VALUE")
    return found


def extents(shapes: Sequence[str]) -> list[dict[str, int]]:
    """`rows=4096,cols=512` texts as sizes. Raises UserError."""
    from evo.errors import UserError

    found = []
    for shape in shapes:
        sizes = pairs("--measure", shape.split(","))
        if not all(extent.strip().isdecimal() and int(extent) for extent in sizes.values()):
            raise UserError("A shape has to have whole extents.", key="--measure", found=shape, expected="e.g. rows=4096,cols=512")
        found.append({name.strip(): int(extent) for name, extent in sizes.items()})
    return found
