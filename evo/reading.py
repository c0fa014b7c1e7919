"""A run as its lineage tells it, read-only: what status, show, ls and the pictures stand on.

Reading never migrates, locks or writes anything, and works beside a live run. The questions are the lineage's own views;
nothing is derived here that a view already answers.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from archive.candidate import Candidate, Cell
from archive.lineage import Lineage
from archive.rows import cell_of
from evo.errors import UserError
from evo.facts import Best, Estimated, RunFacts

__all__ = ["DATABASE", "RunReader", "is_alive", "open_run"]

DATABASE = "run.db"


@contextmanager
def open_run(folder: Path) -> Iterator[RunReader]:
    """The run in `folder`, closed at the end.

    Raises:
        UserError: there is no database in it.
        archive.schema.LineageError: it cannot be read; `SchemaError` when it is no lineage, or not of this schema.
    """
    path = folder / DATABASE
    if not path.is_file():
        raise UserError(
            "This is not a run.", file=folder, found=f"no {DATABASE} in it", expected="a run's folder", remedy="evo ls lists runs."
        )
    with closing(Lineage.open(path, readonly=True)) as lineage:
        yield RunReader(lineage, folder)


def is_alive(folder: Path) -> bool:
    """Whether a live process holds the run's writer lock."""
    from archive.lock import HELD

    lock = folder / f"{DATABASE}.lock"
    if os.path.realpath(lock) in HELD:
        return True  # by this very process; opening and closing the file here would drop its lock
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


