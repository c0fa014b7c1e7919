"""A suite as a picture: each problem's seed, baselines and evolved kernel as shares of the roofline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from evo.plots.style import COLOURS, INK, MARKERS, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from evo.suites.table import Row

__all__ = ["draw_suite", "shares"]


def shares(row: Row) -> dict[str, float]:
    """Share of the roofline of the evolved kernel, the seed and each baseline, by name."""
    if row.share is None or row.evolved_ms is None:
        return {}
    work = row.share * row.evolved_ms  # what the ceiling itself takes
    found = {"evolved": row.share}
    if row.seed_ms is not None:
        found["seed"] = work / row.seed_ms
    return found | {name: work / value for name, value in row.baselines_ms.items()}


def draw_suite(name: str, rows: Sequence[Row]) -> Figure:
    """One line a problem, the best on top; what has no figure yet is left out.

    Raises:
        ValueError: no row has a share of the roofline.
    """
    known = sorted((row for row in rows if shares(row)), key=lambda row: row.share or 0.0)
    if not known:
        raise ValueError("no problem of the suite has a share of the roofline yet")
    with house_style():
        figure = new_figure(8.0, 1.6 + 0.36 * len(known))
        axes = figure.subplots()
        draw_rows(axes, known)
        axes.set_title(name, loc="left")
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        return figure


def _label(row: Row) -> str:
    name = row.name.replace("_", " ")
    return f"{name} ({row.roofline})" if row.roofline else name


def draw_rows(axes: Axes, rows: Sequence[Row]) -> None:
    """Bars for the evolved kernels, markers for what they are compared with, certified speedups at the right edge."""
    places = range(len(rows))
    evolved = [row.share or 0.0 for row in rows]
    axes.barh(list(places), evolved, height=0.62, color=COLOURS[0], alpha=0.85, label="evolved", zorder=2)
    others = sorted(
        {name for row in rows for name in shares(row) if name not in ("evolved", "seed")}, key=lambda each: (each != "numpy", each)
    )
    for index, other in enumerate(["seed", *others], 1):
        points = [(shares(row)[other], place) for place, row in zip(places, rows, strict=True) if other in shares(row)]
        if points:
            label = {"numpy": "NumPy", "seed": "plain seed"}.get(other, other)
            x, y = zip(*points, strict=True)
            marker, colour = MARKERS[index % len(MARKERS)], COLOURS[index % len(COLOURS)]
            axes.scatter(x, y, s=42, linewidths=0.8, zorder=3, label=label, marker=marker, color=colour, edgecolors="white")
    for place, row in zip(places, rows, strict=True):
        if row.speedup is not None:
            over = {"numpy": "NumPy", "seed": "the seed"}.get(row.strongest, row.strongest)
            text = f"{row.speedup.value:.2f}× over {over}  ({row.speedup.low:.2f} to {row.speedup.high:.2f})"
            axes.annotate(
                text, (1.0, place), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8,
                color=INK,
            )  # fmt: skip
    axes.set_yticks(list(places), [_label(row) for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(0.0, max(1.0, 1.04 * max(max(shares(row).values()) for row in rows)))
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.axvline(1.0, color="#666666", linewidth=1.0, linestyle=":", zorder=1)
    axes.set_xlabel("share of the measured roofline, on shapes the search never saw")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(axis="x")
