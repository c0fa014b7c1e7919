"""The lineage: everything a run did, in one SQLite file, written in the order in which it happened.

WAL, `synchronous=NORMAL`: after `kill -9` the file is whole and holds every transaction that was committed; after a power
cut it is whole and may lack the last ones. A candidate, its evaluation, its samples and the archive's answer are one
transaction. The archive in memory is a pure function of `candidates` and `events` (`archive.replay`).
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from archive import rows, schema
from archive.candidate import Candidate, Proposal
from archive.evaluation import Environment, Evaluation
from archive.events import Event
from archive.kernel import Kernel
from archive.lock import WriterLock
from archive.reading import Reading, RunRecord
from archive.schema import LineageError, SchemaError
from archive.transactions import Transactions, connect, explained, open_readonly
from archive.values import Value

__all__ = ["Lineage", "LineageError", "RunRecord", "SchemaError"]


class Lineage(Transactions, Reading):
    """One open database; `create` or `open` it, `close` it (or use `with`). Writing is for one process and one thread.

    With `group_ms > 0`, transactions are committed together when that much time has passed since the first of them (100 at
    most): a crash loses that window, never half a candidate. `flush` commits at once. After a failed write in a group, what
    the caller believes stored may not be; every further write raises until the lineage is opened again.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: WriterLock | None, group_ms: float) -> None:
        """Use `create` or `open`."""
        Reading.__init__(self, path, connection)
        Transactions.__init__(self, path, connection, lock is None, group_ms)
        self._lock = lock
        self._drafted: dict[int, tuple[str | None, str]] = {}
        self._session: int | None = None
        self._started = time.monotonic()
        self._before = self._latest_seconds()

    # ── opening and closing ──

    @classmethod
    def create(cls, path: str | os.PathLike[str], *, group_ms: float = 0.0) -> Lineage:
        """A new database. Raises LineageError when the file exists, or its folder is missing or cannot be written."""
        target = Path(path)
        if not target.parent.is_dir():
            raise LineageError("no such run directory", path=target.parent, remedy="Make the directory first.")
        lock = WriterLock(target)
        unfinished = target.with_name(target.name + ".new")
        try:
            if target.exists():
                raise LineageError(
                    "the run exists already", path=target, expected="a new file", remedy="Resume it, or choose another directory."
                )
            with explained(target):
                unfinished.unlink(missing_ok=True)
                connection = sqlite3.connect(unfinished, isolation_level=None)
                try:
                    schema.build(connection)
                finally:
                    connection.close()
                unfinished.rename(target)
                return cls(target, connect(target), lock, group_ms)
        except BaseException:
            lock.release()
            unfinished.unlink(missing_ok=True)
            raise

    @classmethod
    def open(cls, path: str | os.PathLike[str], readonly: bool = False, *, group_ms: float = 0.0) -> Lineage:
        """An existing database; for writing, an older schema is migrated (a backup stays beside it).

        Raises SchemaError for a newer schema or another kind of file, LineageError when there is none, when it cannot
        be read, or when a live process writes it.
        """
        target = Path(path)
        if not target.is_file():
            raise LineageError("no such run", path=target, expected="the database of a run", remedy="Check the path; `evo ls` lists runs.")
        if readonly:
            return cls(target, open_readonly(target), None, 0.0)
        lock = WriterLock(target)
        connection: sqlite3.Connection | None = None
        try:
            with explained(target):
                connection = sqlite3.connect(target, isolation_level=None)
                version = schema.check_version(connection, target)
                if version < schema.VERSION:
                    schema.migrate(connection, target, version)
                connection.close()
                return cls(target, connect(target), lock, group_ms)
        except BaseException:
            if connection is not None:
                connection.close()
            lock.release()
            raise

    def close(self) -> None:
        """Commits what is pending, ends the session and lets the next writer in. Idempotent."""
        try:
            if self._lock is not None and not self.broken:
                if self._session is not None:
                    self.end_session("")
                self.flush()
        finally:
            self.connection.close()
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def __enter__(self) -> Lineage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # ── the run ──

    @property
    def seconds(self) -> float:
        """The run's own clock: seconds that processes have worked on it so far, over all sessions; never runs backwards."""
        return self._before + time.monotonic() - self._started

    def start_run(self, config_json: str, seed: int, problem: str, target: str, *, strategy: str = "", version: str = "") -> int:
        """Stores what the run is, opens its first session, and returns its id."""
        with self.transaction():
            cursor = self.connection.execute(
                "INSERT INTO runs (created, problem, target, strategy, seed, version, config) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (schema.now(), problem, target, strategy, seed, version, config_json),
            )
            self.run = int(cursor.lastrowid or 0)
            self._open_session()
        self.flush()
        return self.run

    def start_session(self) -> None:
        """Says that this process resumes the run."""
        with self.transaction():
            self._open_session()
        self.flush()

    def _open_session(self) -> None:
        cursor = self.connection.execute("INSERT INTO sessions (run, pid, started) VALUES (?, ?, ?)", (self.run, os.getpid(), schema.now()))
        self._session = cursor.lastrowid

    def end_session(self, stopped_by: str) -> None:
        """Says why this process stopped working on the run (`evaluations`, `minutes`, `interrupt`, …)."""
        with self.transaction():
            self.connection.execute(
                "UPDATE sessions SET ended = ?, stopped_by = ?, seconds = ? WHERE id = ?",
                (schema.now(), stopped_by, time.monotonic() - self._started, self._session),
            )
        self._session = None
        self.flush()

    # ── candidates ──

    def propose(self, proposal: Proposal) -> None:
        """Stores a proposal, before any work on it is paid for."""
        with self.transaction():
            self.connection.execute(
                "INSERT INTO proposals (run, number, operator, goal, drafted, time, seconds) VALUES (?, ?, ?, ?, 0, ?, ?)",
                (self.run, proposal.number, proposal.operator, rows.goal_text(proposal.goal), schema.now(), self.seconds),
            )
            if proposal.parents:
                self.connection.executemany(
                    "INSERT INTO parents (run, child, position, parent) VALUES (?, ?, ?, ?)",
                    [(self.run, proposal.number, i, parent) for i, parent in enumerate(proposal.parents)],
                )

    def draft(self, number: int, kernel: Kernel | None, notes: Mapping[str, object] | None = None) -> None:
        """Stores what an operator made of a proposal, before it is evaluated: a resumed run need not pay for it again."""
        text = rows.dump(notes) if notes else "{}"
        with self.transaction():
            if kernel is not None:
                self._store_kernel(kernel)
            self.connection.execute(
                "UPDATE proposals SET drafted = 1, kernel = ?, notes = ? WHERE run = ? AND number = ?",
                (None if kernel is None else kernel.id, text, self.run, number),
            )
        self._drafted[number] = (None if kernel is None else kernel.id, text)

    def commit(self, candidate: Candidate, event: Event | None = None) -> None:
        """Stores a finished candidate with its evaluation, samples and the archive's answer: all of it or nothing."""
        kernel, evaluation = candidate.kernel, candidate.evaluation
        number = candidate.number
        drafted_kernel, drafted_notes = self._drafted.get(number, (None, None))
        notes = rows.dump(candidate.notes) if candidate.notes else "{}"
        with self.transaction():
            if kernel is not None and kernel.id != drafted_kernel:
                self._store_kernel(kernel)
            stored = None if evaluation is None else self._store_evaluation(number, evaluation, None)
            self.connection.execute(
                "INSERT INTO candidates (run, number, kernel, evaluation, cell, status, duplicate_of, notes, time, seconds) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self.run, number, None if kernel is None else kernel.id, stored, rows.cell_text(candidate.cell),
                    None if candidate.status is None else candidate.status.value, candidate.duplicate_of,
                    None if notes == drafted_notes else notes, schema.now(), self.seconds,
                ),
            )  # fmt: skip
            if event is not None:
                self._store_event(event)
        self._drafted.pop(number, None)

    def event(self, event: Event) -> None:
        """Stores what a duel or a re-measurement did, with its evaluations, in one transaction."""
        with self.transaction():
            self._store_event(event)

    # ── what else is known ──

    def environment(self, environment: Environment) -> str:
        """Stores where something was measured, once; returns its id."""
        with self.transaction():
            self.connection.execute(
                "INSERT OR IGNORE INTO environments (id, facts) VALUES (?, ?)", (environment.id, rows.dump(environment.facts))
            )
        return environment.id

    def certificate(
        self, candidate: int, kernel_id: str, ok: bool, *, facts: Mapping[str, object], strongest: str = "",
        speedup: tuple[float, float, float] | None = None, roofline_share: float | None = None, environment: str = "", seconds: float = 0.0,
    ) -> None:  # fmt: skip
        """Stores a certification; `speedup` is (value, low, high) over the strongest baseline, `facts` everything else, JSON-able."""
        value, low, high = speedup if speedup is not None else (None, None, None)
        with self.transaction():
            self.connection.execute(
                "INSERT INTO certificates (run, candidate, kernel, ok, strongest, speedup, low, high, roofline_share, facts, environment, "
                "time, seconds) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self.run, candidate, kernel_id, int(ok), strongest, value, low, high, roofline_share, rows.dump(facts), environment,
                    schema.now(), seconds,
                ),
            )  # fmt: skip
        self.flush()

    def profiled(self, candidate: int, facts: Mapping[str, Value]) -> None:
        """Adds facts that were found out afterwards to the profile of the evaluation a candidate came with; same names are replaced.
        Raises LineageError for a candidate that has none."""
        with self.transaction():
            row = self.connection.execute(
                "SELECT v.id, v.profile FROM candidates c JOIN evaluations v ON v.id = c.evaluation WHERE c.run = ? AND c.number = ?",
                (self.run, candidate),
            ).fetchone()
            if row is None:
                raise LineageError(
                    f"candidate {candidate} has no evaluation", path=self.path, remedy="Choose a candidate that was evaluated."
                )
            self.connection.execute("UPDATE evaluations SET profile = ? WHERE id = ?", (rows.added(row[1], facts), row[0]))
        self.flush()

    def prompt(self, text: str) -> str:
        """Stores a prompt once; returns its id."""
        identity = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]
        with self.transaction():
            self.connection.execute("INSERT OR IGNORE INTO prompts (id, text) VALUES (?, ?)", (identity, text))
        return identity

    def model_call(
        self, candidate: int | None, model: str, prompt_id: str, answer: str, *, tokens_in: int = 0, tokens_out: int = 0,
        dollars: float = 0.0, seconds: float = 0.0, facts: Mapping[str, object] | None = None,
    ) -> int:  # fmt: skip
        """Stores a model's answer as soon as it is there, before anything is made of it; returns the call's id."""
        with self.transaction():
            cursor = self.connection.execute(
                "INSERT INTO model_calls (run, candidate, model, prompt, answer, tokens_in, tokens_out, dollars, facts, time, seconds) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    self.run, candidate, model, prompt_id, answer, tokens_in, tokens_out, dollars, rows.dump(facts or {}),
                    schema.now(), seconds,
                ),
            )  # fmt: skip
        self.flush()
        return int(cursor.lastrowid or 0)

    # ── inserts; inside a transaction ──

    def _store_kernel(self, kernel: Kernel) -> None:
        self.connection.execute(
            "INSERT OR IGNORE INTO kernels (id, language, source) VALUES (?, ?, ?)", (kernel.id, kernel.language, kernel.source)
        )

    def _store_evaluation(self, candidate: int, evaluation: Evaluation, event: int | None) -> int:
        cursor = self.connection.execute(
            "INSERT INTO evaluations (run, candidate, event, kernel, outcome, objective, low, high, speedup, diagnostics, profile, cost, "
            "artifact, environment, reused) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (self.run, candidate, event, *rows.evaluation_columns(evaluation)),
        )
        identity = int(cursor.lastrowid or 0)
        for position, samples in enumerate(evaluation.samples):
            self.connection.execute(
                "INSERT INTO samples (evaluation, position, shape, only_longer, count, pairs) VALUES (?, ?, ?, ?, ?, ?)",
                (identity, position, samples.shape, samples.only_longer, samples.seconds.size, rows.pairs_of(samples)),
            )
        return identity

    def _store_event(self, event: Event) -> None:
        cursor = self.connection.execute(
            "INSERT INTO archive_events (run, kind, candidate, cell, status, elite, time, seconds) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.run, event.kind.value, event.candidate, rows.cell_text(event.cell),
                None if event.status is None else event.status.value, event.elite, schema.now(), self.seconds,
            ),
        )  # fmt: skip
        identity = int(cursor.lastrowid or 0)
        for number, evaluation in (event.evaluations or {}).items():
            self._store_evaluation(number, evaluation, identity)
        for number, estimate in event.estimates:
            values: tuple[float | None, ...] = (None, None, None, None)
            if estimate is not None:
                values = (estimate.value, estimate.low, estimate.high, rows.speedup(estimate.value))
            self.connection.execute(
                "INSERT INTO estimates (event, run, candidate, objective, low, high, speedup) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (identity, self.run, number, *values),
            )
