"""The pictures of a comparison, drawn from its analysis and runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from evo.compare import metrics
from evo.compare.analysis import Analysis
from evo.compare.config import ALWAYS
from evo.compare.curves import band, pooled_band
from evo.compare.outcome import Outcome
from evo.compare.report import many
from evo.compare.statistics import cliques

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["draw_pictures"]

Y_LABEL = "speed found, as a share of the best known"


def draw_pictures(analysis: Analysis, outcomes: Sequence[Outcome], folder: Path) -> dict[str, Path]:
    """Draws and saves every picture that there is something to show in. Name → path."""
    from evo.plots import save

    drawings: dict[str, Callable[[], Figure | None]] = {
        "overall": lambda: overall(analysis, outcomes),
        "by_evaluations": lambda: by_problem(analysis, outcomes, "evaluations"),
        "by_seconds": lambda: by_problem(analysis, outcomes, "seconds"),
        "by_dollars": lambda: by_problem(analysis, outcomes, "dollars"),
        "ecdf": lambda: targets(analysis, outcomes),
        "critical_difference": lambda: ranking(analysis),
        "profile": lambda: profile(analysis),
    }
    found = {}
    for name, draw in drawings.items():
        figure = draw()
        if figure is not None:
            found[name] = save(figure, folder / f"{name}.png")
    return found


def plain(analysis: Analysis) -> list[str]:
    """Labels of the strategies that are only there to be beaten."""
    return [entry.shown for entry in analysis.config.contestants if entry.name in ALWAYS]


def evaluations_of(analysis: Analysis, outcomes: Sequence[Outcome]) -> float:
    """Evaluations that a run had, or could have had."""
    return float(analysis.config.budget.evaluations or max(len(outcome.objective) for outcome in outcomes))


def overall(analysis: Analysis, outcomes: Sequence[Outcome]) -> Figure:
    from evo.plots.anytime import Panel, anytime

    end = evaluations_of(analysis, outcomes)
    bands = []
    for name in analysis.strategies:
        mine = [(outcome, analysis.references[outcome.problem]) for outcome in outcomes if outcome.strategy == name]
        bands.append(pooled_band(name, {p: [run for run in mine if run[0].problem == p] for p in analysis.problems}, end))
    count = f"{many(len(analysis.problems), 'problem')} × {many(analysis.seeds, 'seed')}"
    return anytime(
        [Panel("", tuple(bands))], heading=f"All runs together: interquartile mean of {count}", x_label="evaluations", y_label=Y_LABEL,
        plain=plain(analysis),
    )  # fmt: skip


def by_problem(analysis: Analysis, outcomes: Sequence[Outcome], axis: Literal["evaluations", "seconds", "dollars"]) -> Figure | None:
    from evo.plots.anytime import Panel, anytime

    panels = []
    for problem in analysis.problems:
        mine = [outcome for outcome in outcomes if outcome.problem == problem]
        if axis == "evaluations":
            end = evaluations_of(analysis, outcomes)
        else:
            # As far as half of the runs went that spent any: beyond it the slow ones alone are left.
            spent = [getattr(outcome, axis) for outcome in mine]
            end = float(np.median([each[-1] for each in spent if len(each) and each[-1] > 0] or [0.0]))
        if end <= 0:
            return None
        known = analysis.references[problem]
        bands = [band([run for run in mine if run.strategy == name], known, axis, end) for name in analysis.strategies]
        panels.append(Panel(problem, tuple(bands)))
    label = {"evaluations": "evaluations", "seconds": "seconds to build and measure", "dollars": "dollars spent on models"}[axis]
    return anytime(panels, heading="Median and middle half over seeds", x_label=label, y_label=Y_LABEL, plain=plain(analysis))


def targets(analysis: Analysis, outcomes: Sequence[Outcome]) -> Figure | None:
    from evo.plots.ecdf import ecdf

    panels = []
    for target in analysis.config.targets:
        needed = {
            name: np.array(
                [metrics.evaluations_to(run, analysis.references[run.problem], target) for run in outcomes if run.strategy == name]
            )
            for name in analysis.strategies
        }
        panels.append((f"{100 * target:g} % of the best known speed", needed))
    if not panels:
        return None
    return ecdf(
        panels, heading="How many runs had come so close, and when", budget=evaluations_of(analysis, outcomes), plain=plain(analysis)
    )


def ranking(analysis: Analysis) -> Figure | None:
    from evo.plots.critical_difference import critical_difference_diagram

    known = analysis.ranks
    if known is None or not np.isfinite(known.critical_difference):
        return None
    return critical_difference_diagram(
        analysis.strategies, known.ranks, known.critical_difference, cliques(known.ranks, known.critical_difference),
        heading=f"Mean rank over {len(analysis.problems)} problems; a bar joins what cannot be told apart",
    )  # fmt: skip


def profile(analysis: Analysis) -> Figure | None:
    from evo.plots.effects import effects

    values = analysis.areas.mean(axis=2).T
    return effects(analysis.strategies, analysis.problems, values, heading="Area under the anytime curve, mean over seeds")
