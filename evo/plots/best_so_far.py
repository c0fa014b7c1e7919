"""How a search got where it got: best speedup against evaluations, with every evaluation as a dot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from evo.plots.record import RunRecord
from evo.plots.style import COLOURS, INK, MARKERS, house_style, new_figure, speedup_axis, times

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, FigureBase
    from numpy.typing import NDArray

__all__ = ["convergence", "draw_run", "failures"]

SHOWN_OPERATORS = 5
"""Operators beyond the most frequent ones share one colour and the name `other`."""


def convergence(records: Sequence[RunRecord]) -> Figure:
    """One run: every evaluation, coloured by operator, over a strip of failures. Several: one best-so-far line each.

    Raises:
        ValueError: when there is no run to draw.
    """
    if not records:
        raise ValueError("no run to draw")
    with house_style():
        if len(records) > 1:
            figure = new_figure(7.0, 4.2)
            draw_comparison(figure.subplots(), records)
            return figure
        figure = new_figure(7.0, 4.8)
        draw_run(figure, records[0])
        return figure


def draw_run(figure: FigureBase, record: RunRecord) -> None:
    """Convergence over a strip of failures (when there are any) over the legend."""
    rows = len(failures(record))
    if rows:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[14, 0.9 * rows])
        draw_convergence(top, record)
        draw_failures(bottom, record)
        top.tick_params(labelbottom=False)
        top.set_xlabel("")
    else:
        top = figure.subplots()
        draw_convergence(top, record)
    handles, labels = top.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=4)


def draw_convergence(axes: Axes, record: RunRecord) -> None:
    """Dots, the best so far, the plain seed and the certified figure with its prediction interval."""
    axes.set_title("Convergence")
    axes.set_ylabel(f"speedup over {record.baseline}")
    axes.set_xlabel("evaluations")
    axes.set_xlim(0.5, max(record.evaluations, 1) + 0.5)
    axes.grid(axis="y")
    if record.best is None:
        axes.text(0.5, 0.5, "no kernel was right and timed yet", transform=axes.transAxes, ha="center", va="center", color=INK)
        axes.set_yticks([])
        return
    low, high = limits(record)
    speedup_axis(axes, low, high)
    x = np.arange(1, record.evaluations + 1)
    for index, (operator, mask) in enumerate(by_operator(record)):
        if mask.any():
            axes.scatter(
                x[mask], record.speedup[mask], s=13, marker=MARKERS[index], color=COLOURS[index], alpha=0.75, linewidths=0, label=operator
            )
    axes.step(x, record.best_so_far, where="post", color=INK, linewidth=1.6, label="best so far")
    mark_levels(axes, record, low, high)


def mark_levels(axes: Axes, record: RunRecord, low: float, high: float) -> None:
    """Horizontal lines for baseline, plain seed and certificate, named at the right edge without overlapping."""
    levels: list[tuple[float, str, str]] = []
    if low < 1 < high:
        levels.append((1.0, f"{record.baseline} 1×", ":"))
    if record.seed_speedup is not None:
        levels.append((record.seed_speedup, f"seed {times(record.seed_speedup)}", "--"))
    certified = record.certified
    if certified is not None:
        axes.axhspan(certified.low, certified.high, color=COLOURS[1], alpha=0.18, linewidth=0)
        levels.append((certified.value, f"certified {times(certified.value)}", "-."))
    for value, _, line in levels:
        axes.axhline(value, color=COLOURS[1] if line == "-." else "#666666", linestyle=line, linewidth=1.0, zorder=1.5)
    best = record.best
    if best is not None:
        levels.append((best, f"best {times(best)}", ""))
    for value, text in spread([(value, text) for value, text, _ in levels], low, high):
        beside(axes, text, value)


def beside(axes: Axes, text: str, height: float) -> None:
    """`text` just outside the right edge, centred at `height` in data units."""
    place = (1.0, height)
    axes.annotate(
        text, place, xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8, color=INK
    )


def spread(labels: Sequence[tuple[float, str]], low: float, high: float, gap: float = 0.055) -> list[tuple[float, str]]:
    """Label positions moved apart on the logarithmic axis so that no two are closer than `gap` of its height."""
    span = np.log(high / low)
    places: list[tuple[float, str]] = []
    position = -np.inf
    for value, text in sorted(labels):
        position = max(float(np.log(value / low) / span), position + gap)
        places.append((position, text))
    overflow = max(0.0, places[-1][0] - 0.99) if places else 0.0
    return [(float(low * np.exp((place - overflow) * span)), text) for place, text in places]


def limits(record: RunRecord) -> tuple[float, float]:
    """The range of speedups to show; a few hopeless kernels far below the rest do not squeeze the picture."""
    finite = record.speedup[~np.isnan(record.speedup)]
    marks = [record.seed_speedup, record.certified and record.certified.high, record.certified and record.certified.low]
    shown = [float(value) for value in marks if value]
    bottom = min([float(np.quantile(finite, 0.02)), *shown])
    top = max([float(finite.max()), *shown])
    if top / bottom < 1.2:
        bottom, top = bottom / 1.1, top * 1.1
    room = (top / bottom) ** 0.07
    return bottom / room, top * room


def by_operator(record: RunRecord) -> list[tuple[str, NDArray[np.bool_]]]:
    """(operator, mask of its `ok` evaluations), most frequent first, the rare ones together as `other`."""
    operators = np.array(record.operator)
    ok = ~np.isnan(record.speedup)
    names = [name for name, _ in Counter(operators[ok].tolist()).most_common()]
    if len(names) <= SHOWN_OPERATORS + 1:
        return [(name, ok & (operators == name)) for name in names]
    shown = names[:SHOWN_OPERATORS]
    return [*((name, ok & (operators == name)) for name in shown), ("other", ok & ~np.isin(operators, shown))]


def failures(record: RunRecord) -> dict[str, int]:
    """Evaluations that did not end `ok`, by outcome, most frequent first."""
    return dict(Counter(outcome for outcome in record.outcome if outcome != "ok").most_common())


def draw_failures(axes: Axes, record: RunRecord) -> None:
    """One row of marks per kind of failure, with its count at the right edge."""
    counts = failures(record)
    outcomes = np.array(record.outcome)
    x = np.arange(1, record.evaluations + 1)
    for row, (outcome, count) in enumerate(counts.items()):
        where = x[outcomes == outcome]
        axes.scatter(where, np.full(len(where), row), s=22, marker="|", color=COLOURS[row % len(COLOURS)], linewidths=1.0)
        beside(axes, str(count), row)
    axes.set_yticks(range(len(counts)), [outcome.replace("_", " ") for outcome in counts])
    axes.set_ylim(len(counts) - 0.4, -0.6)
    axes.set_xlim(0.5, max(record.evaluations, 1) + 0.5)
    axes.set_xlabel("evaluations")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def draw_comparison(axes: Axes, records: Sequence[RunRecord]) -> None:
    """Best so far of several runs, each named at the end of its line."""
    axes.set_title("Convergence")
    axes.set_xlabel("evaluations")
    axes.set_ylabel("best speedup over " + " / ".join(sorted({record.baseline for record in records})))
    axes.grid(axis="y")
    timed = [record for record in records if record.best is not None]
    if not timed:
        axes.text(0.5, 0.5, "no kernel was right and timed yet", transform=axes.transAxes, ha="center", va="center", color=INK)
        return
    firsts = [float(record.best_so_far[~np.isnan(record.best_so_far)][0]) for record in timed]
    low, high = min(firsts) / 1.08, max(record.best or 0.0 for record in timed) * 1.08
    speedup_axis(axes, low, high)
    axes.set_xlim(0.5, max(record.evaluations for record in timed) + 0.5)
    lines = ("-", "--", "-.", ":")
    for index, record in enumerate(timed):
        x = np.arange(1, record.evaluations + 1)
        axes.step(
            x, record.best_so_far, where="post", color=COLOURS[index % len(COLOURS)], linestyle=lines[index % len(lines)], linewidth=1.6,
            label=f"{record.name}  {times(record.best or 0.0)}",
        )  # fmt: skip
    axes.legend(loc="lower right", frameon=True, framealpha=0.85, edgecolor="none")
