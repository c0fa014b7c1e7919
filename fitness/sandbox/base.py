"""The boundary between us and what we do not trust.

A sandboxed process has no network, a scrubbed environment, and (but for the weakest level) sees of the file system only the system's
programs and libraries, read-only, and what it is given. `Sandbox.command` wraps any command line; runners add their own seccomp filter
and limits on top (see `fitness.runner`), which hold on every level where seccomp works.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from fitness.sandbox import cgroup
from fitness.sandbox.completed import Completed, Limits, run_limited
from fitness.sandbox.view import environment, program_paths, python_paths, system_paths

__all__ = ["Sandbox", "SandboxError", "memory_limits"]


def memory_limits() -> str:
    """What bounds the memory of runners and compilers on this host, on every level."""
    each = "limits on each process' address space, and a look at its resident size every 10 ms"
    place = cgroup.place()
    if place is None:
        return f"{each}; no control group ({cgroup.why_not()})"
    counted = "" if place.pids is not None else "; processes are not counted"
    return f"control groups (v{place.version}), hard limits on each family of processes{counted}; {each}"


class SandboxError(Exception):
    """No sandbox of the required strength is to be had here. The message says what was tried, why it failed and what helps."""


class Sandbox(ABC):
    """One way to confine processes on this host. Stateless; cheap to copy and to pickle."""

    level: str
    """Its name, as in `required:LEVEL`."""
    isolates: tuple[str, ...]
    """What it takes away: of files, processes, network, users."""
    advice: tuple[str, ...] = ()
    """What would make it stronger, one sentence each."""

    @abstractmethod
    def command(
        self,
        argv: Sequence[str],
        *,
        read: Sequence[str] = (),
        write: Sequence[str] = (),
        filtered: bool = True,
        devices: Sequence[str] = (),
    ) -> list[str]:
        """The command line that runs `argv` confined. read, write: absolute paths visible beside the system's; the first of `write` is
        the working folder. devices: device nodes it may use (a GPU's). filtered: deny the network by seccomp where no namespace does
        it (a zygote's runners bring a stricter filter, which an outer one would silence). Descriptors above 2 are passed on."""

    def run(
        self,
        argv: Sequence[str],
        *,
        read: Sequence[Path | str] = (),
        write: Path | str | None = None,
        timeout: float = 60.0,
        memory: int = 8 << 30,
        cpu: int = 120,
        output_limit: int = 256 << 10,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Runs a tool (a compiler, a disassembler) to its end. Sees the system and `read`; may write only into the folder `write`, which
        is its working, home and temporary folder. timeout, cpu: seconds. memory, output_limit: bytes."""
        scratch = [] if write is None else [str(Path(write).resolve())]
        visible = [*program_paths(argv[0]), *(str(Path(path).resolve()) for path in read)]
        command = self.command(argv, read=visible, write=scratch)
        limits = Limits(timeout=timeout, memory=memory, cpu=cpu, output=output_limit)
        variables = environment(1, home=scratch[0] if scratch else "/tmp") | dict(env or {})
        return run_limited(command, limits, env=variables)

    def visible(self, read: Sequence[str]) -> list[str]:
        """All read-only paths, the system's first."""
        return list(dict.fromkeys([*system_paths(), *python_paths(), *read]))

    def probe(self) -> str | None:
        """Why this level does not work here, or None. Really runs something in it."""
        try:
            done = self.run(["/bin/sh", "-c", "echo evo-$((40 + 2))"], timeout=20.0)
        except OSError as error:
            return str(error)
        if done.returncode == 0 and b"evo-42" in done.output:
            return None
        return done.text.strip()[-300:] or f"its probe ended with status {done.returncode}"

    def describe(self) -> Mapping[str, object]:
        """Facts for the lineage and the doctor."""
        try:
            actions = Path("/proc/sys/kernel/seccomp/actions_avail").read_text().split()
        except OSError:
            actions = []
        return {
            "level": self.level,
            "isolates": list(self.isolates),
            "seccomp": "names the call" if "user_notif" in actions else "kills" if actions else "none",
            "memory": memory_limits(),
        }

    def strengthen(self) -> tuple[str, ...]:
        return self.advice
