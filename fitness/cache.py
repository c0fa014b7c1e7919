"""A content-addressed store of what is expensive to make and can be made again: builds, precompiled headers, ceilings.

An entry is a folder `ROOT/KIND/ab/KEY/` of files beside a manifest with their SHA-256. It is written in a scratch folder
of the same file system and renamed into place, so a reader sees all of it or nothing, however many processes write and
whenever one is killed. Every read is checked against the manifest; a damaged entry counts as absent and is replaced.
Nothing here is ever the only copy of anything: deleting the folder at any moment costs time and no correctness.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Cache", "CacheError", "Entry", "content_key", "default_root"]

MANIFEST = "manifest.json"
STALE_SECONDS = 3600.0
"""Age at which a scratch folder is taken for the leftover of a killed process; far above any compile's limit."""
LARGE = 1 << 20
"""Files of this many bytes are hashed once per process and then recognised by inode, size and times."""

_Stamp = tuple[int, int, int, int]
_seen: dict[Path, tuple[_Stamp, str]] = {}


class CacheError(Exception):
    """The cache folder cannot be used; the message names the path, what happened and what to do."""


def default_root() -> Path:
    """`$XDG_CACHE_HOME/evo`, else `~/.cache/evo`."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "evo"


def content_key(*parts: str | bytes) -> str:
    """SHA-256 (hex, 40 digits) over the parts, each preceded by its length, so that no two lists collide."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()[:40]


@dataclass(frozen=True, slots=True)
class Entry:
    """A stored entry whose files were whole when it was looked up."""

    folder: Path
    files: Mapping[str, str]
    """File name → SHA-256, without the manifest."""

    def path(self, name: str) -> Path:
        return self.folder / name

    def read(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


class Cache:
    """The store beneath one root folder. Cheap to make; safe to share between threads and processes.

    Raises `CacheError` where the root cannot be written.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = (root or default_root()).expanduser().absolute()
        self._make(self.root)
        self._sweep()

    def get(self, kind: str, key: str) -> Entry | None:
        """The entry, or None when it is absent or damaged (then it is moved out of the way)."""
        folder = self._folder(kind, key)
        try:
            listed = json.loads((folder / MANIFEST).read_bytes())["files"]
            files = {str(name): str(digest) for name, digest in listed.items()}
            whole = all(_digest(folder / name) == digest for name, digest in files.items())
        except FileNotFoundError:
            whole, files = False, {}
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            whole, files = False, {}
        if whole:
            return Entry(folder, files)
        if folder.exists():
            self._discard(folder)
        return None

    def put(self, kind: str, key: str, files: Mapping[str, bytes | Path]) -> Entry:
        """Stores files (contents, or paths that are moved in) under a key. The first of several writers wins.

        Raises `CacheError` on a full or read-only disk.
        """
        try:
            with self.scratch() as draft:
                digests = {name: _place(draft / name, content) for name, content in files.items()}
                (draft / MANIFEST).write_text(json.dumps({"key": key, "files": digests}))
                folder = self._folder(kind, key)
                for _ in range(5):
                    self._make(folder.parent)
                    try:
                        os.rename(draft, folder)
                        return Entry(folder, digests)
                    except FileNotFoundError:  # the whole cache was deleted between the two calls
                        if not draft.exists():
                            raise
                    except OSError as error:
                        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                            raise
                        if (theirs := self.get(kind, key)) is not None:
                            return theirs
        except OSError as error:
            raise CacheError(f"{self.root}: cannot store a {kind} entry: {_reason(error)}") from error
        raise CacheError(f"{self.root}: cannot store a {kind} entry: other processes keep damaging it; delete the folder and try again.")

    def replace(self, kind: str, key: str, files: Mapping[str, bytes | Path]) -> Entry:
        """As `put`, but what was there gives way: for facts that are measured again."""
        self._discard(self._folder(kind, key))
        return self.put(kind, key, files)

    def trim(self, kind: str, keep: int) -> None:
        """Removes all but the `keep` entries of a kind that were stored last."""
        with contextlib.suppress(OSError):
            entries = sorted((self.root / kind).glob("*/*"), key=lambda folder: folder.stat().st_mtime)
            for folder in entries[: max(0, len(entries) - keep)]:
                self._discard(folder)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A private folder on the cache's file system, removed at the end (files can be renamed from it into entries)."""
        parent = self.root / "scratch"
        self._make(parent)
        try:
            folder = Path(tempfile.mkdtemp(dir=parent))
        except FileNotFoundError:  # deleted just now
            self._make(parent)
            folder = Path(tempfile.mkdtemp(dir=parent))
        except OSError as error:
            raise CacheError(f"{parent}: cannot be written: {_reason(error)}") from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, kind: str, key: str) -> Path:
        return self.root / kind / key[:2] / key

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CacheError(f"{folder}: cannot be made: {_reason(error)}") from error

    def _discard(self, folder: Path) -> None:
        """Takes an entry away in one step, so that nobody reads half of it while it is deleted."""
        with contextlib.suppress(OSError, CacheError), self.scratch() as grave:
            os.rename(folder, grave / "old")

    def _sweep(self) -> None:
        """Removes what killed processes left behind."""
        limit = time.time() - STALE_SECONDS
        with contextlib.suppress(OSError):
            for folder in (self.root / "scratch").iterdir():
                if folder.stat().st_mtime < limit:
                    shutil.rmtree(folder, ignore_errors=True)


def _place(path: Path, content: bytes | Path) -> str:
    if isinstance(content, Path):
        try:
            os.rename(content, path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            shutil.copyfile(content, path)
    else:
        path.write_bytes(content)
    return _digest(path)


def _digest(path: Path) -> str:
    """SHA-256 of a file; large files are not read again while inode, size and times stay the same."""
    stat = path.stat()
    stamp = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    if stat.st_size >= LARGE:
        known = _seen.get(path)
        if known is not None and known[0] == stamp:
            return known[1]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if stat.st_size >= LARGE:
        _seen[path] = (stamp, digest)
    return digest


def _reason(error: OSError) -> str:
    text = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{text}. Free some space, or name another folder as `evaluation.cache`."
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"{text}. Make it writable, or name another folder as `evaluation.cache` or in $XDG_CACHE_HOME."
    return f"{text}. Name another folder as `evaluation.cache`."
