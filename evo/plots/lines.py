"""How several strategies, operators or runs are told apart in one picture: colour, dash and marker, never colour alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evo.plots.style import COLOURS, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase

__all__ = ["Look", "bottom_row", "grid_of", "legend_below", "legend_columns", "looks", "title"]

DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
PLAIN = "#8A8A8A"
"""For what others are to be seen against."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one line is drawn."""

    colour: str
    dash: str | tuple[int, tuple[int, ...]]
    marker: str
    width: float = 1.6


def looks(names: Sequence[str], plain: Sequence[str] = ()) -> dict[str, Look]:
    """A look for each name; those in `plain` are grey and thin, told apart by their dashes."""
    found: dict[str, Look] = {}
    for index, name in enumerate(name for name in names if name not in plain):
        turn = index // len(COLOURS)
        found[name] = Look(COLOURS[index % len(COLOURS)], DASHES[(index + turn) % len(DASHES)], MARKERS[index % len(MARKERS)])
    for index, name in enumerate(name for name in names if name in plain):
        found[name] = Look(PLAIN, DASHES[(index + 1) % len(DASHES)], MARKERS[index % len(MARKERS)], 1.3)
    return found


def grid_of(count: int, most: int = 3) -> tuple[int, int]:
    """(columns, rows) for so many panels."""
    columns = min(count, 2 if count in (2, 4) else most + 1 if count in (7, 8) or count > 9 else most)
    return columns, -(-count // columns)


def bottom_row(grid: Any, count: int) -> list[Axes]:
    """The lowest used panel of every column of a grid of axes."""
    rows, columns = grid.shape
    return [grid[max(row for row in range(rows) if row * columns + column < count)][column] for column in range(min(columns, count))]


def legend_columns(names: Sequence[str], width: float) -> int:
    """How many names fit beside one another under a figure of so many inches."""
    return max(1, min(len(names), int(width * 13.5 / (max(map(len, names), default=0) + 8))))


def legend_below(figure: FigureBase, axes: Axes, columns: int) -> None:
    """One legend for all panels, under them."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=2.6)


def title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=11, fontweight="bold")
