"""How the lineage writes: one transaction per unit of work, or a group of them, and errors that say what to do."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from archive import schema
from archive.schema import LineageError, SchemaError

__all__ = ["Transactions", "connect", "explained", "open_readonly"]


class Transactions:
    """The writing discipline of `Lineage`."""

    def __init__(self, path: Path, connection: sqlite3.Connection, readonly: bool, group_ms: float) -> None:
        """`group_ms`: 0 commits every unit by itself; else units are committed together, at most 100 ms of them."""
        self.path = path
        self.connection = connection
        self.readonly = readonly
        self.broken = False
        self._group = min(max(group_ms, 0.0), 100.0) / 1000.0
        self._group_start: float | None = None
        self._unit = _Unit(self)

    def flush(self) -> None:
        """Commits a pending group now."""
        if self._group_start is not None:
            self._execute("COMMIT")
            self._group_start = None

    def transaction(self) -> _Unit:
        """One unit of writing, as a context. Whatever fails inside leaves nothing of it behind."""
        return self._unit

    def _begin(self) -> None:
        if self.readonly or self.broken:
            raise LineageError(
                "the lineage was opened read-only" if self.readonly else "an earlier write failed; what followed it is not stored",
                path=self.path, remedy="Open it for writing." if self.readonly else "Put the earlier error right and resume the run.",
            )  # fmt: skip
        if self._group_start is None:
            self._execute("BEGIN IMMEDIATE")
            self._group_start = time.monotonic()

    def _end(self) -> None:
        if self._group_start is not None and (self._group == 0.0 or time.monotonic() - self._group_start >= self._group):
            self.flush()

    def _execute(self, statement: str) -> None:
        try:
            self.connection.execute(statement)
        except BaseException as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        """Undoes what is pending. Raises LineageError in the place of an error that SQLite or the system raised."""
        self._group_start = None
        self.broken = self._group > 0.0
        if self.connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
        with explained(self.path):
            if isinstance(error, EXPLAINED):
                raise error


class _Unit:
    """The context of `Transactions.transaction`. A class, for a generator's context costs a search on a recorded space a tenth."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Transactions) -> None:
        self._owner = owner

    def __enter__(self) -> None:
        self._owner._begin()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self._owner._end()
        else:
            self._owner._fail(error)


def connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=10.0)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -16384")  # KiB; kernel ids are random, and their index should stay in memory
    return connection


def open_readonly(path: Path) -> sqlite3.Connection:
    """Reads beside a live writer; a directory that may not be written needs SQLite's `immutable`, as WAL wants its index file."""
    with explained(path):
        for options in ("mode=ro", "mode=ro&immutable=1"):
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True, isolation_level=None, timeout=10.0)
            try:
                version = schema.check_version(connection, path)
            except sqlite3.OperationalError:
                connection.close()
                if "immutable" in options:
                    raise
            except (SchemaError, sqlite3.DatabaseError):
                connection.close()
                raise
            else:
                if version < schema.VERSION:
                    connection.close()
                    raise SchemaError(
                        "the database is of an older schema", path=path, found=f"schema {version}", expected=f"schema {schema.VERSION}",
                        remedy="Open it for writing once (`evo resume`): it is migrated, and a backup is kept.",
                    )  # fmt: skip
                return connection
    raise AssertionError("unreachable")


REMEDIES = (
    ("disk is full", "Free some space, then resume the run."),
    ("disk I/O error", "Check free space, quota and file-size limits, then resume the run."),
    ("readonly", "Check the owner and permissions of the run directory."),
    ("unable to open", "Check that the directory exists and may be written."),
    ("locked", "Another program is writing this file: close it."),
    ("malformed", "Restore the file from a copy; `sqlite3 FILE .recover` may save what is left."),
)


EXPLAINED = (sqlite3.Error, OSError)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors as LineageError with the path and what to do."""
    try:
        yield
    except EXPLAINED as error:
        text = str(error)
        remedy = next((r for part, r in REMEDIES if part in text), "Report it together with the database.")
        raise LineageError("the lineage cannot be written or read", path=path, found=text, remedy=remedy) from error
