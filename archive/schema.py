"""The lineage's tables, their version, and how an older database becomes a current one.

The version is in `PRAGMA user_version`, where it is checked before anything else is read; the table `schema_versions` says
when each version was reached. A database of a newer schema is refused, one of an older schema is backed up beside itself and
migrated in one transaction. To change the schema: edit `TABLES` or `archive/views.py`, raise `VERSION`, and add a step to
`MIGRATIONS` with a test that starts from a fixture of the old version.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archive.views import VIEWS

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["MIGRATIONS", "TABLES", "VERSION", "LineageError", "SchemaError", "TableDefinition", "build", "check_version", "migrate", "now"]

VERSION = 3


class LineageError(Exception):
    """The database cannot be written or read: what is wrong, where, and what to do. Nothing is half-written."""

    def __init__(self, what: str, *, path: Path, found: str = "", expected: str = "", remedy: str = "") -> None:
        parts = {"file": str(path), "found": found, "expected": expected, "remedy": remedy}
        super().__init__("; ".join([what, *(f"{label}: {text}" for label, text in parts.items() if text)]))
        self.what, self.path, self.found, self.expected, self.remedy = what, path, found, expected, remedy


class SchemaError(LineageError):
    """The file is not a lineage that this version of `evo` can use."""


@dataclass(frozen=True, slots=True)
class TableDefinition:
    columns: Mapping[str, type]
    pk: str | tuple[str, ...]
    required: tuple[str, ...] = ()
    unique: tuple[tuple[str, ...], ...] = ()


# Every row of a run says which run it belongs to, so that files of several runs can be merged. Times are UTC ISO text and, beside
# it, seconds of the run's own cumulative monotonic clock. Order is that of the integer ids: a clock that jumps changes nothing.
TABLES: Mapping[str, TableDefinition] = {
    "schema_versions": TableDefinition({"version": int, "reached": str}, "version"),
    "environments": TableDefinition({"id": str, "facts": str}, "id", ("facts",)),
    "prompts": TableDefinition({"id": str, "text": str}, "id", ("text",)),
    "kernels": TableDefinition({"id": str, "language": str, "source": str}, "id", ("language", "source")),
    "runs": TableDefinition(
        {"id": int, "created": str, "problem": str, "target": str, "strategy": str, "seed": int, "version": str, "config": str},
        "id",
        ("created", "config"),
    ),
    # One row per time that a process worked on a run: the first, and every resume.
    "sessions": TableDefinition(
        {"id": int, "run": int, "pid": int, "started": str, "ended": str, "stopped_by": str, "seconds": float}, "id", ("run", "started")
    ),
    "proposals": TableDefinition(
        {
            **{"run": int, "number": int, "operator": str, "goal": str, "drafted": int, "kernel": str, "notes": str},
            **{"time": str, "seconds": float},
        },
        ("run", "number"),
        ("operator",),
    ),
    "parents": TableDefinition({"run": int, "child": int, "position": int, "parent": int}, ("run", "child", "position"), ("parent",)),
    "candidates": TableDefinition(
        {
            **{"id": int, "run": int, "number": int, "kernel": str, "evaluation": int, "cell": str, "status": str},
            **{"duplicate_of": int, "notes": str, "time": str, "seconds": float},
        },
        "id",
        ("run", "number"),
        (("run", "number"),),
    ),
    # `event` is empty for the evaluation a candidate came with, else the archive event (duel, re-measurement) it belongs to.
    "evaluations": TableDefinition(
        {
            **{"id": int, "run": int, "candidate": int, "event": int, "kernel": str, "outcome": str, "objective": float, "low": float},
            **{"high": float, "speedup": float, "diagnostics": str, "profile": str, "cost": str, "artifact": str, "environment": str},
            "reused": str,
        },
        "id",
        ("run", "candidate", "outcome"),
    ),
    # `pairs`: little-endian float64, kernel and baseline seconds in turn, `count` of each. `only_longer`: 1 where the faster half stands
    # for them all, else the median does.
    "samples": TableDefinition(
        {"evaluation": int, "position": int, "shape": str, "only_longer": int, "count": int, "pairs": bytes},
        ("evaluation", "position"),
        ("shape", "only_longer", "pairs"),
    ),
    # `elite`: who holds `cell` after the event.
    "archive_events": TableDefinition(
        {
            **{"id": int, "run": int, "kind": str, "candidate": int, "cell": str, "status": str, "elite": int},
            **{"time": str, "seconds": float},
        },
        "id",
        ("run", "kind", "candidate"),
    ),
    # What all samples together said of a candidate after an event; objective empty: it was measured again and was not `ok`.
    "estimates": TableDefinition(
        {"event": int, "run": int, "candidate": int, "objective": float, "low": float, "high": float, "speedup": float},
        ("event", "candidate"),
    ),
    "certificates": TableDefinition(
        {
            **{"id": int, "run": int, "candidate": int, "kernel": str, "ok": int, "strongest": str, "speedup": float, "low": float},
            **{"high": float, "roofline_share": float, "facts": str, "environment": str, "time": str, "seconds": float},
        },
        "id",
        ("run", "candidate", "kernel", "ok"),
    ),
    "model_calls": TableDefinition(
        {
            **{"id": int, "run": int, "candidate": int, "model": str, "prompt": str, "answer": str, "tokens_in": int, "tokens_out": int},
            **{"dollars": float, "facts": str, "time": str, "seconds": float},
        },
        "id",
        ("run", "model"),
    ),
}


def now() -> str:
    """The time of day as the lineage writes it: UTC, milliseconds."""
    seconds, milliseconds = divmod(time.time_ns() // 1_000_000, 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _database(connection: sqlite3.Connection) -> Database:
    from sqlite_utils import Database

    return Database(connection)


def table_sql(db: Database, name: str, table: TableDefinition) -> str:
    """The CREATE TABLE statement of a definition."""
    sql: str = db.create_table_sql(name, dict(table.columns), pk=table.pk, not_null=set(table.required))
    return sql


def build(connection: sqlite3.Connection) -> None:
    """Makes every table and view in an empty database, in one transaction (sqlite-utils writes the SQL)."""
    db = _database(connection)
    connection.execute("BEGIN IMMEDIATE")
    for name, table in TABLES.items():
        connection.execute(table_sql(db, name, table))
        for columns in table.unique:
            connection.execute(f"CREATE UNIQUE INDEX [{name}_{'_'.join(columns)}] ON [{name}] ({', '.join(columns)})")
    connection.execute("CREATE INDEX [estimates_run_candidate] ON [estimates] (run, candidate)")
    _make_views(connection)
    _record_version(connection, VERSION)
    connection.execute("COMMIT")


def _make_views(connection: sqlite3.Connection) -> None:
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall():
        connection.execute(f"DROP VIEW [{name}]")
    for name, sql in VIEWS.items():
        connection.execute(f"CREATE VIEW [{name}] AS {sql}")


def _record_version(connection: sqlite3.Connection, version: int) -> None:
    connection.execute("INSERT OR REPLACE INTO schema_versions (version, reached) VALUES (?, ?)", (version, now()))
    connection.execute(f"PRAGMA user_version = {int(version)}")


def check_version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of a database. Raises SchemaError for a file that is no lineage or is of a newer schema."""
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        if "not a database" not in str(error):  # locked, unreadable, damaged: says itself what it is
            raise
        raise SchemaError(
            "not a lineage", path=path, found=f"a file that SQLite cannot read ({error})", expected="a database made by evo",
            remedy="Name the run's own database.",
        ) from error  # fmt: skip
    if version < 1 or "candidates" not in tables:
        raise SchemaError(
            "not a lineage", path=path, found=f"a database without evo's tables (user_version {version})",
            expected=f"schema 1 to {VERSION}", remedy="Name the run's own database.",
        )  # fmt: skip
    if version > VERSION:
        raise SchemaError(
            "the database was written by a newer evo", path=path, found=f"schema {version}", expected=f"schema {VERSION} or older",
            remedy="Use the version of evo that wrote it, or a newer one.",
        )  # fmt: skip
    return version


