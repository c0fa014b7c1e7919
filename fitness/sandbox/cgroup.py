"""Control groups: a hard limit on the memory and the processes of a whole family, kept by the kernel of the operating system.

Limits per process (`setrlimit`) do not add up, and a watchdog looks only now and then; a control group counts every page and every
process of all that descend from one. It needs a folder of the hierarchy in which we may make groups and which hands the memory
controller on: a user's systemd session, root's, or what a container was given. Nothing is changed but groups of our own.

Sources: Documentation/admin-guide/cgroup-v2.rst (delegation, "no internal processes"), cgroup-v1/memory.rst, cgroup-v1/pids.rst.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["ADVICE", "Group", "Place", "entering", "find", "place", "why_not"]

OFF = "EVO_CGROUP"
"""Environment variable; `off` leaves control groups alone."""
ADVICE = (
    "Run it where it may make control groups with a memory controller: `systemd-run --user --scope evo …` (or as root); in a container "
    "with cgroup v2 mounted writable, move its processes into a leaf and `echo '+memory +pids' > /sys/fs/cgroup/cgroup.subtree_control`."
)
_PREFIX = "evo-"
_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of the hierarchy whose children have a memory controller and which we may add to."""

    version: int
    """2, or 1 where each controller has a hierarchy of its own."""
    memory: Path
    pids: Path | None
    """The same folder in version 2; None where processes cannot be counted."""

    @property
    def folders(self) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(folder for folder in (self.memory, self.pids) if folder is not None))


def find(mounts: str, own: str) -> tuple[Place | None, str]:
    """(a place, or None; then why there is none). mounts, own: the text of /proc/self/mountinfo and /proc/self/cgroup.

    Version 2 first: the own group or the nearest group above it that is writable and passes the memory controller to its children.
    """
    reasons = []
    controllers = {names: path for _, names, path in (line.split(":", 2) for line in own.splitlines() if line.count(":") >= 2)}
    unified = _folder(mounts, "cgroup2", "", controllers.get("", ""))
    if unified is None:
        reasons.append("cgroup v2 is not mounted")
    else:
        top, here = unified
        for folder in _upwards(top, here):
            if _writable(folder) and "memory" in _words(folder / "cgroup.subtree_control"):
                pids = folder if "pids" in _words(folder / "cgroup.subtree_control") else None
                return Place(2, folder, pids), ""
        known = "memory" in _words(here / "cgroup.controllers")
        reasons.append("no writable group of cgroup v2 passes the memory controller on" if known else "cgroup v2 has no memory here")
    memory = _version_1(mounts, controllers, "memory")
    if memory is not None:
        return Place(1, memory, _version_1(mounts, controllers, "pids")), ""
    return None, "; ".join([*reasons, "no writable memory hierarchy of cgroup v1"])


def _version_1(mounts: str, controllers: dict[str, str], controller: str) -> Path | None:
    path = next((path for names, path in controllers.items() if controller in names.split(",")), None)
    found = None if path is None else _folder(mounts, "cgroup", controller, path)
    return found[1] if found is not None and _writable(found[1]) else None


def _folder(mounts: str, kind: str, controller: str, path: str) -> tuple[Path, Path] | None:
    """(where the hierarchy is mounted, our own group in it); None where it is not mounted or our group is out of sight."""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields, system = before.split(), after.split()
        if len(fields) < 5 or len(system) < 3 or system[0] != kind or (controller and controller not in system[2].split(",")):
            continue
        root, top = fields[3], Path(fields[4].replace("\\040", " "))
        relative = os.path.relpath(path or "/", root)
        if not relative.startswith("..") and (top / relative).is_dir():
            return top, top if relative == "." else top / relative
    return None


def _upwards(top: Path, here: Path) -> list[Path]:
    return [here, *(folder for folder in here.parents if folder == top or top in folder.parents)] if here != top else [top]


