"""One writer per database: a lock that dies with its process, however that dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from pathlib import Path

from archive.schema import LineageError

__all__ = ["WriterLock"]

HELD: set[str] = set()


class WriterLock:
    """An exclusive POSIX record lock on `NAME.lock` beside the database; the file names the process that holds it.

    The kernel drops such a lock when its process ends, `kill -9` included, and children do not inherit it, so a worker
    that outlives the engine keeps nobody out. The file itself stays: removing it would let two writers lock two files.
    """

    def __init__(self, database: Path) -> None:
        """Raises LineageError naming the process that holds the lock, or when the folder cannot be written."""
        self.path = database.with_name(database.name + ".lock")
        self._key = os.path.realpath(self.path)
        if self._key in HELD:  # record locks do not exclude their own process
            raise self._busy(str(os.getpid()))
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise LineageError(
                "cannot lock the run for writing", path=self.path, found=str(error.strerror), expected="a writable run directory",
                remedy="Check its owner and permissions, or open the run read-only.",
            ) from error  # fmt: skip
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise LineageError(
                    "cannot lock the run for writing", path=self.path, found=str(error.strerror), expected="a file system with locks",
                    remedy="Keep runs on a local disk.",
                ) from error  # fmt: skip
            raise self._busy(holder) from error
        self._descriptor: int | None = descriptor
        HELD.add(self._key)
        with contextlib.suppress(OSError):  # a full disk must not keep a run from being opened; the pid is a courtesy
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def _busy(self, holder: str) -> LineageError:
        return LineageError(
            "the run is in use by a live process", path=self.path, found=f"a lock held by process {holder or 'unknown'}",
            expected="one writer at a time", remedy=f"Wait for process {holder or 'it'} to end, or stop it (kill -INT {holder or 'PID'}).",
        )  # fmt: skip

    def release(self) -> None:
        """Idempotent."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            HELD.discard(self._key)
            os.close(descriptor)
