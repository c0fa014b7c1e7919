"""An ablation as bars: how many times slower the kernel is with one thing taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evo.plots.style import COLOURS, INK, house_style, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from evo.ablation import Ablation, Reversal

__all__ = ["draw_ablation"]


def draw_ablation(ablation: Ablation) -> Figure:
    """The costliest reversal on top, the whole way back to the seed below all; what could not be measured is named."""
    shown = [ablation.whole, *reversed(ablation.reversals)]
    with house_style():
        figure = new_figure(7.2, 1.4 + 0.34 * len(shown))
        axes = figure.subplots()
        for place, one in enumerate(shown):
            colour = "#8c8c8c" if one is ablation.whole else COLOURS[0] if (one.factor or 1.0) >= 1.0 else COLOURS[1]
            if one.factor is None or one.low is None or one.high is None:
                axes.annotate(
                    one.outcome, (1.0, place), xytext=(6, 0), textcoords="offset points", va="center", fontsize=8, color="#666666"
                )
                continue
            axes.barh(place, one.factor - 1.0, left=1.0, height=0.6, color=colour, alpha=0.85)
            axes.plot([one.low, one.high], [place, place], color=INK, linewidth=1.4, solid_capstyle="butt")
            axes.annotate(
                f"{one.factor:.2f}×", (max(one.factor, one.high, 1.0), place), xytext=(6, 0), textcoords="offset points", va="center",
                fontsize=8, color=INK,
            )  # fmt: skip
        axes.axvline(1.0, color=INK, linewidth=1.0)
        axes.set_xscale("log", base=2)
        limits = [bound for one in shown for bound in (one.low, one.high) if bound is not None]
        axes.set_xlim(min([0.9, *limits]) / 1.05, max([1.25, *limits]) * 1.25)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}×")
        axes.set_yticks(range(len(shown)), [label(one) for one in shown])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel("times slower when it is taken back (95 % interval)")
        axes.set_title(f"What carries candidate {ablation.candidate}", loc="left")
        axes.grid(axis="x")
        return figure


def label(one: Reversal) -> str:
    return one.tunable if one.evolved == "" and one.plain == "" else f"{one.tunable} {one.evolved} → {one.plain}"
