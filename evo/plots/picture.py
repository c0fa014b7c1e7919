"""The picture that every run ends with: convergence on the left, the archive on the right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evo.plots.best_so_far import draw_run
from evo.plots.heatmap import draw_heatmap, facet_grid
from evo.plots.record import RunRecord
from evo.plots.style import house_style, new_figure, times

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_picture"]


def draw_picture(record: RunRecord) -> Figure:
    """Convergence with its failures, and the archive, under one heading."""
    with house_style():
        columns, rows = facet_grid(record) if record.axes else (0, 1)
        right = max(5.4, 2.9 * columns) if columns else 0.0
        figure = new_figure(6.8 + right, max(5.0, 2.6 * rows))
        figure.suptitle(heading(record), x=0.008, ha="left", fontsize=11, fontweight="bold")
        parts = figure.subfigures(1, 2 if right else 1, squeeze=False, width_ratios=[6.8, right] if right else None, wspace=0.03)[0]
        draw_run(parts[0], record)
        if right:
            draw_heatmap(parts[1], record)
        return figure


def heading(record: RunRecord) -> str:
    """`softmax on cpp: 8.1× over numpy, certified (95 %: 7.9× to 8.3×), 412 evaluations`."""
    name = f"{record.problem} on {record.target}"
    if record.certified is not None:
        certified = record.certified
        interval = f"95 %: {certified.low:.2f}× to {certified.high:.2f}×"
        return f"{name}: {times(certified.value)} over {certified.baseline}, certified ({interval}), {record.evaluations} evaluations"
    best = "nothing right yet" if record.best is None else f"{times(record.best)} over {record.baseline} in the search"
    return f"{name}: {best}, {record.evaluations} evaluations"
