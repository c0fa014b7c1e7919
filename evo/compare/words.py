"""What a comparison says in words: who leads, who was shown to be better than whom, and what it would take to know the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence

from evo.compare.analysis import PLAIN, Analysis
from evo.compare.config import ALWAYS
from evo.compare.pairs import Pair
from evo.compare.statistics import Interval

__all__ = ["MANY", "amount", "budget", "conclusion", "counts", "listed", "many", "percent", "quantity"]

FEW_SEEDS = 5
MANY = 10_000
"""Seeds beyond which a difference is called too small."""


def conclusion(analysis: Analysis) -> str:
    """The first paragraph: who leads, by how much, who cannot be told from it, and what it would take."""
    leader, *others = analysis.strategies
    best = analysis.standings[0]
    level = analysis.config.significance
    pairs = [analysis.pair(leader, other) for other in others]
    behind = [pair for pair in pairs if pair.higher(level) == leader]
    ahead = [pair for pair in pairs if pair.higher(level) == pair.other]
    unclear = [pair for pair in pairs if pair.higher(level) is None]
    text = (
        f"On {many(len(analysis.problems), 'problem')}, with {many(analysis.seeds, 'seed')} each and {budget(analysis)} a run,"
        f" {headline(leader, others, bool(behind) and not ahead)}: averaged over its budget, the best kernel it had found so far ran at"
        f" {percent(best.area.value)} of the best known speed (95 % interval {percent(best.area.low)} to {percent(best.area.high)};"
        f" interquartile mean over runs)."
    )
    if best.matched is not None and math.isfinite(best.matched.value):
        text += f" It needs {counts(best.matched)} {analysis.axis} for what {PLAIN} has at the end, on average."
    better = [pair.other for pair in behind if pair.agrees()]
    higher = [pair.other for pair in behind if not pair.agrees()]
    if better:
        text += f" It was better than {listed(better)}, {beyond(level)}."
    if higher:
        text += f" It ranks higher than {listed(higher)}, {beyond(level)}, though not by the mean: a few of its runs are far behind."
    if ahead:
        text += f" Yet {listed([pair.other for pair in ahead])} {ranks(ahead)} higher, {beyond(level)}: most runs there beat most of its."
    if unclear:
        text += f" These data **cannot tell it from {listed([pair.other for pair in unclear])}**{wanting(unclear)}"
    text += against_plain(analysis)
    if analysis.seeds < FEW_SEEDS:
        text += f" With {many(analysis.seeds, 'seed')} no conclusion is safe; ten to twenty are usual."
    return text


def headline(leader: str, others: Sequence[str], shown: bool) -> str:
    if not others:
        return f"{leader} ran alone"
    return f"**{leader}** was best" if shown else f"nobody was shown to be best. {leader} was ahead"


def beyond(level: float) -> str:
    return f"beyond chance (p < {level:g} after Holm's correction over all pairs)"


def wanting(unclear: Sequence[Pair]) -> str:
    """What it would take to tell two strategies apart."""
    hopeful = [pair for pair in unclear if pair.needed <= MANY]
    hopeless = [pair.other for pair in unclear if pair.needed > MANY]
    parts = []
    if hopeful:
        seeds = listed([f"{int(pair.needed)} for {pair.other}" for pair in hopeful])
        parts.append(f"if the differences are as large as they look here, so many seeds each would: {seeds}")
    if hopeless:
        parts.append(f"what separates it from {listed(hopeless)} is too small for {MANY} seeds each")
    return ": " + "; ".join(parts) + "."


def against_plain(analysis: Analysis) -> str:
    """Which strategies did not beat the plain ones that are always in, by what is known of them."""
    plain = [entry.shown for entry in analysis.config.contestants if entry.name in ALWAYS]
    level = analysis.config.significance
    unshown: dict[tuple[str, ...], list[str]] = {}
    beaten: dict[tuple[str, ...], list[str]] = {}
    tested = [name for name in analysis.strategies if name not in plain]
    if not plain or not tested:
        return ""
    for name in tested:
        pairs = [analysis.pair(name, other) for other in plain]
        if missed := tuple(pair.other for pair in pairs if pair.higher(level) is None):
            unshown.setdefault(missed, []).append(name)
        if lost := tuple(pair.other for pair in pairs if pair.higher(level) == pair.other):
            beaten.setdefault(lost, []).append(name)
    if not unshown and not beaten:
        return f" Every strategy beat {listed(plain)}." if len(tested) > 1 else ""
    parts = [f"{listed(names)} {was(names)} not shown to beat {listed(missed)}" for missed, names in unshown.items()]
    parts += [f"{listed(names)} ranked below {listed(missed)}" for missed, names in beaten.items()]
    return f" Not every strategy is worth its name here: {'; '.join(parts)}."


def budget(analysis: Analysis) -> str:
    given = analysis.config.budget
    limits = (("evaluations", given.evaluations), ("seconds", given.seconds), ("dollars", given.dollars))
    parts = [quantity(limit, axis) for axis, limit in limits if limit is not None]
    return " or ".join(parts) + (" (whichever comes first)" if len(parts) > 1 else "")


# ── pieces ──


def counts(value: Interval | None) -> str:
    if value is None:
        return ""
    first, low, high = ("never" if math.isinf(each) else amount(each) for each in (value.value, value.low, value.high))
    return f"{first} [{low}, {high}]"


def amount(value: float) -> str:
    """Whole when it is large or whole, else three digits."""
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def was(names: Sequence[str]) -> str:
    return "was" if len(names) == 1 else "were"


def ranks(pairs: Sequence[Pair]) -> str:
    return "ranks" if len(pairs) == 1 else "rank"


def many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def quantity(value: float, axis: str) -> str:
    """With its unit: 1 dollar, 0.5 dollars, 15 seconds, 100 evaluations."""
    return f"{value:g} {axis.removesuffix('s') if value == 1 else axis}" if value < 1e5 else f"{value:.0f} {axis}"
