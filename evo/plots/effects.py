"""A table as a picture: strategies by problems, coloured by how good each is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evo.plots.lines import title
from evo.plots.style import INK, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["effects"]


def effects(rows: Sequence[str], columns: Sequence[str], values: NDArray[np.float64], *, heading: str) -> Figure:
    """(rows, columns) values, each written out; colour says how far it is below the best of its column, the best is framed."""
    from matplotlib.patches import Rectangle

    with house_style():
        figure = new_figure(max(5.0, 1.9 + 0.95 * len(columns)), 1.3 + 0.3 * len(rows))
        axes = figure.subplots()
        behind = values.max(axis=0) - values
        worst = max(0.02, float(behind.max()))
        axes.imshow(-behind, cmap="cividis", vmin=-worst, vmax=0, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            ink = INK if behind[row, column] < 0.45 * worst else "white"
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=8, color=ink)
            if behind[row, column] == 0:
                for colour, width in (("white", 4.0), (INK, 1.6)):
                    frame = Rectangle(
                        (column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=colour, linewidth=width, clip_on=False, zorder=3
                    )
                    axes.add_patch(frame)
        axes.set_xticks(range(len(columns)), columns, rotation=25, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(rows)), rows)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for edge in np.arange(0.5, len(columns) - 1):
            axes.axvline(edge, color="white", linewidth=1.0)
        for edge in np.arange(0.5, len(rows) - 1):
            axes.axhline(edge, color="white", linewidth=1.0)
        title(figure, heading)
        return figure