def _writable(folder: Path) -> bool:
    # To move a process, the group it shares with its new one must be writable too; ours lies below `folder`.
    return os.access(folder, os.W_OK | os.X_OK) and os.access(folder / "cgroup.procs", os.W_OK)


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []


@cache
def _found() -> tuple[Place | None, str]:
    if os.environ.get(OFF) == "off":
        return None, f"{OFF}=off"
    try:
        found, why = find(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    except OSError as error:
        return None, str(error)
    if found is None:
        return None, why
    _sweep(found)
    try:
        with Group(found, memory=64 << 20, processes=16) as group:
            done = subprocess.run(entering(group, ["/bin/sh", "-c", "exit 42"]), capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"groups cannot be made in {found.memory}: {error}"
    if done.returncode == 42:
        return found, ""
    return None, f"processes cannot be moved into groups in {found.memory}: {done.stderr.strip()}"


def place() -> Place | None:
    """Where groups can be made here; None where they cannot. Tried out, once per process."""
    return _found()[0]


def why_not() -> str:
    """Why there is no place; empty where there is one."""
    return _found()[1]


def _sweep(at: Place) -> None:
    """Removes groups that processes of ours which were killed left behind; those that hold processes stay."""
    for folder in at.folders:
        for stale in folder.glob(f"{_PREFIX}*-*"):
            owner = stale.name.removeprefix(_PREFIX).partition("-")[0]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                with contextlib.suppress(OSError):
                    stale.rmdir()


def entering(group: Group | None, argv: Sequence[str]) -> list[str]:
    """The command line under which `argv` runs in the group from its first instruction, as the same process. It fails with status 126
    where the group cannot be entered."""
    if group is None:
        return list(argv)
    files = " ".join(f"'{file}'" for file in group.entrances)
    return ["/bin/sh", "-c", f'for group in {files}; do echo $$ > "$group" || exit 126; done; exec "$@"', "sh", *argv]


class Group:
    """One group, empty at first. memory: bytes, swap included, of all its processes. processes: threads count. Raises OSError."""

    def __init__(self, at: Place, *, memory: int, processes: int) -> None:
        self._place = at
        name = f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
        self._folders = [folder / name for folder in at.folders]
        try:
            for folder in self._folders:
                folder.mkdir()
            self._limit(at.memory / name, memory)
            if at.pids is not None:
                (at.pids / name / "pids.max").write_text(str(processes))
        except OSError:
            self.close()
            raise

    def _limit(self, folder: Path, memory: int) -> None:
        hard, swap, no_swap = ("memory.max", "memory.swap.max", "0")
        if self._place.version == 1:
            hard, swap, no_swap = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", str(memory))  # memory and swap together
        (folder / hard).write_text(str(memory))
        if (folder / swap).exists():  # not without swap accounting
            (folder / swap).write_text(no_swap)

    @property
    def entrances(self) -> tuple[Path, ...]:
        """Files that a process's number is written to."""
        return tuple(folder / "cgroup.procs" for folder in self._folders)

    @property
    def killed(self) -> int:
        """How many processes the kernel has killed in it because the memory was used up."""
        file = self._folders[0] / ("memory.events" if self._place.version == 2 else "memory.oom_control")
        words = _words(file)
        return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words[:-1] else 0

    def close(self) -> None:
        """Kills what is in it and removes it. Idempotent."""
        folders, self._folders = self._folders, []
        for folder in folders:
            if not folder.exists():
                continue
            for attempt in range(50):
                self._kill(folder)
                try:
                    folder.rmdir()
                    break
                except OSError:  # the dead are still leaving
                    time.sleep(0.002 * (attempt + 1))

    def _kill(self, folder: Path) -> None:
        with contextlib.suppress(OSError):
            if (folder / "cgroup.kill").exists():
                (folder / "cgroup.kill").write_text("1")
                return
        for number in _words(folder / "cgroup.procs"):
            with contextlib.suppress(OSError):
                os.kill(int(number), signal.SIGKILL)

    def __enter__(self) -> Group:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
