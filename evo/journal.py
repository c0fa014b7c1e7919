"""A journal of finished work: one JSON line each, durable when written, whole after `kill -9`.

Long jobs that can be repeated piece by piece (recording a space, comparing strategies) write each finished piece down and
skip it when they are started again. A line that was cut off by a crash is dropped, and its piece is done again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from evo.errors import UserError

__all__ = ["Journal", "write_whole"]


class Journal:
    """Open it in a `with` block; `rows` holds what earlier sittings wrote.

    Args:
        path: made when it does not exist, with its folder.
        header: what the work is; a journal with another header is refused.

    Raises:
        UserError: another process writes it, it belongs to other work, or it is damaged elsewhere than at its end.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(
                    "Another process is at this work.", file=path, found="a lock", expected="one at a time", remedy="Wait for it to end."
                ) from error
            self.rows = self._read(json.loads(json.dumps(header)))
        except BaseException:
            self._file.close()
            raise

    def append(self, row: Mapping[str, Any]) -> None:
        """Returns when the row is on disk."""
        self._file.write(json.dumps(row, separators=(",", ":")).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self, header: dict[str, Any]) -> list[dict[str, Any]]:
        self._file.seek(0)
        data = self._file.read()
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            self._file.truncate(len(whole))
        rows: list[dict[str, Any]] = []
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise UserError(
                    "The journal is damaged.",
                    file=self.path,
                    line=number,
                    found=repr(line[:60]),
                    expected="JSON",
                    remedy="Delete this line.",
                ) from error
        if not rows:
            self.append(header)
            return []
        if rows[0] != header:
            raise UserError(
                "The journal here belongs to other work.", file=self.path, line=1, found=json.dumps(rows[0]), expected=json.dumps(header),
                remedy="Finish that first, delete the journal, or choose another output.",
            )  # fmt: skip
        return rows[1:]

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def write_whole(path: Path, data: bytes) -> Path:
    """Writes a file whole or not at all; returns `path`."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(data)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path
