"""How an archive fills: share of its cells that hold a kernel, and its QD-score, against evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evo.plots.history import History
from evo.plots.lines import looks, title
from evo.plots.style import house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from archive.candidate import Cell

__all__ = ["archive_filling"]


def archive_filling(histories: Sequence[History]) -> Figure:
    """Cells filled and quality of one or several runs. Each cell counts by the best that had been measured in it so far.

    Raises:
        ValueError: there is no run to draw.
    """
    if not histories:
        raise ValueError("no run to draw")
    with house_style():
        figure = new_figure(8.2, 3.6)
        left, right = figure.subplots(1, 2)
        shown = looks([history.name for history in histories])
        for history in histories:
            cells, quality = filling(history)
            x = np.arange(1, len(cells) + 1)
            look = shown[history.name]
            for axes, values in ((left, cells), (right, quality)):
                axes.step(x, values, where="post", color=look.colour, linestyle=look.dash, linewidth=look.width, label=history.name)
        possible = max(history.possible_cells for history in histories)
        left.set_title("Cells filled" + (f" (of {possible})" if possible else ""))
        right.set_title("QD-score")
        left.set_ylabel("cells")
        right.set_ylabel("sum of ln(speedup) above 0")
        most = max((len(history.steps) for history in histories), default=1)
        for axes in (left, right):
            axes.set_xlabel("evaluations")
            axes.set_xlim(0, max(1, most))
            axes.set_ylim(bottom=0)
            axes.grid(axis="y")
        if len(histories) > 1:
            handles, labels = left.get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=3, handlelength=2.6)
        title(figure, "Archive over time" if len(histories) > 1 else f"{histories[0].name}: archive over time")
        return figure


def filling(history: History) -> tuple[list[int], list[float]]:
    """(cells filled, QD-score) after each evaluation."""
    best: dict[Cell, float] = {}
    cells, scores, score = [], [], 0.0
    for step in history.steps:
        if step.cell is not None and step.speedup is not None:
            objective = math.log(step.speedup)
            before = best.get(step.cell)
            if before is None or objective > before:
                best[step.cell] = objective
                score += max(0.0, objective) - max(0.0, before or 0.0)
        cells.append(len(best))
        scores.append(score)
    return cells, scores