def migrate(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    """Brings a database of an older schema to `VERSION` in one transaction; returns the backup that it made first.

    The backup is `NAME.schema-V.backup` beside the file. When a step fails, the database is as it was before.
    """
    backup = path.with_name(f"{path.name}.schema-{version}.backup")
    unfinished = backup.with_name(backup.name + ".new")
    unfinished.unlink(missing_ok=True)
    copy = sqlite3.connect(unfinished)
    try:
        connection.backup(copy)
    finally:
        copy.close()
    unfinished.replace(backup)
    db = _database(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Views name columns that a step may move; they are made anew at the end.
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'view'").fetchall():
            connection.execute(f"DROP VIEW [{name}]")
        for step in MIGRATIONS[version - 1 :]:
            step(connection, db)
        _make_views(connection)
        _record_version(connection, VERSION)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return backup


def _pairs_and_sessions(connection: sqlite3.Connection, db: Any) -> None:
    """1 → 2: kernel and baseline seconds, once a BLOB each, become one BLOB of pairs; sessions are recorded."""
    import numpy as np

    connection.execute("ALTER TABLE samples RENAME TO samples_1")
    columns = {"evaluation": int, "position": int, "shape": str, "count": int, "pairs": bytes}
    connection.execute(table_sql(db, "samples", TableDefinition(columns, ("evaluation", "position"), ("shape", "pairs"))))
    for evaluation, position, shape, seconds, baseline in connection.execute(
        "SELECT evaluation, position, shape, seconds, baseline FROM samples_1 ORDER BY evaluation, position"
    ).fetchall():
        pairs = np.stack((np.frombuffer(seconds, "<f8"), np.frombuffer(baseline, "<f8")), axis=1)
        connection.execute("INSERT INTO samples VALUES (?, ?, ?, ?, ?)", (evaluation, position, shape, len(pairs), pairs.tobytes()))
    connection.execute("DROP TABLE samples_1")
    connection.execute(table_sql(db, "sessions", TABLES["sessions"]))
    connection.execute("INSERT INTO sessions (run, started) SELECT id, created FROM runs ORDER BY id")


def _noise_of_samples(connection: sqlite3.Connection, db: Any) -> None:
    """2 → 3: samples say which way their times were disturbed; until then the median stood for all."""
    connection.execute("ALTER TABLE samples RENAME TO samples_2")
    connection.execute(table_sql(db, "samples", TABLES["samples"]))
    connection.execute("INSERT INTO samples SELECT evaluation, position, shape, 0, count, pairs FROM samples_2")
    connection.execute("DROP TABLE samples_2")


MIGRATIONS: Sequence[Callable[[sqlite3.Connection, Any], None]] = (_pairs_and_sessions, _noise_of_samples)
"""Step i leads from schema i + 1 to i + 2."""
