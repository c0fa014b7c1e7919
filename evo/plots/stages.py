"""Where the time of a run went: seconds by stage of the evaluation, summed up and per candidate."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from evo.plots.history import History
from evo.plots.lines import title
from evo.plots.style import COLOURS, INK, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["stage_seconds", "time_per_stage"]

COUNTS = frozenset({"calls", "retries", "rounds", "preempted"})
TOTALS = frozenset({"measure", "cpu"})
"""Costs that other costs are parts of: wall and CPU time of all that happens on the device."""
OFF_DEVICE = frozenset({"policy", "build", "describe", "recorded"})
REST = "rest of measuring"
SMALL = 0.004
"""Stages under this share of the whole are drawn together as `other`."""


def time_per_stage(history: History) -> Figure:
    """One bar per stage, split by how the evaluation ended.

    Raises:
        ValueError: no costs were recorded.
    """
    stages = stage_seconds(history)
    if not stages:
        raise ValueError("this run recorded no costs by stage")
    total = sum(sum(split.values()) for split in stages.values())
    outcomes = sorted({outcome for split in stages.values() for outcome in split}, key=lambda name: (name != "ok", name))
    with house_style():
        figure = new_figure(7.0, 1.5 + 0.32 * len(stages))
        axes = figure.subplots()
        order = sorted(stages, key=lambda name: (name != "other", sum(stages[name].values())))
        for row, stage in enumerate(order):
            left = 0.0
            for index, outcome in enumerate(outcomes):
                seconds = stages[stage].get(outcome, 0.0)
                axes.barh(
                    row, seconds, left=left, height=0.62, color=COLOURS[index % len(COLOURS)], edgecolor="white", linewidth=0.6,
                    hatch=("", "///", "...", "xxx", "\\\\\\", "++", "--")[index % 7], label=outcome.replace("_", " ") if row == 0 else None,
                )  # fmt: skip
                left += seconds
            axes.text(left, row, f"  {left:.3g} s, {100 * left / total:.0f} %", va="center", fontsize=8, color=INK)
        axes.set_yticks(range(len(order)), order)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"seconds, {total:.3g} in all ({1e3 * total / len(history.steps):,.0f} ms per evaluation)")
        axes.margins(x=0.18)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.legend(loc="lower right")
        title(figure, f"{history.name}: where the time went")
        return figure


def stage_seconds(history: History) -> dict[str, dict[str, float]]:
    """Seconds by stage and outcome; the small stages together as `other`."""
    found: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for step in history.steps:
        parts = {stage: seconds for stage, seconds in step.cost.items() if stage not in COUNTS | TOTALS}
        on_device = sum(seconds for stage, seconds in parts.items() if stage not in OFF_DEVICE)
        parts[REST] = max(0.0, step.cost.get("measure", 0.0) - on_device)
        for stage, seconds in parts.items():
            if seconds > 0:
                found[stage][step.outcome] += seconds
    total = sum(sum(split.values()) for split in found.values())
    stages: dict[str, dict[str, float]] = {}
    for stage, split in found.items():
        name = stage if sum(split.values()) >= SMALL * total else "other"
        into = stages.setdefault(name, {})
        for outcome, seconds in split.items():
            into[outcome] = into.get(outcome, 0.0) + seconds
    return stages
