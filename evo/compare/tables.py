"""The tables of a comparison's report."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from evo.compare.analysis import PLAIN, Analysis, Standing
from evo.compare.pairs import Pair
from evo.compare.statistics import Interval
from evo.compare.words import MANY, amount, counts, percent, quantity

__all__ = ["p_value", "problems", "standings", "versus_leader"]


def standings(analysis: Analysis) -> str:
    first = analysis.standings[0]
    head = ["strategy", "area (IQM, 95 %)", *(f"found @{at(checkpoint, analysis.axis)}" for checkpoint in analysis.checkpoints)]
    head += [] if first.score is None else ["score (95 %)"]
    head += [f"≥ {100 * target:g} %" for target in analysis.config.targets]
    matched = next((each.matched for each in analysis.standings if each.matched is not None), None)
    head += [] if matched is None else [f"{PLAIN}'s end after" + ("" if analysis.axis == "evaluations" else f" ({analysis.axis})")]
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


def at(checkpoint: float, axis: str) -> str:
    """10 (evaluations), 7.5 s, 0.25 dollars."""
    if axis == "dollars":
        return quantity(checkpoint, axis)
    return amount(checkpoint) + (" s" if axis == "seconds" else "")


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


def problems(analysis: Analysis) -> str:
    rows = []
    for index, name in enumerate(analysis.problems):
        known = analysis.references[name]
        means = analysis.areas[index].mean(axis=1)
        winner = int(np.argmax(means))
        size = "" if known.configurations is None else str(known.configurations)
        working = "" if known.objectives is None else str(len(known.objectives))
        kind = "recorded" if known.exact else "measured"
        baseline = "its median" if known.exact else "the problem's baseline"
        best = f"{math.exp(known.optimum):.2f}× {baseline}"
        rows.append([name, kind, size, working, best, f"{analysis.strategies[winner]} ({means[winner]:.3f})"])
    return table(["problem", "kind", "configurations", "working", "best known speed", "highest mean area"], rows)


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


def interval(value: Interval, *, signed: bool = False) -> str:
    form = "+.3f" if signed else ".3f"
    return f"{value.value:{form}} [{value.low:{form}}, {value.high:{form}}]"


def p_value(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"{p:.4f}"
