"""Operator credit over time: what each operator was used for, and what it brought."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evo.plots.history import History
from evo.plots.lines import title
from evo.plots.style import COLOURS, INK, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["operator_credit"]

SHOWN = 6
"""Operators beyond the most frequent ones are drawn together as `other`."""
HATCHES = ("", "///", "\\\\\\", "...", "xxx", "---", "++")
WINDOWS = 24


def operator_credit(history: History) -> Figure:
    """Above: the share of evaluations that each operator made, over time. Below: the gain of the best that it brought, summed up.

    Raises:
        ValueError: nothing was evaluated.
    """
    if not history.steps:
        raise ValueError("nothing was evaluated yet")
    names = shown_operators(history)
    with house_style():
        figure = new_figure(7.4, 5.6)
        top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=[3, 2, 3])
        x, shares = usage(history, names)
        stacked = top.stackplot(x, shares, colors=COLOURS[: len(names)], labels=names, linewidth=0.4, edgecolor="white", step="post")
        for area, hatch in zip(stacked, HATCHES, strict=False):
            area.set_hatch(hatch)
        top.set_ylim(0, 1)
        top.set_ylabel("share of\nevaluations")
        events = successes(history, names)
        for index, name in enumerate(names):
            where = events[name]
            middle.scatter(where, [index] * len(where), marker="|", s=42, color=COLOURS[index % len(COLOURS)], linewidths=1.2)
            middle.annotate(
                str(len(where)), (1.0, index), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points", va="center",
                fontsize=8, color=INK,
            )  # fmt: skip
        middle.set_yticks(range(len(names)), names)
        middle.set_ylim(len(names) - 0.4, -0.6)
        middle.tick_params(axis="y", length=0)
        middle.set_title("entered the archive", fontsize=9, fontweight="normal", pad=3)
        gained = gains(history, names)
        for index, name in enumerate(names):
            bottom.step(
                np.arange(1, len(history.steps) + 1), gained[name], where="post", color=COLOURS[index % len(COLOURS)],
                linestyle=("-", "--", "-.", ":")[index % 4], linewidth=1.6,
            )  # fmt: skip
        bottom.set_ylabel("gain of the best,\nsum of ln")
        bottom.set_xlabel("evaluations")
        bottom.set_xlim(1, max(2, len(history.steps)))
        bottom.set_ylim(bottom=0)
        bottom.grid(axis="y")
        handles, labels = top.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4)
        title(figure, f"{history.name}: what each operator did and brought")
        return figure


def shown_operators(history: History) -> list[str]:
    """Most used first; seeds are made by nobody and are left out."""
    names = [name for name, _ in Counter(step.operator for step in history.steps if step.operator != "seed").most_common()]
    if not names:
        return ["seed"]
    return names if len(names) <= SHOWN else [*names[: SHOWN - 1], "other"]


def group(operator: str, names: list[str]) -> str | None:
    return operator if operator in names else "other" if "other" in names and operator != "seed" else None


def usage(history: History, names: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(windows + 1,) where each window begins, and (operators, windows + 1) shares within it."""
    edges = np.unique(np.linspace(0, len(history.steps), min(WINDOWS, max(1, len(history.steps) // 4)) + 1).round().astype(int))
    shares = np.zeros((len(names), len(edges)))
    for window in range(len(edges) - 1):
        made = [group(step.operator, names) for step in history.steps[edges[window] : edges[window + 1]]]
        counted = [name for name in made if name is not None]
        for row, name in enumerate(names):
            shares[row, window] = counted.count(name) / max(1, len(counted))
    shares[:, -1] = shares[:, -2] if len(edges) > 1 else 0.0
    return edges.astype(np.float64), shares


def successes(history: History, names: list[str]) -> dict[str, list[int]]:
    """Evaluations after which a candidate of each operator was new in a cell or better than its elite."""
    found: dict[str, list[int]] = {name: [] for name in names}
    for index, step in enumerate(history.steps, 1):
        name = group(step.operator, names)
        if name is not None and step.status in ("new", "improve"):
            found[name].append(index)
    return found


def gains(history: History, names: list[str]) -> dict[str, NDArray[np.float64]]:
    """(evaluations,) by how much (ln) the candidates of each operator had raised the best so far."""
    found = {name: np.zeros(len(history.steps)) for name in names}
    best: float | None = None
    for index, step in enumerate(history.steps):
        if step.speedup is None:
            continue
        objective = math.log(step.speedup)
        name = group(step.operator, names)
        if best is not None and objective > best and name is not None:
            found[name][index] = objective - best
        best = objective if best is None else max(best, objective)
    return {name: np.cumsum(gain) for name, gain in found.items()}
