"""The archive as a map: one square per cell, coloured by its elite's speedup, empty cells hatched.

Two descriptors make one map. One makes a single row. With three the last-but-largest ones span the map and the smallest
is dealt out over facets; with more, every square shows the best over the descriptors that are named in the title.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from evo.plots.record import AxisLabels, RunRecord
from evo.plots.style import COLOURS, INK, house_style, new_figure, round_ticks, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure, FigureBase
    from numpy.typing import NDArray

    from archive.candidate import Cell

__all__ = ["Layout", "archive_heatmap", "draw_heatmap", "layout"]

MOST_FACETS = 8
COLOUR_MAP = "cividis"
OTHER = "other"
"""How descriptors name the bin for values outside their range."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which descriptor goes where, by its index in the record's axes."""

    x: int
    y: int | None
    facet: int | None
    projected: tuple[int, ...]
    """Descriptors not shown: a square is the best over all their bins."""


def layout(axes: tuple[AxisLabels, ...]) -> Layout:
    """The two descriptors with most bins span the map, the longer one along x; the next may be dealt out over facets."""
    order = sorted(range(len(axes)), key=lambda index: (-len(axes[index].labels), index))
    if len(order) == 1:
        return Layout(order[0], None, None, ())
    x, y, *rest = order
    if rest and 1 < len(axes[rest[0]].labels) <= MOST_FACETS:
        return Layout(x, y, rest[0], tuple(sorted(rest[1:])))
    return Layout(x, y, None, tuple(sorted(rest)))


def archive_heatmap(record: RunRecord) -> Figure:
    """The archive of one run.

    Raises:
        ValueError: when the archive has no descriptors.
    """
    if not record.axes:
        raise ValueError("this run's archive has no descriptors to draw")
    with house_style():
        columns, rows = facet_grid(record)
        figure = new_figure(max(5.2, 3.0 * columns), 2.2 if len(record.axes) == 1 else max(4.0, 2.6 * rows))
        draw_heatmap(figure, record)
        return figure


def facet_grid(record: RunRecord) -> tuple[int, int]:
    """(columns, rows) of facets."""
    axes = without_unused_bins(record).axes
    facet = layout(axes).facet
    count = 1 if facet is None else len(axes[facet].labels)
    columns = min(count, 2 if count in (2, 4) else 3 if count <= 6 else 4)
    return columns, math.ceil(count / columns)


