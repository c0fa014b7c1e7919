"""Candidates in words: what a prompt says of a kernel, of its relatives, and of what was tried."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from archive.candidate import Candidate
from archive.descriptors import Descriptors
from archive.evaluation import Diagnostic, Evaluation, Samples
from archive.stats import log_speedup, typical_seconds
from archive.tunables import Value
from operators.base import View

__all__ = ["Attempt", "Shape", "Told", "bottleneck", "inspirations", "strengths", "tell", "tried"]

LONGEST_MESSAGE = 1500
LONGEST_DIFF = 60
"""Lines."""
LOOKED_AT = 2000
"""Candidates that are searched, newest first, for what was tried from a kernel."""
UNTOLD = {
    "seconds", "error", "canary_drift", "roofline_share_best", "roofline_share", "bandwidth", "flop_rate", "code_bytes", "indirect_jumps",
}  # fmt: skip
"""Profile fields that are said otherwise, or say nothing to the reader."""
NEAR_ROOFLINE = 0.8


@dataclass(frozen=True, slots=True)
class Shape:
    """One timed shape."""

    label: str
    time: str
    speedup: float


@dataclass(frozen=True, slots=True)
class Told:
    """A candidate as the templates see it."""

    number: int
    source: str
    outcome: str
    speedup: float | None
    roofline_share: float | None
    shapes: tuple[Shape, ...]
    profile: Mapping[str, Value]
    cell: Mapping[str, str]
    bottleneck: str
    diagnostics: tuple[Diagnostic, ...]
    ceiling: str = ""
    """The measured roofline, as far as the profile tells it."""
    changes: str = ""
    """A diff to another kernel, where one is shown."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """Something that was tried from the parent."""

    number: int
    operator: str
    result: str
    change: str


def tell(candidate: Candidate, view: View, changes: str = "") -> Told:
    """A finished candidate that has a kernel."""
    kernel, evaluation = candidate.kernel, candidate.evaluation
    assert kernel is not None
    profile = {} if evaluation is None else evaluation.profile
    share = profile.get("roofline_share")
    descriptors = getattr(view.archive, "descriptors", None)
    named = isinstance(descriptors, Descriptors) and candidate.cell is not None
    return Told(
        number=candidate.number,
        source=kernel.source.rstrip("\n"),
        outcome="not evaluated" if evaluation is None else evaluation.outcome.value.replace("_", " "),
        speedup=None if evaluation is None else evaluation.speedup,
        roofline_share=float(share) if isinstance(share, (int, float)) else None,
        shapes=() if evaluation is None else _shapes(evaluation),
        profile={name: _short(value) for name, value in profile.items() if name not in UNTOLD and not name.startswith("tunable.")},
        cell=descriptors.label(candidate.cell) if named and isinstance(descriptors, Descriptors) and candidate.cell is not None else {},
        bottleneck=bottleneck(profile),
        diagnostics=() if evaluation is None else tuple(_shortened(one) for one in evaluation.diagnostics),
        ceiling=_ceiling(profile),
        changes=changes,
    )


def bottleneck(profile: Mapping[str, Value]) -> str:
    """What seems to limit a kernel, from its profile; empty when nothing is known. Also what knowledge is looked up by."""
    share = profile.get("roofline_share")
    if not isinstance(share, (int, float)):
        return ""
    if share >= NEAR_ROOFLINE:
        return "memory bandwidth: it is close to the roofline; only fewer bytes moved help"
    if profile.get("library_calls"):
        return f"calls of library functions ({profile['library_calls']}) in the inner loops, which keep them from being vectorised"
    if profile.get("gathers"):
        return "gathers: vector loads from scattered addresses"
    spills = profile.get("spills")
    if isinstance(spills, (int, float)) and spills > 8:
        return f"register spills ({spills})"
    width = profile.get("vector_bits")
    if isinstance(width, (int, float)) and width < 256:
        return "scalar or narrow arithmetic: the loops are not vectorised"
    if share >= 0.5:
        return "memory latency and stores: streaming stores, prefetching and fewer passes may help"
    return "latency: dependent operations, too few independent accumulators, or too many passes over the data"


def _ceiling(profile: Mapping[str, Value]) -> str:
    bandwidth, rate, share = profile.get("bandwidth"), profile.get("flop_rate"), profile.get("roofline_share")
    if not isinstance(bandwidth, (int, float)) or not isinstance(share, (int, float)) or share <= 0:
        return ""
    flops = f" and {rate / 1e9:.3g} GFLOP/s" if isinstance(rate, (int, float)) and rate > 0 else ""
    return f"it moves {bandwidth / 1e9:.3g} GB/s{flops}; at the measured roofline it would move {bandwidth / share / 1e9:.3g} GB/s"


def strengths(one: Candidate, other: Candidate) -> tuple[str, str]:
    """What each of two is better at: shapes where it is faster, properties it has and the other lacks."""
    return _strength(one, other), _strength(other, one)


def _strength(one: Candidate, other: Candidate) -> str:
    if one.evaluation is None or other.evaluation is None:
        return ""
    theirs = {samples.shape: _seconds(samples) for samples in other.evaluation.samples}
    mine = {samples.shape: _seconds(samples) for samples in one.evaluation.samples}
    faster = [
        f"{shape} ({theirs[shape] / mine[shape]:.2f}x the other)"
        for shape in mine
        if shape in theirs and mine[shape] < 0.98 * theirs[shape]
    ]
    known = other.evaluation.profile
    different = [
        f"{name} {value}"
        for name, value in one.evaluation.profile.items()
        if name in ("vector_bits", "memory_pattern") and known.get(name) != value
    ]
    return "; ".join((["shapes " + ", ".join(faster)] if faster else []) + (["having " + ", ".join(different)] if different else []))


def inspirations(parent: Candidate, view: View, count: int) -> list[Told]:
    """The best elites of other cells, with what distinguishes each from the parent's text where that is short."""
    others = sorted(view.archive.elites(), key=lambda elite: (-elite.objective, elite.number))
    chosen = [elite.candidate for elite in others if elite.number != parent.number and elite.candidate.cell != parent.cell][:count]
    return [tell(candidate, view, _changes(parent, candidate)) for candidate in chosen]


