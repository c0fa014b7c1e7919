"""Reading a lineage: runs, candidates, events, ancestors, as the objects that were written."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from archive import rows
from archive.candidate import AddStatus, Candidate, Proposal
from archive.evaluation import Environment, Evaluation
from archive.events import Event, EventKind
from archive.kernel import Kernel
from archive.schema import LineageError
from archive.stats import Interval
from archive.transactions import explained

__all__ = ["Ancestor", "Reading", "RunRecord"]

EVALUATION = (
    "v.kernel, v.outcome, v.objective, v.low, v.high, v.speedup, v.diagnostics, v.profile, v.cost, v.artifact, v.environment, v.reused"
)
CANDIDATES = f"""
SELECT c.number, p.operator, p.goal, k.id, k.language, k.source, c.cell, c.status, c.duplicate_of, coalesce(c.notes, p.notes),
       c.evaluation, {EVALUATION}
FROM candidates c JOIN proposals p ON p.run = c.run AND p.number = c.number
LEFT JOIN kernels k ON k.id = c.kernel LEFT JOIN evaluations v ON v.id = c.evaluation
WHERE c.run = ?
"""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What a run is, as stored when it was made."""

    id: int
    created: str
    problem: str
    target: str
    strategy: str
    seed: int
    version: str
    config_json: str


@dataclass(frozen=True, slots=True)
class Ancestor:
    candidate: int
    depth: int
    """Generations back along the shortest way; 0 is the candidate itself."""
    operator: str
    """What made it."""


