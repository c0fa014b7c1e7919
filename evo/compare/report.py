"""The report: what the comparison says in words first, then the figures behind it, then how to make it again."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from evo.compare.analysis import PLAIN, Analysis, Standing
from evo.compare.outcome import Outcome
from evo.compare.pairs import Pair
from evo.compare.statistics import POWER, Interval
from evo.compare.words import MANY, budget, conclusion, counts, listed, many, percent

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
        STANDING_NOTES + score_note(analysis),
        "## Who beats whom",
        PAIRS.format(significance=f"{analysis.config.significance:g}", power=f"{100 * POWER:.0f}"),
        versus_leader(analysis),
        "All pairs, over all problems and on each one, are in `tests.csv`"
        f" ({'Wilcoxon' if analysis.config.test == 'wilcoxon' else 'Mann–Whitney'} per problem).",
        ranking(analysis, pictures),
        "## Problem by problem",
        problems(analysis),
        picture(pictures, "profile", PROFILE),
        picture(pictures, "by_evaluations", BY_EVALUATIONS),
        picture(pictures, "by_seconds", BY_SECONDS),
        "## How soon a target is reached",
        picture(pictures, "ecdf", ECDF),
        "## How to make this again",
        reproduction(analysis, outcomes, command),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# ── tables ──


def standings(analysis: Analysis) -> str:
    first = analysis.standings[0]
    head = ["strategy", "area (IQM, 95 %)", *(f"found @{b}" for b in analysis.checkpoints)]
    head += [] if first.score is None else ["score (95 %)"]
    head += [f"≥ {100 * target:g} %" for target in analysis.config.targets]
    matched = next((each.matched for each in analysis.standings if each.matched is not None), None)
    head += [] if matched is None else [f"{PLAIN}'s end after"]
    head += ["QD-score", "coverage"]
    remeasured = any(standing.qd_remeasured is not None for standing in analysis.standings)
    head += ["QD re-measured", "coverage re-measured"] if remeasured else []
    return table(head, [standing_row(each, remeasured, matched is not None) for each in analysis.standings])


def standing_row(standing: Standing, remeasured: bool, matched: bool) -> list[str]:
    row = [standing.strategy, interval(standing.area), *(f"{found.value:.3f}" for found in standing.found)]
    row += [] if standing.score is None else [interval(standing.score, signed=True)]
    row += [percent(share) for share in standing.reached]
    row += [counts(standing.matched)] if matched else []
    row += ["" if standing.qd is None else f"{standing.qd:.3f}", f"{standing.coverage:.2f}"]
    if remeasured:
        row += ["" if value is None else f"{value:.3f}" for value in (standing.qd_remeasured, standing.coverage_remeasured)]
    return row


def versus_leader(analysis: Analysis) -> str:
    leader = analysis.strategies[0]
    level = analysis.config.significance
    rows = []
    for other in analysis.strategies[1:]:
        pair = analysis.pair(leader, other)
        needed = "" if pair.higher(level) else f"> {MANY}" if pair.needed > MANY else str(int(pair.needed))
        figures = [f"{pair.difference:+.4f}", f"{pair.a12:.2f}", p_value(pair.p), p_value(pair.adjusted)]
        rows.append([other, *figures, verdict(pair, level), needed])
    return table([f"{leader} against", "mean area", "A12", "p", "p (Holm)", "verdict", "seeds needed"], rows)


def verdict(pair: Pair, level: float) -> str:
    higher = pair.higher(level)
    if higher is None:
        return "cannot be told apart"
    return f"{higher} is better" if pair.agrees() else f"{higher} ranks higher"


def ranking(analysis: Analysis, pictures: Mapping[str, Path]) -> str:
    ranks = analysis.ranks
    if ranks is None:
        return "A ranking over problems needs three strategies and two problems at least; there is none here."
    said = (
        f"Seen as a sample of all problems there could be, these {len(analysis.problems)} tell less: Friedman's test gives χ² ="
        f" {ranks.statistic:.2f}, p {'' if ranks.p < 1e-4 else '= '}{p_value(ranks.p)}"
    )
    if math.isfinite(ranks.critical_difference):
        said += f"; by Nemenyi's test, mean ranks have to differ by {ranks.critical_difference:.2f} to be told apart."
    return "\n\n".join(part for part in (said, picture(pictures, "critical_difference", RANKING)) if part)


def problems(analysis: Analysis) -> str:
    rows = []
    for index, name in enumerate(analysis.problems):
        known = analysis.references[name]
        means = analysis.areas[index].mean(axis=1)
        winner = int(np.argmax(means))
        size = "" if known.configurations is None else str(known.configurations)
        working = "" if known.objectives is None else str(len(known.objectives))
        kind = "recorded" if known.exact else "measured"
        rows.append([name, kind, size, working, f"{math.exp(known.optimum):.2f}×", f"{analysis.strategies[winner]} ({means[winner]:.3f})"])
    return table(["problem", "kind", "configurations", "working", "best known over baseline", "best strategy (area)"], rows)


def reproduction(analysis: Analysis, outcomes: Sequence[Outcome], command: str) -> str:
    import scipy

    from evo import __version__

    spent = sum(outcome.machine_seconds for outcome in outcomes)
    lines = [
        "```console",
        command or "evo compare config.yaml -o .",
        "```",
        "",
        f"`config.yaml` here is the resolved config, `runs.jsonl` every finished run (what is in it is not run again), `curves.csv` every"
        f" evaluation of every run. {len(outcomes)} runs took {spent:.0f} seconds of computing with evo {__version__}, Python"
        f" {platform.python_version()}, NumPy {np.__version__}, SciPy {scipy.__version__}.",
    ]
    if all(known.exact for known in analysis.references.values()):
        lines.append("Every problem is recorded, so the same command gives the same curves, byte for byte.")
    return "\n".join(lines)


# ── pieces ──


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that is aligned as plain text too; the first column is flush left."""
    widths = [max(len(row[index]) for row in [head, *rows]) for index in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if index == 0 else cell.rjust(width) for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    rule = [("-" * width) if index == 0 else "-" * (width - 1) + ":" for index, width in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def picture(pictures: Mapping[str, Path], name: str, caption: str) -> str:
    return f"![{caption.split('.')[0]}]({pictures[name].name})\n\n*{caption}*" if name in pictures else ""


def interval(value: Interval, *, signed: bool = False) -> str:
    form = "+.3f" if signed else ".3f"
    return f"{value.value:{form}} [{value.low:{form}}, {value.high:{form}}]"


def p_value(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def each_problem(count: int) -> str:
    return "the one problem" if count == 1 else f"each of {count} problems"


def times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


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
        text += f" So it is here: {many_evaluations(short)}."
    if scores.partial:
        text += f" The runs are shorter than that on {listed(scores.partial)}, where it ends with them."
    if without:
        text += f" There is none {'; nor '.join(without)}."
    return text


def many_evaluations(short: Sequence[str]) -> str:
    return listed([f"{short[0].replace(' on ', ' evaluations on ', 1)}", *short[1:]])


OVERALL = (
    "Best found so far against evaluations, all runs of all problems together. Lines are interquartile means; bands, where drawn, are their"
    " 95 % bootstrap intervals. Higher and further left is better. Grey lines are the plain strategies that every comparison has."
)
STRATEGIES = "Every strategy had {budget} on {problems}, {seeds}. Best first:"
STANDING_NOTES = (
    "- **area**: speed of the best found so far, as a share of the best known, averaged over the whole budget: how good a run is at"
    " whatever moment it is stopped. Interquartile mean over all runs, with a stratified bootstrap interval (Agarwal et al. 2021).\n"
    "- **found @n**: the same share after n evaluations, mean over runs.\n"
    "- **≥ x %**: share of runs that came so close to the best known speed within the budget.\n"
    "- **random's end after**: evaluations after which the mean of found is what `random` has at the end of its budget, with a bootstrap"
    " interval.\n"
    "- **QD-score**, **coverage**: of the final archive, as shares of what is known to be reachable: how good and how different what was"
    " kept is. The QD-score counts what cells are faster than the baseline by, and is blank where no kernel known is."
)
SCORE = (
    "\n- **score**: the autotuning community's performance score (Willemsen et al. 2024): 0 is an ideal random search, 1 the optimum"
    " at once, over the evaluations that an ideal random search needs to come 95 % of the way from the median to the best. A real random"
    " search may well lie below 0: ranks are averaged before times are looked up, and every run spends its first evaluation on the plain"
    " seed. It is rough where it goes over a handful of evaluations."
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
PROFILE = "Where each strategy is good. Darker is further behind the best strategy on that problem, which is framed."
BY_EVALUATIONS = (
    "Best found so far on each problem, each on a scale of its own. Lines are medians over seeds; bands, where drawn, hold the middle half."
)
BY_SECONDS = (
    "Against time instead: strategies that try configurations which take longer to compile and run fall back here. The axis ends where"
    " half of the runs had ended."
)
ECDF = (
    "The share of all runs that had reached a target after so many evaluations (logarithmic axis). A line that rises early is fast; one"
    " that ends high is reliable."
)
RANKING = "Mean ranks over problems, the best at the left. Strategies under one bar cannot be told apart by these problems."
