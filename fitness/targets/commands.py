"""Running a compiler or a disassembler on hostile text: the seam to the sandbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from fitness.sandbox import Completed, Limits, choose
from fitness.sandbox.completed import run_limited
from fitness.sandbox.view import environment

__all__ = ["CommandRunner", "Finished", "confined", "unconfined"]


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended."""

    status: int
    """Exit status; negative: the signal that killed it."""
    output: str
    """stdout and stderr as they came, cut at the limit."""
    seconds: float
    ended: Literal["exit", "timeout", "output"]
    """`exit`: by itself, well or not; else the limit that ended it."""


class CommandRunner(Protocol):
    """Runs a command that may read the system, `read` and `write`, may write beneath `write`, and sees nothing else."""

    def __call__(
        self, argv: Sequence[str], *, read: Sequence[Path] = (), write: Path | None = None, timeout: float, memory: int, output_limit: int
    ) -> Finished: ...


def confined(requirement: str = "auto") -> CommandRunner:
    """Runs commands in the strongest sandbox of this host that meets `requirement`. Raises `fitness.sandbox.SandboxError`."""
    sandbox = choose(requirement)

    def run(
        argv: Sequence[str], *, read: Sequence[Path] = (), write: Path | None = None, timeout: float, memory: int, output_limit: int
    ) -> Finished:
        cpu = int(timeout) + 10  # a backstop: the wall clock ends it first
        done = sandbox.run(argv, read=read, write=write, timeout=timeout, memory=memory, cpu=cpu, output_limit=output_limit)
        return _finished(done)

    return run


def unconfined(
    argv: Sequence[str], *, read: Sequence[Path] = (), write: Path | None = None, timeout: float, memory: int, output_limit: int
) -> Finished:
    """Limits and group kill without isolation: for our own text only (the ceiling kernels)."""
    limits = Limits(timeout=timeout, memory=memory, cpu=int(timeout) + 10, output=output_limit)
    return _finished(run_limited(argv, limits, env=environment(1, home=str(write or "/tmp"))))


def _finished(done: Completed) -> Finished:
    ended: Literal["exit", "timeout", "output"] = "timeout" if done.timed_out else "output" if done.flooded else "exit"
    return Finished(done.returncode, done.text, done.seconds, ended)