class Reading:
    """The reading half of `Lineage`; all of it is about the run `run` (the newest in the file unless set)."""

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self.connection = connection
        self.run = int(connection.execute("SELECT coalesce(max(id), 0) FROM runs").fetchone()[0])

    def run_record(self) -> RunRecord:
        """Raises LineageError when no run was started in this file."""
        found = self.connection.execute(
            "SELECT id, created, problem, target, strategy, seed, version, config FROM runs WHERE id = ?", (self.run,)
        ).fetchone()
        if found is None:
            raise LineageError("the database holds no run", path=self.path, remedy="Start a new run in another directory.")
        return RunRecord(*found)

    def candidates(self) -> Iterator[Candidate]:
        """Every finished candidate, in the order of commits."""
        with explained(self.path):
            parents = self._parents()
            kernels: dict[str, Kernel] = {}
            for row in self.connection.execute(CANDIDATES + "ORDER BY c.id", (self.run,)):
                yield self._candidate(row, parents.get(row[0], ()), kernels)

    def candidate(self, number: int) -> Candidate | None:
        """One finished candidate; None when there is none of that number (yet)."""
        row = self.connection.execute(CANDIDATES + "AND c.number = ?", (self.run, number)).fetchone()
        if row is None:
            return None
        parents = self.connection.execute("SELECT parent FROM parents WHERE run = ? AND child = ? ORDER BY position", (self.run, number))
        return self._candidate(row, tuple(parent for (parent,) in parents), {})

    def _candidate(self, row: tuple[Any, ...], parents: tuple[int, ...], kernels: dict[str, Kernel]) -> Candidate:
        number, operator, goal, kernel_id, language, source, cell, status, duplicate_of, notes, evaluation = row[:11]
        kernel = None
        if kernel_id is not None:
            kernel = kernels.get(kernel_id)
            if kernel is None:
                kernel = kernels[kernel_id] = Kernel(language, source)
        return Candidate(
            proposal=Proposal(number, operator, parents, rows.goal_of(goal)),
            kernel=kernel,
            evaluation=None if evaluation is None else rows.evaluation_of(row[11:], self._samples(evaluation)),
            cell=rows.cell_of(cell),
            status=None if status is None else AddStatus(status),
            duplicate_of=duplicate_of,
            notes=rows.load(notes),
        )

    def _samples(self, evaluation: int) -> tuple[Any, ...]:
        return rows.samples_of(
            self.connection.execute("SELECT shape, only_longer, pairs FROM samples WHERE evaluation = ? ORDER BY position", (evaluation,))
        )

    def _parents(self) -> dict[int, tuple[int, ...]]:
        found: defaultdict[int, list[int]] = defaultdict(list)
        query = "SELECT child, parent FROM parents WHERE run = ? ORDER BY child, position"
        for child, parent in self.connection.execute(query, (self.run,)):
            found[child].append(parent)
        return {child: tuple(parents) for child, parents in found.items()}

    def events(self) -> Iterator[Event]:
        """What happened to the archive, in order."""
        with explained(self.path):
            yield from self._events()

    def _events(self) -> Iterator[Event]:
        evaluations: defaultdict[int, dict[int, Evaluation]] = defaultdict(dict)
        for row in self.connection.execute(
            f"SELECT v.id, v.event, v.candidate, {EVALUATION} FROM evaluations v WHERE v.run = ? AND v.event IS NOT NULL ORDER BY v.id",
            (self.run,),
        ):
            evaluations[row[1]][row[2]] = rows.evaluation_of(row[3:], self._samples(row[0]))
        estimates: defaultdict[int, list[tuple[int, Interval | None]]] = defaultdict(list)
        for event, number, value, low, high in self.connection.execute(
            "SELECT event, candidate, objective, low, high FROM estimates WHERE run = ? ORDER BY event, candidate", (self.run,)
        ):
            estimates[event].append((number, None if value is None else Interval(value, low, high)))
        for identity, kind, candidate, cell, status, elite in self.connection.execute(
            "SELECT id, kind, candidate, cell, status, elite FROM archive_events WHERE run = ? ORDER BY id", (self.run,)
        ):
            yield Event(
                EventKind(kind), candidate, rows.cell_of(cell), elite, None if status is None else AddStatus(status),
                evaluations.get(identity), tuple(estimates.get(identity, ())),
            )  # fmt: skip

    def in_flight(self) -> list[tuple[Proposal, Kernel | None]]:
        """Proposals without a candidate, by number, with the kernel where it was drafted already: to be queued again."""
        with explained(self.path):
            parents = self._parents()
            found = self.connection.execute(
                "SELECT p.number, p.operator, p.goal, k.language, k.source FROM proposals p LEFT JOIN kernels k ON k.id = p.kernel "
                "WHERE p.run = ? AND NOT EXISTS (SELECT 1 FROM candidates c WHERE c.run = p.run AND c.number = p.number) ORDER BY p.number",
                (self.run,),
            ).fetchall()
        return [
            (Proposal(number, operator, parents.get(number, ()), rows.goal_of(goal)), None if source is None else Kernel(language, source))
            for number, operator, goal, language, source in found
        ]

    def notes(self, number: int) -> dict[str, Any]:
        """What the operator noted when it drafted proposal `number`; empty before that."""
        found = self.connection.execute("SELECT notes FROM proposals WHERE run = ? AND number = ?", (self.run, number)).fetchone()
        return {} if found is None else rows.load(found[0])

    def ancestry(self, number: int) -> list[Ancestor]:
        """The candidate and all its ancestors, nearest first. (The view `ancestry` says it for all candidates at once.)"""
        found = self.connection.execute(
            "WITH RECURSIVE line(number, depth) AS (SELECT ?, 0 UNION SELECT a.parent, line.depth + 1 FROM line "
            "JOIN parents a ON a.run = ? AND a.child = line.number AND a.parent < a.child) "
            "SELECT line.number, min(line.depth), p.operator FROM line JOIN proposals p ON p.run = ? AND p.number = line.number "
            "GROUP BY line.number ORDER BY 2, 1",
            (number, self.run, self.run),
        )
        return [Ancestor(*row) for row in found]

    def environments(self) -> list[Environment]:
        return [Environment(i, rows.load(facts)) for i, facts in self.connection.execute("SELECT id, facts FROM environments ORDER BY id")]

    def select(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Rows of any query (`select * from best`) as dicts by column name."""
        with explained(self.path):
            cursor = self.connection.execute(sql, tuple(parameters))
            names = [d[0] for d in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    def _latest_seconds(self) -> float:
        """How far the run's clock had come when it was last written."""
        found = self.connection.execute(
            "SELECT max(coalesce((SELECT max(seconds) FROM candidates WHERE run = ?1), 0.0), "
            "coalesce((SELECT max(seconds) FROM proposals WHERE run = ?1), 0.0), "
            "coalesce((SELECT max(seconds) FROM archive_events WHERE run = ?1), 0.0))",
            (self.run,),
        ).fetchone()
        return float(found[0])
