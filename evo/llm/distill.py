"""`evo distill`: the lessons of a run as notes that later runs retrieve: what gained, what failed and why, on which bottleneck.

The notes are made from the lineage alone: the same run gives the same notes, and no model is needed.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from archive.candidate import Candidate
from archive.lineage import Lineage
from evo.errors import UserError
from operators.llm.telling import bottleneck

__all__ = ["Lesson", "distil", "write_notes"]

MOST = 8
"""Lessons of a kind."""
LONGEST_DIFF = 24
"""Changed lines shown of an edit."""
LEAST_GAIN = math.log(1.03)
"""A smaller improvement may be noise."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """One edit and what came of it."""

    candidate: int
    parent: int
    gain: float
    """ln of the speedup over the parent; 0 for a failure."""
    outcome: str
    finding: str
    """What the evaluator said of a failure."""
    bottleneck: str
    """The parent's."""
    change: str
    """Tunables that changed, or the changed lines."""
    idea: str


def distil(lineage: Lineage) -> list[Lesson]:
    """Every evaluated candidate with a working parent, as a lesson, in the order of commits."""
    known: dict[int, Candidate] = {}
    lessons = []
    for candidate in lineage.candidates():
        known[candidate.number] = candidate
        parent = known.get(candidate.proposal.parents[0]) if candidate.proposal.parents else None
        if parent is None or parent.objective is None or candidate.evaluation is None or candidate.kernel is None or parent.kernel is None:
            continue
        evaluation = candidate.evaluation
        lessons.append(
            Lesson(
                candidate.number,
                parent.number,
                0.0 if evaluation.objective is None else evaluation.objective - parent.objective,
                evaluation.outcome.value,
                evaluation.diagnostics[0].message if evaluation.diagnostics else "",
                bottleneck(parent.evaluation.profile if parent.evaluation else {}),
                _change(parent, candidate),
                str(candidate.notes.get("idea", "")),
            )
        )
    return lessons


def write_notes(lineage: Lineage, folder: Path) -> list[Path]:
    """Writes the notes of a run below `folder`, one file; returns what was written (nothing when nothing was learned).

    Raises:
        UserError: the folder cannot be written.
    """
    lessons, record = distil(lineage), lineage.run_record()
    gained = sorted((one for one in lessons if one.gain >= LEAST_GAIN), key=lambda one: (-one.gain, one.candidate))[:MOST]
    failed = [one for one in lessons if one.outcome != "ok"]
    if not gained and not failed:
        return []
    problem = Path(record.problem).stem
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", f"{problem}-{record.target}-{record.created[:19]}")
    path = folder / f"{name}.md"
    bottlenecks = sorted({one.bottleneck.split(":")[0] for one in gained if one.bottleneck})
    head = [
        "---", f"title: {problem} on {record.target}, learned from a run of {record.created[:10]}", f"target: [{record.target}]",
        f"topic: {problem}", f"bottleneck: [{', '.join(_quoted(text) for text in bottlenecks)}]",
        f"diagnostics: [{', '.join(sorted({one.outcome for one in failed}))}]", "---",
    ]  # fmt: skip
    text = "\n".join([*head, *_gains(gained), *_tunables(lessons), *_failures(failed)]) + "\n"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError("The notes cannot be written.", file=path, found=error.strerror, remedy="Choose another folder with -o.") from error
    return [path]


def _gains(lessons: list[Lesson]) -> list[str]:
    if not lessons:
        return []
    lines = ["## What gained", ""]
    for one in lessons:
        where = f" (the parent was limited by {one.bottleneck})" if one.bottleneck else ""
        lines.append(f"- {math.exp(one.gain):.2f}x, candidate {one.candidate} from {one.parent}{where}. {one.idea}".rstrip())
        lines += [f"      {line}" for line in one.change.splitlines()]
    return [*lines, ""]


def _tunables(lessons: list[Lesson]) -> list[str]:
    """Mean gain of single-tunable changes, which say something about that tunable alone."""
    gains: defaultdict[str, list[float]] = defaultdict(list)
    for one in lessons:
        if one.outcome == "ok" and one.change.startswith("tunables: ") and ", " not in one.change:
            gains[one.change.removeprefix("tunables: ")].append(one.gain)
    ranked = sorted(((sum(found) / len(found), len(found), change) for change, found in gains.items() if len(found) > 1), reverse=True)
    notable = [row for row in ranked if abs(row[0]) >= LEAST_GAIN]
    if not notable:
        return []
    shown = notable[:MOST] + [row for row in notable[-MOST:] if row[0] < 0 and row not in notable[:MOST]]
    return ["## Tunables", "", *(f"- {change}: {math.exp(mean):.2f}x on average of {count}" for mean, count, change in shown), ""]


def _failures(lessons: list[Lesson]) -> list[str]:
    if not lessons:
        return []
    counts = Counter(one.outcome for one in lessons)
    lines = ["## What failed", ""]
    for outcome, count in counts.most_common():
        lines.append(f"- {outcome.replace('_', ' ')}: {count} times, for example:")
        said: set[str] = set()
        for one in lessons:
            first = " ".join(one.finding.split())[:220]
            if one.outcome == outcome and first not in said and len(said) < 3:
                said.add(first)
                lines.append(f"    - {first} {one.idea}".rstrip())
    return [*lines, ""]


def _change(parent: Candidate, child: Candidate) -> str:
    changed = child.notes.get("changed")
    if isinstance(changed, Mapping) and changed:
        return "tunables: " + ", ".join(f"{name} {old} -> {new}" for name, (old, new) in changed.items())
    assert parent.kernel is not None and child.kernel is not None
    lines = [line for line in parent.kernel.diff(child.kernel).splitlines()[2:] if line[:1] in "+-" and line[1:].strip()]
    return "\n".join(lines if len(lines) <= LONGEST_DIFF else [*lines[:LONGEST_DIFF], "…"])


def _quoted(text: str) -> str:
    return '"' + text.replace('"', "'") + '"'
