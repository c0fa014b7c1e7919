"""How the command line speaks: tables for people, aligned plain lines for pipes, JSON for programs.

Standard output carries what was asked for, standard error everything else. Rich is used only on a terminal, and honours
NO_COLOR; without a terminal there are neither colours nor boxes nor truncated cells.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from evo.errors import UserError

__all__ = ["console", "emit_json", "error_block", "facts", "is_terminal", "say", "say_error", "section", "source", "table"]


def is_terminal() -> bool:
    """Whether standard output is a terminal that can draw."""
    import os

    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def console(*, stderr: bool = False) -> Console:
    """A Rich console on the standard output (or error) as it is now."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def say(text: str = "") -> None:
    """A line on standard output, exactly as it is."""
    print(text)


def emit_json(value: object) -> None:
    """`value` as indented JSON on standard output; NaN and infinities, which JSON lacks, become null."""
    print(json.dumps(_jsonable(value), indent=2, ensure_ascii=False, default=str))


def _jsonable(value: object) -> object:
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_jsonable(item) for item in value]
    return value


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """A table; the columns named in `right` are flush right. Plain lines have a header, two spaces between columns, no frame."""
    if is_terminal():
        from rich.table import Table
        from rich.text import Text

        drawn = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
        for column in columns:
            drawn.add_column(column, justify="right" if column in right else "left", overflow="fold")
        for row in rows:
            drawn.add_row(*(Text(cell) for cell in row))
        console().print(drawn)
        return
    widths = [max(len(column), *(len(row[index]) for row in rows), 0) if rows else len(column) for index, column in enumerate(columns)]
    for line in [columns, *rows]:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width) for cell, width, column in zip(line, widths, columns, strict=True)
        )
        print("  ".join(cells).rstrip())


def facts(pairs: Mapping[str, str]) -> None:
    """`name: value` lines, values aligned; a value of several lines is indented under its name."""
    width = max((len(name) for name in pairs), default=0) + 1
    for name, value in pairs.items():
        lines = value.splitlines() or [""]
        print(f"{name + ':':<{width}} {lines[0]}".rstrip())
        for line in lines[1:]:
            print(f"{'':<{width}} {line}".rstrip())


def section(title: str) -> None:
    """A heading with a blank line before it."""
    print()
    if is_terminal():
        from rich.text import Text

        console().print(Text(title, style="bold"))
    else:
        print(f"── {title} ──")


def source(text: str, language: str) -> None:
    """A kernel's source, coloured on a terminal."""
    if not is_terminal():
        print(text, end="" if text.endswith("\n") else "\n")
        return
    from rich.syntax import Syntax

    lexer = {"cpp": "cpp", "cuda": "cuda", "hip": "cpp", "diff": "diff"}.get(language, "python")
    console().print(Syntax(text, lexer, background_color="default", word_wrap=False))


def error_block(error: UserError) -> str:
    """`error: what` and its facts, one per line."""
    return f"error: {error}"


def say_error(text: str) -> None:
    """A block on standard error; its first word red on a terminal."""
    if sys.stderr.isatty():
        from rich.text import Text

        block = Text(text)
        block.highlight_regex(r"\Aerror:", "bold red")
        block.highlight_regex(r"(?m)^  (file|key|found|expected|remedy):", "bold")
        console(stderr=True).print(block, soft_wrap=True)
    else:
        print(text, file=sys.stderr)
