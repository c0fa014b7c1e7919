"""`evo export`: what a run found, as a package to build, install and call."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evo.cli.output import emit_json, facts

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    app.command("export", rich_help_panel="Use")(export)


def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="A run's folder, a unique prefix of its name, or `last`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The package's folder; its name becomes the module's.")],
    name: Annotated[str | None, typer.Option("--name", help="The module's name, when it is not to be the folder's.")] = None,
    specialists: Annotated[
        int, typer.Option("--specialists", min=1, help="At most so many kernels: elites that are fastest on some shape join the winner.")
    ] = 1,
    install: Annotated[bool, typer.Option("--install", help="pip install it into this environment, too.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Export a run's certified kernel as a package.

    C header and sources, build line, a Python package that any pip can build, a dispatcher that uses the kernel for what it
    was verified for and NumPy elsewhere, a torch operator, a test against the reference, and where it all came from. It is
    built and tested before it is handed over.
    """
    from evo.cli.runs import find_run
    from evo.config import load_config
    from evo.export import choice, package
    from evo.reading import open_run
    from evo.rundir import RunDir

    folder = find_run(run)
    with open_run(folder) as reader:
        numbers = choice.contenders(reader, specialists)
        missing = [number for number in numbers[1:] if choice.certified(reader, number) is None]
    if missing:
        from evo.run import Run

        Run.open(folder).certify(missing)
    with open_run(folder) as reader:
        made = package.export(reader, load_config(RunDir(folder).config), choice.specialists(reader, numbers), out, name)
    if install:
        package.install(out)
    if json:
        emit_json(asdict(made))
        return
    alone = specialists > 1 and len(made.kernels) == 1
    nobody = f" (no other elite that passed its certification is over {choice.ADVANTAGE - 1:.0%} faster on a shape)" if alone else ""
    rows = {
        "package": f"{made.folder} (module {made.module}, function {made.name})",
        "kernels": ", ".join(f"candidate {number}" for number in made.kernels) + nobody,
        "certified": "\n".join(
            f"{v:.2f}× over {name} (95 % prediction interval {low:.2f}× to {high:.2f}×)" for name, (v, low, high) in made.certified.items()
        ),
        "used for": made.rule,
        "pointers": "any" if made.alignment == 1 else f"multiples of {made.alignment} bytes; others are copied first",
        "tested": made.tests.strip(),
    }
    rows["installed" if install else "install"] = f"python -m {made.module} times it" if install else f"pip install {made.folder}"
    facts(rows)