def _changes(parent: Candidate, other: Candidate) -> str:
    assert parent.kernel is not None and other.kernel is not None
    lines = parent.kernel.diff(other.kernel).splitlines()[2:]
    return "\n".join(lines if len(lines) <= LONGEST_DIFF else [*lines[:LONGEST_DIFF], "…"])


def tried(parent: Candidate, view: View, count: int) -> list[Attempt]:
    """The newest children of a candidate, what they changed and what came of it."""
    found: list[Attempt] = []
    candidates = view.candidates
    for position in range(len(candidates) - 1, max(-1, len(candidates) - 1 - LOOKED_AT), -1):
        child = candidates[position]
        if child.proposal.parents[:1] == (parent.number,) and child.evaluation is not None:
            found.append(Attempt(child.number, child.proposal.operator, _result(child, parent), _change(child)))
            if len(found) == count:
                break
    return found


def _result(child: Candidate, parent: Candidate) -> str:
    evaluation = child.evaluation
    assert evaluation is not None
    if evaluation.objective is None:
        first = evaluation.diagnostics[0].message if evaluation.diagnostics else ""
        return f"{evaluation.outcome.value.replace('_', ' ')}{': ' + first[:200] if first else ''}"
    if parent.objective is None:
        return f"{evaluation.speedup:.3g}x the baseline"
    return f"{math.exp(evaluation.objective - parent.objective):.3g}x as fast as this kernel"


def _change(child: Candidate) -> str:
    changed = child.notes.get("changed")
    if isinstance(changed, Mapping) and changed:
        return ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changed.items())
    said = child.notes.get("idea")
    return str(said) if said else ""


def _shapes(evaluation: Evaluation) -> tuple[Shape, ...]:
    found = []
    for samples in evaluation.samples:
        found.append(Shape(samples.shape, _time(_seconds(samples)), math.exp(log_speedup(samples))))
    return tuple(found)


def _seconds(samples: Samples) -> float:
    return typical_seconds(samples.seconds, only_longer=samples.only_longer)


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} us"


def _short(value: Value) -> Value:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _shortened(finding: Diagnostic) -> Diagnostic:
    message = finding.message
    if len(message) > LONGEST_MESSAGE:
        message = message[:LONGEST_MESSAGE] + " …"
    return Diagnostic(finding.stage, finding.reason, message)
