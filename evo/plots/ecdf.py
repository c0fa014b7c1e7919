"""ECDF of evaluations to target: which share of runs had come so close to the optimum after so many evaluations.

N. Hansen, A. Auger, R. Ros, O. Mersmann, T. Tušar & D. Brockhoff, "COCO: a platform for comparing continuous optimizers in a
black-box setting", Optimization Methods and Software 36(1), 2021.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evo.plots.lines import bottom_row, grid_of, legend_below, legend_columns, looks, title
from evo.plots.style import house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["ecdf"]


def ecdf(
    panels: Sequence[tuple[str, Mapping[str, NDArray[np.float64]]]], *, heading: str, budget: float, plain: Sequence[str] = ()
) -> Figure:
    """One panel per target.

    Args:
        panels: (title, name → evaluations that each run needed; infinite where it never got there).
        budget: evaluations of a run.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not panels:
        raise ValueError("no targets to draw")
    with house_style():
        columns, rows = grid_of(len(panels))
        names = list(panels[0][1])
        width = max(5.0, 3.1 * columns)
        across = legend_columns(names, width)
        figure = new_figure(width, 2.8 * rows + 0.4 + 0.22 * -(-len(names) // across))
        grid = figure.subplots(rows, columns, squeeze=False, sharey=True)
        shown = looks(names, plain)
        for axes, (name, needed) in zip(grid.flat, panels, strict=False):
            axes.set_title(name, fontsize=9)
            axes.grid(axis="both")
            for strategy in names:
                look = shown[strategy]
                finite = np.sort(needed[strategy][np.isfinite(needed[strategy])])
                x = np.concatenate([[1.0], finite, [budget]])
                y = np.concatenate([[0.0], np.arange(1, len(finite) + 1), [len(finite)]]) / max(1, len(needed[strategy]))
                axes.step(x, y, where="post", color=look.colour, linestyle=look.dash, linewidth=look.width, label=strategy)
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.set_xlim(1, budget)
            axes.set_ylim(0, 1.02)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        title(figure, heading)
        for axes in bottom_row(grid, len(panels)):
            axes.set_xlabel("evaluations")
        figure.supylabel("share of runs", fontsize=9)
        legend_below(figure, grid.flat[0], across)
        return figure
