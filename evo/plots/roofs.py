"""Roofline plot of the elites: how fast each computes, under what memory and arithmetic units allow.

S. Williams, A. Waterman & D. Patterson, "Roofline: an insightful visual performance model for multicore architectures", CACM
52(4), 2009. Bytes and operations are what the problem needs at least, so all kernels of one problem stand above one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evo.plots.history import History
from evo.plots.lines import title
from evo.plots.style import COLOURS, INK, MARKERS, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Roofs", "known_roofs", "roofline"]


@dataclass(frozen=True, slots=True)
class Roofs:
    """The machine's ceilings; without them each problem's own roof is drawn, as its measured shares imply it."""

    bandwidth: float
    """Bytes/s from memory."""
    rate: float
    """FLOP/s."""


def known_roofs(runs: Sequence[Path]) -> Roofs | None:
    """The ceilings of the machine that all runs were measured on, where that is this one and they are in its cache."""
    import os

    from evo.config import load_config
    from evo.reading import open_run
    from fitness.cache import Cache
    from fitness.device import cpu_device
    from fitness.roofline import known_ceilings
    from fitness.targets.toolchain import find_toolchain

    here = cpu_device().name
    found = None
    for run in runs:
        with open_run(run) as reader:
            devices = [environment.facts.get("device") for environment in reader.lineage.environments()]
        if not devices or not all(isinstance(device, dict) and device.get("name") == here for device in devices):
            return None
        config = load_config(run / "config.yaml")
        core = max(os.sched_getaffinity(0)) if config.evaluation.core is None else config.evaluation.core
        try:
            cache = Cache() if config.evaluation.cache is None else Cache(config.evaluation.cache)
            found = known_ceilings(cache, core, find_toolchain(config.target.compiler), threads=config.target.threads)
        except Exception:  # a picture needs no compiler; without the machine's ceilings each problem's own are drawn
            return None
    return None if found is None else Roofs(found.bandwidth(), found.rate())


def roofline(histories: Sequence[History], roofs: Roofs | None = None) -> Figure:
    """Elites of one or several runs.

    Raises:
        ValueError: no run has elites with a measured rate (recorded spaces have none).
    """
    columns = [(history, measured(history)) for history in histories]
    columns = [(history, points) for history, points in columns if points]
    if not columns:
        raise ValueError("no elite with a measured rate to draw; recorded spaces have none")
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    intensities = [points[0][0] for _, points in columns]
    low, high = min(intensities) / 6, max(intensities) * 6
    with house_style():
        figure = new_figure(6.8, 4.6)
        axes = figure.subplots()
        if roofs is not None:
            x = np.geomspace(low, high, 200)
            axes.plot(x, np.minimum(roofs.rate, roofs.bandwidth * x) / 1e9, color=INK, linewidth=1.6)
            axes.text(low * 1.08, roofs.bandwidth * low / 1e9 * 2.2, f"memory {roofs.bandwidth / 1e9:.3g} GB/s", fontsize=8, rotation=0)
            axes.text(high / 1.1, roofs.rate / 1e9 * 1.08, f"arithmetic {roofs.rate / 1e9:.3g} GFLOP/s", fontsize=8, ha="right")
        for index, (history, points) in enumerate(columns):
            colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
            intensity = points[0][0]
            own = float(np.median([rate / share for _, rate, share in points if share > 0])) / 1e9
            axes.plot([intensity / 1.5, intensity * 1.5], [own, own], color=colour, linewidth=2.2)
            axes.text(intensity * 1.6, own, "roof of its data size", fontsize=7.5, va="center", color=INK)
            rates = np.array([rate for _, rate, _ in points]) / 1e9
            axes.scatter([intensity] * len(rates), rates, s=26, marker=marker, color=colour, alpha=0.7, linewidths=0, label=history.name)
            best = max(points, key=lambda point: point[1])
            axes.annotate(
                f"{100 * best[2]:.0f} % of its roof", (intensity, best[1] / 1e9), xytext=(8, -2), textcoords="offset points", va="top",
                fontsize=8, color=INK,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(low, high)
        axes.set_xlabel("arithmetic intensity (FLOP per byte that has to be moved)")
        axes.set_ylabel("GFLOP/s")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.grid(which="major")
        axes.legend(loc="lower right")
        axes.margins(y=0.12)
        title(figure, "Roofline: the elites of each archive")
        return figure


def measured(history: History) -> list[tuple[float, float, float]]:
    """(FLOP per byte, FLOP/s, share of the roof) of every elite whose rate was measured."""
    elites = set(history.elites)
    found = []
    for step in history.steps:
        profile = step.profile
        if step.number in elites and profile.get("bandwidth", 0.0) > 0 and profile.get("flop_rate", 0.0) > 0:
            found.append((profile["flop_rate"] / profile["bandwidth"], profile["flop_rate"], profile.get("roofline_share", 0.0)))
    return found
