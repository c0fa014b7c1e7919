"""Critical-difference diagram: mean ranks over problems, and bars over those that cannot be told apart.

J. Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006, figure 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from evo.plots.lines import title
from evo.plots.style import COLOURS, INK, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["critical_difference_diagram"]


def critical_difference_diagram(
    names: Sequence[str], ranks: Sequence[float], difference: float, groups: Sequence[Sequence[int]], *, heading: str
) -> Figure:
    """Strategies on a line of mean ranks, the best at the left.

    Args:
        ranks: mean rank of each name, 1 the best.
        difference: mean ranks closer than this cannot be told apart.
        groups: indices of names that a bar joins.
    """
    order = sorted(range(len(names)), key=lambda index: (ranks[index], index))
    half = math.ceil(len(order) / 2)
    with house_style():
        bars = 0.16 * len(groups)
        step = 0.24
        height = 1.35 + bars + step * half
        figure = new_figure(7.4, height)
        axes = figure.subplots()
        axes.set_axis_off()
        low, high = 1, len(names)
        left, right = 0.24, 0.76  # of the width; names stand outside

        def place(rank: float) -> float:
            return left + (right - left) * (rank - low) / max(1e-9, high - low)

        top = height - 0.85
        draw_line(axes, low, high, place, top)
        wide = place(low + difference) - place(low)
        if difference <= high - low:
            axes.plot([place(low), place(low) + wide], [top + 0.38] * 2, color=INK, linewidth=1.4)
            for end in (place(low), place(low) + wide):
                axes.plot([end, end], [top + 0.33, top + 0.43], color=INK, linewidth=1.4)
            axes.text(place(low) + wide / 2, top + 0.44, f"critical difference {difference:.2f}", ha="center", va="bottom", fontsize=8)
        else:
            axes.text(place(low), top + 0.36, f"critical difference {difference:.2f}: wider than this axis", va="bottom", fontsize=8)
        for level, group in enumerate(groups):
            ends = [place(ranks[index]) for index in group]
            height_of = top - 0.12 - 0.16 * level
            axes.plot([min(ends) - 0.006, max(ends) + 0.006], [height_of] * 2, color=COLOURS[0], linewidth=4.5, solid_capstyle="butt")
        for position, index in enumerate(order):
            at_left = position < half
            level = position if at_left else len(order) - 1 - position
            y = top - 0.3 - bars - step * level
            x, outer = place(ranks[index]), left - 0.03 if at_left else right + 0.03
            axes.plot([x, x, outer], [top, y, y], color="#666666", linewidth=0.9)
            text = f"{names[index]}  ({ranks[index]:.2f})" if at_left else f"({ranks[index]:.2f})  {names[index]}"
            axes.text(outer - 0.008 if at_left else outer + 0.008, y, text, ha="right" if at_left else "left", va="center", fontsize=8.5)
        axes.set_xlim(0, 1)
        axes.set_ylim(top - 0.5 - bars - step * half, height - 0.1)
        title(figure, heading)
        return figure


def draw_line(axes: Axes, low: int, high: int, place: object, y: float) -> None:
    assert callable(place)
    axes.plot([place(low), place(high)], [y, y], color=INK, linewidth=1.2)
    for rank in range(low, high + 1):
        axes.plot([place(rank)] * 2, [y, y + 0.07], color=INK, linewidth=1.0)
        axes.text(place(rank), y + 0.1, str(rank), ha="center", va="bottom", fontsize=8)
