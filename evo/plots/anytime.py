"""Anytime curves: how good what was found is, against what was spent, each with its band."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evo.plots.lines import Look, bottom_row, grid_of, legend_below, legend_columns, looks, title
from evo.plots.style import house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Band", "Panel", "anytime"]

MOST_BANDS = 6
"""With more lines than this in a panel, only the first two and the first plain one keep their bands."""


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """One strategy. Arrays are (points,)."""

    name: str
    x: NDArray[np.float64]
    middle: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    bands: tuple[Band, ...]
    """Most interesting first; the same names in every panel."""


def anytime(panels: Sequence[Panel], *, heading: str, x_label: str, y_label: str, plain: Sequence[str] = ()) -> Figure:
    """One panel per problem, each on a y axis of its own: where one problem is easy, its curves would else lie on top of each other.

    Args:
        plain: names drawn in grey, to be seen against.

    Raises:
        ValueError: there is nothing to draw.
    """
    if not panels or not all(panel.bands for panel in panels):
        raise ValueError("no curves to draw")
    with house_style():
        columns, rows = grid_of(len(panels))
        names = [band.name for band in panels[0].bands]
        width = max(6.2, 3.1 * columns)
        across = legend_columns(names, width)
        legend = 0.22 * -(-len(names) // across)
        figure = new_figure(width, 2.5 * rows + 0.5 + legend if columns > 1 else 4.0 + legend)
        grid = figure.subplots(rows, columns, squeeze=False)
        shown = looks(names, plain)
        for axes, panel in zip(grid.flat, panels, strict=False):
            draw_panel(axes, panel, shown, plain)
            bottom = lower_limit(panel)
            axes.set_ylim(bottom, 1.0 + 0.03 * (1.0 - bottom))
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        title(figure, heading)
        for axes in bottom_row(grid, len(panels)):
            axes.set_xlabel(x_label)
        figure.supylabel(y_label, fontsize=9)
        legend_below(figure, grid.flat[0], across)
        return figure


def draw_panel(axes: Axes, panel: Panel, shown: dict[str, Look], plain: Sequence[str]) -> None:
    axes.set_title(panel.title, fontsize=9)
    axes.grid(axis="y")
    banded = {band.name for index, band in enumerate(panel.bands) if len(panel.bands) <= MOST_BANDS or index < 2}
    banded |= {name for name in plain[:1]}
    alpha = 0.16 if len(banded) <= 3 else 0.09
    end = max(float(band.x[-1]) for band in panel.bands if band.x.size)
    for order, band in enumerate(panel.bands):
        look = shown[band.name]
        if band.name in banded:
            axes.fill_between(band.x, band.low, band.high, color=look.colour, alpha=alpha, linewidth=0, step="post", zorder=1)
            for edge in (band.low, band.high) if len(banded) > 3 else ():  # so that bands on top of each other can be told apart
                axes.step(band.x, edge, where="post", color=look.colour, linestyle=look.dash, linewidth=0.5, alpha=0.6, zorder=1.5)
        axes.step(
            band.x, band.middle, where="post", color=look.colour, linestyle=look.dash, linewidth=look.width, label=band.name,
            zorder=3 - order / len(panel.bands), solid_capstyle="butt",
        )  # fmt: skip
    axes.set_xlim(0, end)


def lower_limit(panel: Panel) -> float:
    """Where the y axis begins: the first tenth of the budget, when every curve is still low, need not be shown in full."""
    starts = []
    for band in panel.bands:
        after = band.middle[band.x >= 0.04 * band.x[-1]]
        known = after[~np.isnan(after)]
        if known.size:
            starts.append(float(known[0]))
    low = min(starts, default=0.0)
    step = 0.1 if low < 0.9 else 0.02
    return max(0.0, float(np.floor((low - step / 2) / step) * step))
