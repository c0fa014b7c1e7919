"""The lineage tree of a winner: who it comes from, what each edit changed, and what each edit gained.

Time runs downwards, one row per ancestor, as a version-control log draws branches: the line of first parents at the left,
whoever else contributed beside it. The right side shows each kernel's speedup.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from evo.plots.history import Ancestor, History
from evo.plots.lines import title
from evo.plots.style import COLOURS, INK, house_style, new_figure, round_ticks, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["gain", "lanes", "lineage_tree", "main_line"]

MOST = 36
"""Rows; of a longer ancestry the line of first parents is shown, and of that the newest."""
ROW = 0.3
WRITTEN = 74
"""Characters of an edit's description before it is cut."""


def lineage_tree(history: History) -> Figure:
    """The winner's ancestry.

    Raises:
        ValueError: the run has no winner yet.
    """
    if not history.ancestry or history.winner is None:
        raise ValueError("this run has no winner yet whose lineage could be drawn")
    everyone = {ancestor.number: ancestor for ancestor in history.ancestry}
    line = main_line(everyone, history.winner)
    shown = list(history.ancestry) if len(history.ancestry) <= MOST else [everyone[number] for number in line[-MOST:]]
    hidden = len(history.ancestry) - len(shown)
    rows = {ancestor.number: row for row, ancestor in enumerate(shown)}
    lane = lanes(shown, line)
    with house_style():
        widest = max(lane.values(), default=0)
        figure = new_figure(10.2, 1.25 + ROW * len(shown))
        left, right = figure.subplots(1, 2, width_ratios=[7.0 + 0.3 * widest, 3.0])
        draw_graph(left, shown, rows, lane, everyone, history.winner)
        draw_speedups(right, shown, rows, history)
        for axes in (left, right):
            axes.set_ylim(len(shown) - 0.4, -0.6)
        best = everyone[history.winner].speedup
        text = f"{history.name}: lineage of candidate {history.winner}" + (
            "" if best is None else f", {times(best)} over {history.baseline}"
        )
        if hidden:
            text += f" ({hidden} further ancestors not shown)"
        title(figure, text)
        return figure


def main_line(everyone: Mapping[int, Ancestor], winner: int) -> list[int]:
    """The winner's first parents, oldest first, the winner last."""
    line = [winner]
    while (parents := everyone[line[-1]].parents) and parents[0] in everyone and parents[0] < line[-1]:
        line.append(parents[0])
    return line[::-1]


def lanes(shown: Sequence[Ancestor], line: Sequence[int]) -> dict[int, int]:
    """A lane for each: 0 for the line of first parents, else the first that is free until the last child."""
    rows = {ancestor.number: row for row, ancestor in enumerate(shown)}
    last = dict.fromkeys(rows, 0)
    for ancestor in shown:
        for parent in ancestor.parents:
            if parent in last:
                last[parent] = max(last[parent], rows[ancestor.number])
    found: dict[int, int] = {}
    busy_until: list[int] = []
    members = set(line)
    for ancestor in shown:
        number = ancestor.number
        if number in members:
            found[number] = 0
            continue
        free = next((index for index, until in enumerate(busy_until) if until <= rows[number]), len(busy_until))
        if free == len(busy_until):
            busy_until.append(0)
        busy_until[free] = last[number]
        found[number] = free + 1
    return found


def gain(ancestor: Ancestor, everyone: Mapping[int, Ancestor]) -> float | None:
    """Speedup over the first parent's; None where one of them has none."""
    first = everyone.get(ancestor.parents[0]) if ancestor.parents else None
    if first is None or first.speedup is None or ancestor.speedup is None:
        return None
    return ancestor.speedup / first.speedup


def draw_graph(
    axes: Axes, shown: Sequence[Ancestor], rows: Mapping[int, int], lane: Mapping[int, int], everyone: Mapping[int, Ancestor], winner: int
) -> None:
    axes.set_axis_off()
    for ancestor in shown:
        x, y = lane[ancestor.number], rows[ancestor.number]
        for position, parent in enumerate(ancestor.parents):
            if parent not in rows:
                continue
            px, py = lane[parent], rows[parent]
            bend = y - 0.5 if px != x else y
            colour, dash, width = (COLOURS[0], "-", 1.6) if position == 0 else ("#777777", (0, (4, 2)), 1.2)
            axes.plot([px, px, x], [py, bend, y], color=colour, linestyle=dash, linewidth=width, zorder=1, solid_capstyle="round")
    text_at = max(lane.values(), default=0) + 0.7
    for ancestor in shown:
        x, y = lane[ancestor.number], rows[ancestor.number]
        is_winner = ancestor.number == winner
        fill = COLOURS[1] if is_winner else "white" if ancestor.operator == "seed" else COLOURS[0]
        size, marker = (70, "D") if is_winner else (34, "o")
        axes.scatter([x], [y], s=size, color=fill, edgecolor=INK, linewidths=0.9, zorder=2, marker=marker)
        made = gain(ancestor, everyone)
        gained = "" if made is None else f"{100 * (made - 1):+.0f} %"
        axes.text(text_at, y, f"{ancestor.number}", va="center", ha="left", fontsize=8, color=INK)
        axes.text(text_at + 1.0, y, ancestor.operator, va="center", ha="left", fontsize=8, color=INK)
        axes.text(
            text_at + 6.0, y, gained, va="center", ha="right", fontsize=8, fontweight="bold",
            color=COLOURS[2] if made is not None and made > 1 else "#666666",
        )  # fmt: skip
        changes = textwrap.shorten(", ".join(ancestor.changes), WRITTEN, placeholder=" …")
        axes.text(text_at + 6.3, y, changes, va="center", ha="left", fontsize=7.5, color="#444444")
    axes.set_xlim(-0.5, text_at + 18.5)


def draw_speedups(axes: Axes, shown: Sequence[Ancestor], rows: Mapping[int, int], history: History) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    known = [(ancestor.speedup, rows[ancestor.number], ancestor.number) for ancestor in shown if ancestor.speedup is not None]
    speeds = [speedup for speedup, _, _ in known] or [1.0]
    low, high = min(speeds) / 1.25, max(speeds) * 1.35
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    for speedup, row, number in known:
        colour = COLOURS[1] if number == history.winner else COLOURS[0]
        axes.barh(row, speedup - low, left=low, height=0.55, color=colour, alpha=0.85)
        axes.text(speedup, row, f" {times(speedup)}", va="center", fontsize=8, color=INK)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    ticks = list(round_ticks(low, high))
    axes.xaxis.set_major_locator(FixedLocator(ticks[:: math.ceil(len(ticks) / 5)]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.set_xlabel(f"speedup over {history.baseline}")
    axes.grid(axis="x")
