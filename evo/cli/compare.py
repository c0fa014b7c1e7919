"""`evo compare`: which strategy is better, on what, and how sure are we."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evo.cli.output import console, emit_json, is_terminal, say
from evo.cli.searching import Overrides, find_config

if TYPE_CHECKING:
    from evo.compare.runner import Advance

__all__ = ["register"]

PERIOD = 5.0
"""Seconds between two plain lines of progress."""


def register(app: typer.Typer) -> None:
    app.command(rich_help_panel="Compare strategies")(compare)


def compare(
    config: Annotated[str, typer.Argument(help="A comparison's file, or the name of a shipped one (compare_recorded).")],
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Its folder; comparisons/NAME by default.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs at once on recorded problems; every core by default.")] = None,
    cut: Annotated[
        bool, typer.Option("--cut", help="Run nothing more; report on measured runs as far as the shortest of them came.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON; progress goes to standard error.")] = False,
) -> None:
    """Compare strategies on problems under equal budgets.

    Writes a report, its pictures, the curves and the tests into one folder. What is interrupted or killed continues with the
    same command; runs that are finished are not run again.
    """
    from evo.compare.comparison import compare as work
    from evo.compare.config import load_comparison

    found = find_config(config)
    loaded = load_comparison(found, overrides or ())
    if jobs is not None:
        loaded = loaded.model_copy(update={"jobs": jobs})
    folder = out if out is not None else Path("comparisons") / loaded.name
    words = ["evo", "compare", config, *(word for override in overrides or () for word in ("--set", override)), "-o", str(folder)]
    command = shlex.join(words)
    try:
        with watching(terminal=is_terminal() and not json) as observe:
            result = work(loaded, folder, observe, command=command, cut=cut)
    except KeyboardInterrupt:
        typer.echo(f"interrupted; finished runs are kept, {command} continues", err=True)
        raise typer.Exit(130) from None
    if json:
        emit_json(figures(result))
        return
    from evo.compare.report import conclusion, standings, versus_leader

    say()
    say(conclusion(result.analysis).replace("**", ""))
    say()
    say(standings(result.analysis))
    say()
    say(versus_leader(result.analysis))
    say()
    say(f"report: {result.report}")


def figures(result: object) -> dict[str, object]:
    from dataclasses import asdict

    from evo.compare.comparison import Comparison

    assert isinstance(result, Comparison)
    analysis = result.analysis
    return {
        "report": str(result.report),
        "curves": str(result.curves),
        "pictures": {name: str(path) for name, path in result.pictures.items()},
        "checkpoints": analysis.checkpoints,
        "strategies": [asdict(standing) for standing in analysis.standings],
        "pairs": [asdict(pair) for pair in analysis.overall],
    }


@contextlib.contextmanager
def watching(*, terminal: bool) -> Iterator[Callable[[Advance], None]]:
    """A bar on a terminal, else a line on standard error every few seconds."""
    from evo.live import duration

    if terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("runs"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=console(), transient=True) as bar:
            row = bar.add_task("", total=None)
            yield lambda advance: bar.update(row, completed=advance.done, total=advance.total, description=advance.running)
        return
    last = -PERIOD

    def observe(advance: Advance) -> None:
        nonlocal last
        if advance.seconds < last + PERIOD and advance.done < advance.total and advance.done > advance.kept:
            return
        last = advance.seconds
        left = "" if advance.seconds_left is None else f", {duration(advance.seconds_left)} left"
        print(f"{advance.done}/{advance.total} runs{left}  {advance.running}".rstrip(), file=sys.stderr)

    yield observe
