"""What the pictures of how a run went need of it, as plain values: read once, drawn without the database."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archive.candidate import Cell

__all__ = ["Ancestor", "History", "Step", "read_history"]

STEPS = """
SELECT c.number AS number, p.operator AS operator, e.outcome AS outcome, e.speedup AS speedup, c.cell AS cell, c.status AS status,
       e.cost AS cost, e.profile AS profile, c.seconds AS seconds
FROM convergence v JOIN candidates c ON c.run = v.run AND c.number = v.candidate JOIN evaluations e ON e.id = c.evaluation
JOIN proposals p ON p.run = v.run AND p.number = v.candidate WHERE v.run = ? ORDER BY v.evaluation
"""
PROFILE_KEPT = ("bandwidth", "flop_rate", "roofline_share")


@dataclass(frozen=True, slots=True)
class Step:
    """One evaluation."""

    number: int
    """The candidate's."""
    operator: str
    outcome: str
    speedup: float | None
    """None unless ok."""
    cell: Cell | None
    status: str
    """What the archive did with it; empty when it was not offered."""
    cost: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage (and a few counts)."""
    profile: Mapping[str, float] = field(default_factory=dict)
    """Bandwidth (bytes/s), flop_rate (FLOP/s) and roofline_share, where they were measured."""
    seconds: float = 0.0
    """Of the run's clock."""


@dataclass(frozen=True, slots=True)
class Ancestor:
    """A candidate that the winner comes from, or the winner."""

    number: int
    operator: str
    parents: tuple[int, ...]
    speedup: float | None
    changes: tuple[str, ...] = ()
    """`NAME 4 → 8` for every tunable that differs from the first parent, or `source` when more than values does."""


@dataclass(frozen=True, slots=True)
class History:
    """One run, as it went."""

    name: str
    problem: str
    target: str
    baseline: str
    steps: tuple[Step, ...]
    possible_cells: int = 0
    elites: tuple[int, ...] = ()
    """Numbers of the candidates that hold a cell now."""
    winner: int | None = None
    ancestry: tuple[Ancestor, ...] = ()
    """The winner and all it comes from, oldest first."""


def read_history(run: Path) -> History:
    """The history of a run, finished or not. Raises what `evo.reading.open_run` raises."""
    from archive.rows import cell_of
    from evo.reading import RunReader, open_run

    def steps(reader: RunReader) -> tuple[Step, ...]:
        found = []
        for row in reader.lineage.select(STEPS, (reader.record.id,)):
            profile = json.loads(row["profile"] or "{}")
            kept = {name: float(profile[name]) for name in PROFILE_KEPT if isinstance(profile.get(name), (int, float))}
            ok = row["outcome"] == "ok"
            found.append(
                Step(
                    row["number"], row["operator"], row["outcome"], row["speedup"] if ok else None, cell_of(row["cell"]),
                    row["status"] or "",
                    json.loads(row["cost"] or "{}"), kept, row["seconds"],
                )
            )  # fmt: skip
        return tuple(found)

    with open_run(run) as reader:
        facts = reader.facts()
        holders = reader.lineage.select("SELECT candidate FROM elites WHERE run = ? ORDER BY candidate", (reader.record.id,))
        winner = None if facts.best is None else facts.best.candidate
        return History(
            name=facts.name,
            problem=Path(facts.problem).name,
            target=facts.target,
            baseline="the median" if facts.target == "tabular" else "NumPy",
            steps=steps(reader),
            possible_cells=math.prod(len(labels) for _, labels in reader.axes()),
            elites=tuple(row["candidate"] for row in holders),
            winner=winner,
            ancestry=() if winner is None else ancestry(reader, winner),
        )


def ancestry(reader: object, winner: int) -> tuple[Ancestor, ...]:
    """The winner's ancestors and itself, in order of number."""
    from evo.reading import RunReader

    assert isinstance(reader, RunReader)
    numbers = sorted({winner, *(ancestor.candidate for ancestor in reader.lineage.ancestry(winner))})
    candidates = {number: reader.candidate(number) for number in numbers}
    found = []
    for number, candidate in candidates.items():
        parents = tuple(parent for parent in candidate.proposal.parents if parent in candidates)
        changes: tuple[str, ...] = ()
        first = candidates[parents[0]].kernel if parents else None
        if first is not None and candidate.kernel is not None:
            if first.family != candidate.kernel.family:
                changes = ("source",)
            else:
                before, after = first.values, candidate.kernel.values
                changes = tuple(f"{name} {before[name]} → {after[name]}" for name in after if before[name] != after[name])
        speedup = None if candidate.evaluation is None else candidate.evaluation.speedup
        found.append(Ancestor(number, candidate.proposal.operator, parents, speedup, changes))
    return tuple(found)
