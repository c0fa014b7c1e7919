"""One candidate on the screen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from archive.stats import log_speedup, typical_seconds
from evo.cli.output import facts, say, section, source, table
from evo.cli.reporting import certificate_facts, print_certificate_shapes

if TYPE_CHECKING:
    from archive.candidate import Candidate, Cell
    from archive.evaluation import Evaluation, Samples
    from archive.reading import Ancestor
    from fitness.protocol import Certificate

__all__ = ["candidate_json", "print_candidate"]

Axes = Sequence[tuple[str, tuple[str, ...]]]

MEANT = {"roofline_share": " of the fastest way to move the bytes or of FMA peak, whichever takes longer", "error": " of the tolerance"}
"""What is said beside a number of the profile."""


def print_candidate(
    candidate: Candidate,
    parents: Sequence[Candidate],
    ancestors: Sequence[Ancestor],
    axes: Axes = (),
    certificate: Certificate | None = None,
) -> None:
    """Facts, certificate, diagnostics, timings, profile, ancestry, then the difference to the first parent and the source.

    Args:
        axes: name and bin labels of every descriptor, for saying which cell it is.
        certificate: the newest of its kernel, if it has one.
    """
    facts(heading(candidate, axes))
    if certificate is not None:
        section("certificate")
        facts(certificate_facts(certificate))
        if certificate.shapes:
            print_certificate_shapes(certificate)
    evaluation = candidate.evaluation
    if evaluation is not None:
        print_evaluation(evaluation)
    if len(ancestors) > 1:
        section("ancestry")
        rows = [(str(ancestor.depth), str(ancestor.candidate), ancestor.operator) for ancestor in ancestors]
        table(("depth", "candidate", "made by"), rows, right=("depth", "candidate"))
    if candidate.kernel is None:
        return
    for parent in parents[:1]:
        if parent.kernel is not None:
            section(f"difference to parent {parent.number}")
            source(parent.kernel.diff(candidate.kernel) or "none\n", "diff")
    section("source")
    source(candidate.kernel.source, candidate.kernel.language)


def print_evaluation(evaluation: Evaluation) -> None:
    if evaluation.diagnostics:
        section("diagnostics")
        for finding in evaluation.diagnostics:
            say(f"{finding.stage}: {finding.reason}")
            for line in finding.message.splitlines():
                say(f"    {line}")
    if evaluation.samples:
        section("timings")
        print_samples(evaluation.samples)
    if evaluation.profile:
        section("profile")
        facts({name: number(value) + MEANT.get(name, "") for name, value in sorted(evaluation.profile.items())})


def outcome(candidate: Candidate) -> str:
    if candidate.evaluation is not None:
        repeated = candidate.evaluation.reused
        return candidate.evaluation.outcome.value + (f" (the same program as kernel {repeated})" if repeated else "")
    if candidate.duplicate_of is not None:
        return f"duplicate of candidate {candidate.duplicate_of}"
    return str(candidate.notes.get("state", "no kernel"))


def heading(candidate: Candidate, axes: Axes) -> dict[str, str]:
    proposal, evaluation = candidate.proposal, candidate.evaluation
    rows = {"candidate": str(candidate.number), "outcome": outcome(candidate), "made by": proposal.operator}
    if proposal.parents:
        rows["made by"] += " from " + ", ".join(map(str, proposal.parents))
    if proposal.goal is not None:
        rows["goal"] = str(proposal.goal)
    if candidate.notes:
        rows["notes"] = ", ".join(note(name, value) for name, value in candidate.notes.items())
    if evaluation is not None and evaluation.speedup is not None:
        low, high = evaluation.interval or (evaluation.objective or 0.0,) * 2
        rows["speedup"] = f"{evaluation.speedup:.2f}× over the baseline (95 %: {math.exp(low):.2f}× to {math.exp(high):.2f}×)"
    if candidate.status is not None:
        rows["archive"] = candidate.status.value + ("" if candidate.cell is None else f", cell {cell_name(candidate.cell, axes)}")
    if candidate.kernel is not None:
        rows["kernel"] = f"{candidate.kernel.id} ({candidate.kernel.language})"
        if candidate.kernel.values:
            rows["tunables"] = ", ".join(f"{name} {value}" for name, value in candidate.kernel.values.items())
    if evaluation is not None and evaluation.cost:
        rows["cost"] = ", ".join(spent(stage, amount) for stage, amount in evaluation.cost.items())
    return rows


def cell_name(cell: Cell, axes: Axes) -> str:
    """`vector width 512, memory streaming`; the bare bins where the axes are not known."""
    if len(axes) != len(cell):
        return str(cell)
    return ", ".join(f"{name} {labels[place] if place < len(labels) else place}" for place, (name, labels) in zip(cell, axes, strict=True))


def note(name: str, value: object) -> str:
    """A note of the operator; changed tunables as `NAME 1 → 2`."""
    if name == "changed" and isinstance(value, Mapping):
        pairs = {key: change for key, change in value.items() if isinstance(change, (list, tuple)) and len(change) == 2}
        if len(pairs) == len(value):
            return "changed " + ", ".join(f"{key} {before} → {after}" for key, (before, after) in pairs.items())
    return f"{name} {value}"


def print_samples(samples: Sequence[Samples]) -> None:
    """Per shape: how often, what stands for the repetitions (`archive.stats`), how far they spread, the speedup."""
    rows = []
    for sample in samples:
        mine, base = sample.seconds * 1e3, sample.baseline * 1e3
        spread = f"{mine.min():.4g} to {mine.max():.4g}"
        own, theirs = (typical_seconds(times, only_longer=sample.only_longer) for times in (mine, base))
        ratio = f"{math.exp(log_speedup(sample)):.2f}×"
        rows.append((sample.shape, str(len(mine)), f"{own:.4g}", spread, f"{theirs:.4g}", ratio))
    columns = ("shape", "n", "ms", "range ms", "baseline ms", "speedup")
    table(columns, rows, right=columns[1:])


def spent(stage: str, amount: float) -> str:
    """Costs are seconds, but for what is counted and for bytes."""
    if stage in ("copied", "checked"):
        return f"{stage} {amount / 1e6:.1f} MB"
    return f"{stage} {amount:.0f}" if stage in ("calls", "retries", "rounds", "preempted") else f"{stage} {1e3 * amount:.1f} ms"


def number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def candidate_json(
    candidate: Candidate, parents: Sequence[Candidate], ancestors: Sequence[Ancestor], certificate: Certificate | None = None
) -> dict[str, object]:
    """JSON-able: every fact, the samples as lists of seconds, the difference to each parent, the certificate."""
    kernel, evaluation = candidate.kernel, candidate.evaluation
    plain: dict[str, object] = {
        "number": candidate.number,
        "outcome": "" if evaluation is None else evaluation.outcome.value,
        "operator": candidate.proposal.operator,
        "parents": candidate.proposal.parents,
        "goal": None if candidate.proposal.goal is None else asdict(candidate.proposal.goal),
        "duplicate_of": candidate.duplicate_of,
        "status": None if candidate.status is None else candidate.status.value,
        "cell": candidate.cell,
        "notes": dict(candidate.notes),
        "ancestry": [asdict(ancestor) for ancestor in ancestors],
        "certificate": None if certificate is None else asdict(certificate),
    }
    if kernel is not None:
        changed = {str(parent.number): parent.kernel.diff(kernel) for parent in parents if parent.kernel is not None}
        plain |= {"kernel": kernel.id, "language": kernel.language, "tunables": kernel.values, "source": kernel.source, "diffs": changed}
    if evaluation is not None:
        plain |= {
            "speedup": evaluation.speedup,
            "interval": None if evaluation.interval is None else [math.exp(limit) for limit in evaluation.interval],
            "diagnostics": [asdict(finding) for finding in evaluation.diagnostics],
            "samples": [{"shape": s.shape, "seconds": s.seconds.tolist(), "baseline": s.baseline.tolist()} for s in evaluation.samples],
            "profile": dict(evaluation.profile),
            "cost": dict(evaluation.cost),
            "artifact": evaluation.artifact,
            "environment": evaluation.environment,
            "reused": evaluation.reused,
        }
    return plain