def draw_heatmap(figure: FigureBase, record: RunRecord) -> None:
    """Draws into a figure or sub-figure: the facets and one colour bar for all of them."""
    whole = record
    record = without_unused_bins(record)
    plan = layout(record.axes)
    scale = colour_scale(record)
    columns, rows = facet_grid(record)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    facets: list[int | None] = [None] if plan.facet is None else list(range(len(record.axes[plan.facet].labels)))
    for place, facet in enumerate(facets):
        axes = grid[place // columns][place % columns]
        draw_map(axes, record, plan, facet, scale, roomy=columns == 1)
        axes.label_outer()
    for axes in grid.flat[len(facets) :]:
        axes.set_visible(False)
    draw_colour_bar(figure, list(grid.flat), record, scale)
    figure.suptitle(heading(whole, plan), x=0.01, ha="left", fontsize=10, fontweight="bold")
    figure.supxlabel(record.axes[plan.x].name, fontsize=9)
    if plan.y is not None:
        figure.supylabel(record.axes[plan.y].name, fontsize=9)


def without_unused_bins(record: RunRecord) -> RunRecord:
    """Without the catch-all bins that nothing fell into: they would be empty rows and columns of every picture."""
    used = [{cell[index] for cell in record.elites} for index in range(len(record.axes))]
    axes = tuple(
        AxisLabels(axis.name, axis.labels[:-1]) if axis.labels[-1] == OTHER and len(axis.labels) - 1 not in bins else axis
        for axis, bins in zip(record.axes, used, strict=True)
    )
    return replace(record, axes=axes)


def colour_scale(record: RunRecord) -> LogNorm:
    """A logarithmic scale over the elites' speedups, never narrower than 5 %."""
    from matplotlib.colors import LogNorm

    speeds = list(record.elites.values()) or [1.0, 2.0]
    low, high = min(speeds), max(speeds)
    if high / low < 1.05:
        low, high = low / 1.025, high * 1.025
    return LogNorm(low, high)


def draw_colour_bar(figure: FigureBase, maps: list[Axes], record: RunRecord, scale: LogNorm) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    assert scale.vmin is not None and scale.vmax is not None
    bar = figure.colorbar(ScalarMappable(scale, COLOUR_MAP), ax=maps, shrink=0.95, aspect=30, pad=0.02)
    bar.ax.yaxis.set_major_locator(FixedLocator(round_ticks(scale.vmin, scale.vmax)))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    bar.set_label(f"speedup over {record.baseline}")


def draw_map(axes: Axes, record: RunRecord, plan: Layout, facet: int | None, scale: LogNorm, *, roomy: bool) -> None:
    """One facet: squares, hatching where empty, figures where they fit, a frame round the run's best."""
    x_labels = record.axes[plan.x].labels
    y_labels = ("",) if plan.y is None else record.axes[plan.y].labels
    values = project(record.elites, plan, facet, (len(y_labels), len(x_labels)))
    axes.patch.set(facecolor="white", hatch="////", edgecolor="#CFCFCF")
    axes.imshow(np.ma.masked_invalid(values), cmap=COLOUR_MAP, norm=scale, aspect="auto", origin="lower", interpolation="nearest")
    if facet is not None and plan.facet is not None:
        axis = record.axes[plan.facet]
        between = " = " if len(axis.name) + len(axis.labels[facet]) < 28 else "\n"
        axes.set_title(f"{axis.name}{between}{axis.labels[facet]}", fontsize=8.5, fontweight="normal", pad=4)
    label_bins(axes, x_labels, y_labels, named_y=plan.y is not None)
    for edge in np.arange(0.5, len(x_labels) - 1):
        axes.axvline(edge, color="white", linewidth=1.0)
    for edge in np.arange(0.5, len(y_labels) - 1):
        axes.axhline(edge, color="white", linewidth=1.0)
    axes.spines[:].set_visible(False)
    write_figures(axes, values, scale, roomy=roomy)
    frame_best(axes, values, max(record.elites.values(), default=math.inf))


def label_bins(axes: Axes, x_labels: tuple[str, ...], y_labels: tuple[str, ...], *, named_y: bool) -> None:
    """Every bin is named; long or many names along x are turned."""
    turned = len(x_labels) * (max(map(len, x_labels)) + 1) > 34
    axes.set_xticks(range(len(x_labels)), x_labels)
    axes.tick_params(length=0)
    if turned:
        for label in axes.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(y_labels)) if named_y else [], y_labels if named_y else [])


def write_figures(axes: Axes, values: NDArray[np.float64], scale: LogNorm, *, roomy: bool) -> None:
    """The speedup inside each square, dark on light or light on dark, where the squares are large enough to read it."""
    rows, columns = values.shape
    if columns > (10 if roomy else 6) or rows > (12 if roomy else 8):
        return
    for (row, column), value in np.ndenumerate(values):
        if not math.isnan(value):
            ink = INK if float(scale(value)) > 0.55 else "white"
            axes.text(column, row, times(float(value)), ha="center", va="center", fontsize=7.5 if roomy else 6.5, color=ink)


def frame_best(axes: Axes, values: NDArray[np.float64], best: float) -> None:
    """A frame, dark inside light so that it shows on every colour and in greyscale."""
    from matplotlib.patches import Rectangle

    for (row, column), value in np.ndenumerate(values):
        if value == best:
            for colour, width in (("white", 5.0), (COLOURS[1], 2.5)):
                corner = (column - 0.5, row - 0.5)
                axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=colour, linewidth=width, clip_on=False, zorder=4))


def heading(record: RunRecord, plan: Layout) -> str:
    filled, possible = len(record.elites), record.possible_cells
    text = f"Archive: {filled} of {possible} cells filled ({100 * filled / possible:.0f} %)"
    if plan.projected:
        text += "\nbest over " + ", ".join(record.axes[index].name for index in plan.projected)
    return text


def project(elites: Mapping[Cell, float], plan: Layout, facet: int | None, shape: tuple[int, int]) -> NDArray[np.float64]:
    """(y bins, x bins) speedups of one facet, the best over what is not shown; NaN where empty."""
    values = np.full(shape, np.nan)
    for cell, speedup in elites.items():
        if facet is not None and plan.facet is not None and cell[plan.facet] != facet:
            continue
        place = (0 if plan.y is None else cell[plan.y], cell[plan.x])
        values[place] = np.fmax(values[place], speedup)
    return values
