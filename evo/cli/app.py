"""The command tree."""

from __future__ import annotations

import typer

from evo.cli import compare, creating, exporting, inspecting, llm, machine, problems, profiling, record, searching, studying, suite
from evo.cli.output import is_terminal

__all__ = ["build"]


def build() -> typer.Typer:
    """A fresh Typer application with every verb; plain usage texts without a terminal."""
    app = typer.Typer(
        name="evo",
        help="Evolutionary search for fast kernels.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich" if is_terminal() else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for group in (searching, suite, studying, profiling, inspecting, llm, compare, record, problems, creating, exporting, machine):
        group.register(app)
    return app
