"""The report: what the comparison says in words first, then the figures behind it, then how to make it again."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evo.compare.analysis import PLAIN, Analysis
from evo.compare.outcome import Outcome
from evo.compare.reference import Reference
from evo.compare.statistics import POWER
from evo.compare.tables import p_value, problems, standings, versus_leader
from evo.compare.words import budget, conclusion, listed, many, quantity

__all__ = ["conclusion", "many", "report", "standings", "versus_leader"]

COARSE = 20
"""Evaluations of the score's range below which it says little."""


def report(analysis: Analysis, outcomes: Sequence[Outcome], pictures: Mapping[str, Path], command: str) -> str:
    """Markdown. The same runs give the same text."""
    parts = [
        f"# {analysis.config.name or 'Comparison'}",
        conclusion(analysis),
        picture(pictures, "overall", OVERALL),
        "## Strategies",
        STRATEGIES.format(budget=budget(analysis), problems=each_problem(len(analysis.problems)), seeds=times(analysis.seeds)),
        standings(analysis),
        standing_notes(analysis),
        "## Who beats whom",
        PAIRS.format(significance=f"{analysis.config.significance:g}", power=f"{100 * POWER:.0f}"),
        versus_leader(analysis),
        "All pairs, over all problems and on each one, are in `tests.csv`; on each one the test is"
        f" {WILCOXON if analysis.config.test == 'wilcoxon' else 'Mann–Whitney'}.",
        ranking(analysis, pictures),
        "## Problem by problem",
        problems(analysis),
        baselines(analysis),
        picture(pictures, "profile", PROFILE),
        picture(pictures, "by_evaluations", BY_EVALUATIONS),
        picture(pictures, "by_seconds", BY_SECONDS),
        picture(pictures, "by_dollars", BY_DOLLARS),
        "## How soon a target is reached",
        picture(pictures, "ecdf", ECDF),
        "## How to make this again",
        reproduction(analysis, outcomes, command),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def ranking(analysis: Analysis, pictures: Mapping[str, Path]) -> str:
    ranks = analysis.ranks
    if ranks is None:
        return "A ranking over problems needs three strategies and two problems at least; there is none here."
    said = (
        f"Seen as a sample of all problems there could be, these {len(analysis.problems)} tell less, so that this need not agree with the"
        f" first paragraph, which is about just these: Friedman's test gives χ² ="
        f" {ranks.statistic:.2f}, p {'' if ranks.p < 1e-4 else '= '}{p_value(ranks.p)}"
    )
    if math.isfinite(ranks.critical_difference):
        said += f"; by Nemenyi's test, mean ranks have to differ by {ranks.critical_difference:.2f} to be told apart."
    return "\n\n".join(part for part in (said, picture(pictures, "critical_difference", RANKING)) if part)


def baselines(analysis: Analysis) -> str:
    """What the best known speed is a multiple of."""
    kinds = {known.exact for known in analysis.references.values()}
    said = []
    if True in kinds:
        said.append(
            "A recorded space's baseline is the median of its working configurations, so its multiple is no speedup over a library."
        )
    if False in kinds:
        said.append("A measured problem's is the baseline that comes with it, and its best known is the best that these runs found.")
    return " ".join(said)


def reproduction(analysis: Analysis, outcomes: Sequence[Outcome], command: str) -> str:
    import scipy

    from evo import __version__

    spent = quantity(round(sum(outcome.machine_seconds for outcome in outcomes)), "seconds")
    lines = [
        "```console",
        command or "evo compare config.yaml -o .",
        "```",
        "",
        f"`config.yaml` here is the resolved config, `runs.jsonl` every finished run (what is in it is not run again), `curves.csv` every"
        f" evaluation of every run. {len(outcomes)} runs took {spent} of computing with evo {__version__}, Python"
        f" {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}.",
    ]
    if all(known.exact for known in analysis.references.values()):
        lines.append("Every problem is recorded, so the same command gives the same curves, byte for byte.")
    return "\n".join(lines)


def picture(pictures: Mapping[str, Path], name: str, caption: str) -> str:
    return f"![{caption.split('.')[0]}]({pictures[name].name})\n\n*{caption}*" if name in pictures else ""


def each_problem(count: int) -> str:
    return "the one problem" if count == 1 else f"each of {count} problems"


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def standing_notes(analysis: Analysis) -> str:
    known = [analysis.references[name] for name in analysis.problems]
    barren = [reference.problem for reference in known if reference.qd_optimum <= 0]
    blank = f"; it leaves out {listed(barren)}, where no kernel known is faster" if barren else ""
    return STANDING_NOTES.format(axis=analysis.axis, plain=PLAIN, cells=cells_of(known), blank=blank) + score_note(analysis)


def cells_of(known: Sequence[Reference]) -> str:
    """The axes that cells are made of, on which problems."""
    by_axes: dict[tuple[str, ...], list[str]] = {}
    for reference in known:
        by_axes.setdefault(reference.axes, []).append(reference.problem)
    if len(by_axes) == 1:
        return " × ".join(next(iter(by_axes)))
    return "; ".join(f"{' × '.join(axes)} on {listed(names)}" for axes, names in by_axes.items())


def score_note(analysis: Analysis) -> str:
    """What the score is, over how much, and on which problems there is none and why."""
    scores = analysis.scores
    without = [
        f"on {listed(names)}, {why}"
        for names, why in (
            (scores.trivial, "where an ideal random search has the best at once"),
            (scores.measured, "where the times of all configurations are not known"),
        )
        if names
    ]
    if not scores.cutoffs:
        return f"\n- No **score**: there is none {'; nor '.join(without)}." if scores.trivial else ""
    text = SCORE
    short = [f"{count} on {problem}" for problem, count in scores.cutoffs.items() if count < COARSE]
    if short:
        text += f" It is rough where it goes over so few evaluations: {listed(short)}."
    if scores.partial:
        where = "them" if analysis.axis == "evaluations" else "the shortest of them"
        text += f" The runs are shorter than that on {listed(scores.partial)}, where it ends with {where}."
    if without:
        text += f" There is none {'; nor '.join(without)}."
    return text


OVERALL = (
    "Best found so far against evaluations, all runs of all problems together. Lines are interquartile means; bands, where drawn, are their"
    " 95 % bootstrap intervals. Higher and further left is better. Grey lines are the plain strategies that every comparison has."
)
STRATEGIES = "Every strategy had {budget} on {problems}, {seeds}. In order of their area:"
STANDING_NOTES = (
    "- **area**: speed of the best found so far, as a share of the best known, averaged over the whole budget: how good a run is at"
    " whatever moment it is stopped. Interquartile mean over all runs, with a stratified bootstrap interval (Agarwal et al. 2021).\n"
    "- **found @n**: the same share after n {axis}, mean over runs.\n"
    "- **≥ x %**: share of runs that came so close to the best known speed within the budget.\n"
    "- **{plain}'s end after**: {axis} after which the mean of found is what `{plain}` has at the end of its budget, with a bootstrap"
    " interval.\n"
    "- **QD-score**, **coverage**: of the final archive, as shares of what is known to be reachable: how good and how different what was"
    " kept is. Cells are made of {cells}. The QD-score counts what cells are faster than the baseline by{blank}."
)
SCORE = (
    "\n- **score**: the autotuning community's performance score (Willemsen et al. 2024): 0 is an ideal random search, 1 the optimum"
    " at once, over the evaluations that an ideal random search needs to come 95 % of the way from the median to the best. A real random"
    " search may well lie below 0: ranks are averaged before times are looked up, and every run spends its first evaluation on the plain"
    " seed."
)
PAIRS = (
    "Tests are on the area: on its ranks, so that one run that is far off weighs no more than any other. *mean area* is the difference of"
    " the means over all runs (the table above has interquartile means). *A12* is the probability that a run of the leader beats one of"
    " the other on the same problem (0.5: no difference); a verdict follows it, and says *ranks higher* where the means point the other"
    " way. *p* is from the rank-sum test stratified by problem (van Elteren), corrected after Holm over all pairs; the level is"
    " {significance}. *Seeds needed* would find a difference of the observed size with {power} % probability, whatever the other pairs do"
    " (the level shared out evenly among all pairs). The tests say whether the"
    " strategies differ on *these* problems."
)
WILCOXON = (
    "Wilcoxon's on runs paired by seed (of one seed, strategies that begin with plain random samples begin with the same ones), without a"
    " number of seeds needed"
)
PROFILE = "Where each strategy is good. Darker is further behind the best strategy on that problem, which is framed."
BY_EVALUATIONS = (
    "Best found so far on each problem, each on a scale of its own. Lines are medians over seeds; bands hold the middle half"
    " (of more than six, two and a control have one)."
)
BY_SECONDS = (
    "Against time instead: strategies that try configurations which take longer to compile and run fall back here. The axis ends where"
    " half of the runs had ended."
)
BY_DOLLARS = "Against what was paid for models. The axis ends where half of the runs that paid anything had ended."
ECDF = (
    "The share of all runs that had reached a target after so many evaluations (logarithmic axis). A line that rises early is fast; one"
    " that ends high is reliable."
)
RANKING = "Mean ranks over problems, the best at the left. Strategies under one bar cannot be told apart by these problems."