class RunReader:
    """Answers about the run in an open lineage."""

    def __init__(self, lineage: Lineage, folder: Path) -> None:
        """Raises LineageError when no run was started in it."""
        self.lineage = lineage
        self.folder = folder
        self.record = lineage.run_record()
        self.config: Mapping[str, Any] = json.loads(self.record.config_json)

    def _select(self, sql: str, *parameters: object) -> list[dict[str, Any]]:
        return self.lineage.select(sql, (self.record.id, *parameters))

    # ── the run ──

    def facts(self) -> RunFacts:
        # as the view `convergence` counts, without its running maxima, which take most of the time in a large database
        outcomes = self._select(
            "SELECT v.outcome AS outcome, count(*) AS n FROM candidates c JOIN evaluations v ON v.id = c.evaluation"
            " WHERE c.run = ? AND v.outcome <> 'infeasible' AND v.reused = '' GROUP BY v.outcome ORDER BY n DESC, v.outcome"
        )
        (proposed,) = self._select("SELECT count(*) AS n FROM proposals WHERE run = ?")
        (finished,) = self._select("SELECT count(*) AS n, max(seconds) AS seconds FROM candidates WHERE run = ?")
        (again,) = self._select("SELECT count(*) AS n FROM archive_events WHERE run = ? AND kind = 'remeasure'")
        (sessions,) = self._select("SELECT sum(seconds) AS seconds FROM sessions WHERE run = ?")
        return RunFacts(
            name=self.folder.resolve().name,
            path=self.folder,
            problem=self.record.problem,
            target=self.record.target,
            strategy=self.record.strategy,
            created=self.record.created,
            state=self.state(),
            seconds=max(sessions["seconds"] or 0.0, finished["seconds"] or 0.0),
            proposals=proposed["n"],
            outcomes={row["outcome"]: row["n"] for row in outcomes},
            remeasured=again["n"],
            in_flight=proposed["n"] - finished["n"],
            cells=len(self.elites()),
            best=self.best(),
        )

    def state(self) -> str:
        """See `RunFacts.state`."""
        if is_alive(self.folder):
            return "running"
        last = self._select("SELECT stopped_by FROM sessions WHERE run = ? ORDER BY id DESC LIMIT 1")
        return last[0]["stopped_by"] or "killed" if last else "killed"

    def best(self) -> Best | None:
        rows = self._select("SELECT * FROM best WHERE run = ?")
        if not rows:
            return None
        row = rows[0]
        certified = row["certified_speedup"]
        return Best(
            candidate=row["candidate"],
            kernel=row["kernel"],
            operator=row["operator"],
            cell=cell_of(row["cell"]),
            speedup=row["speedup"],
            certified=None if certified is None else Estimated(certified, row["certified_low"], row["certified_high"]),
            certified_against=row["certified_against"] or "",
            roofline_share=row["roofline_share"],
            ancestry=row["ancestry"],
            source=row["source"],
        )

    def elites(self) -> dict[Cell, float]:
        """Speedup of every cell's elite."""
        rows = self._select("SELECT cell, speedup FROM elites WHERE run = ? AND speedup IS NOT NULL")
        return {cell: row["speedup"] for row in rows if (cell := cell_of(row["cell"])) is not None}

    def evaluations(self) -> list[tuple[str, str, float | None]]:
        """(outcome, operator, speedup) of every evaluation that cost something, in the order of commits."""
        rows = self._select(
            "SELECT v.outcome, p.operator, e.speedup FROM convergence v"
            " JOIN candidates c ON c.run = v.run AND c.number = v.candidate JOIN evaluations e ON e.id = c.evaluation"
            " JOIN proposals p ON p.run = v.run AND p.number = v.candidate WHERE v.run = ? ORDER BY v.evaluation"
        )
        return [(row["outcome"], row["operator"], row["speedup"] if row["outcome"] == "ok" else None) for row in rows]

    def axes(self) -> list[tuple[str, tuple[str, ...]]]:
        """Name and bin labels of every descriptor, as the run itself has them."""
        from archive.descriptors import default_descriptors, parse_descriptors

        entries = self.config.get("archive", {}).get("descriptors")
        if entries:
            descriptors = parse_descriptors(entries)
        else:
            seed = next((c.kernel for c in self.lineage.candidates() if c.kernel is not None), None)
            if seed is None:
                return []
            descriptors = default_descriptors(self.record.target, seed.space)
        return [(axis.name, axis.labels) for axis in descriptors.axes]

    # ── one candidate ──

    def number_of(self, reference: str) -> int:
        """The candidate meant by a number, `best`, or the beginning of a kernel's id.

        Raises:
            UserError: none, or several, are meant.
        """
        file = self.folder / DATABASE
        if reference == "best":
            best = self.best()
            if best is None:
                raise UserError("This run has no best candidate yet.", file=file, remedy="evo status shows what failed.")
            return best.candidate
        if reference.isdecimal() and self._select("SELECT 1 FROM proposals WHERE run = ? AND number = ?", int(reference)):
            return int(reference)
        rows = self._select(
            "SELECT min(number) AS number FROM proposals WHERE run = ? AND substr(kernel, 1, ?) = ? GROUP BY kernel LIMIT 2",
            len(reference), reference.lower(),
        )  # fmt: skip
        if len(rows) == 1 and len(reference) >= 4:
            return int(rows[0]["number"])
        (last,) = self._select("SELECT max(number) AS n FROM proposals WHERE run = ?")
        raise UserError(
            f"There is no single candidate `{reference}` in this run.",
            file=file,
            found="no candidates yet" if last["n"] is None else f"candidates 0 to {last['n']}",
            expected="a candidate's number, `best`, or at least 4 digits that only one kernel's id begins with",
            remedy=f'sqlite3 {file} "select * from elites" lists the good ones.',
        )

    def candidate(self, number: int) -> Candidate:
        """Candidate `number`; one that is still in flight has no evaluation.

        Raises:
            KeyError: it was never proposed.
        """
        found = self.lineage.candidate(number)
        if found is not None:
            return found
        for proposal, kernel in self.lineage.in_flight():
            if proposal.number == number:
                return Candidate(proposal, kernel, None, notes={"state": "in flight"})
        raise KeyError(number)
