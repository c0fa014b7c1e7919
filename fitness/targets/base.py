"""`Target`: a toolchain and a device. What every one of them offers to the evaluator.

To add one: subclass `Target`, give it a `name` and a `language`, implement the five verbs, register it in
`fitness.targets.registry`, and run `tests/conformance/test_targets.py` on it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from archive.evaluation import Diagnostic, Outcome
from archive.kernel import Kernel
from archive.tunables import Value

if TYPE_CHECKING:
    from fitness.device import Device
    from fitness.problem import Problem
    from fitness.program import Program

__all__ = ["Artifact", "BuildFailure", "Target", "TargetError"]


class TargetError(Exception):
    """The target cannot be used here (no compiler, an unknown name); the message says what to do.

    Args:
        what: what is wrong; enough by itself when nothing else is given.
        key: the config key or environment variable it is about.
        found: what is there.
        expected: what would be right.
        remedy: what to do.
    """

    def __init__(self, what: str, *, key: str = "", found: str = "", expected: str = "", remedy: str = "") -> None:
        parts = {"found": found, "expected": expected}
        said = "; ".join(f"{label} {part}" for label, part in parts.items() if part)
        where = f"{key}: " if key else ""
        super().__init__(f"{where}{what.removesuffix('.')} ({said}). {remedy}".rstrip() if said else f"{where}{what} {remedy}".rstrip())
        self.what, self.key, self.found, self.expected, self.remedy = what, key, found, expected, remedy


class BuildFailure(Exception):
    """A kernel could not be built: how the evaluation ends, and why. `outcome` is never `ok`."""

    def __init__(self, outcome: Outcome, diagnostic: Diagnostic, seconds: float = 0.0) -> None:
        super().__init__(diagnostic.message)
        self.outcome = outcome
        self.diagnostic = diagnostic
        self.seconds = seconds
        """Wall time that the failed build took."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A built kernel, in the cache. Picklable."""

    path: Path
    hash: str
    """Over what is loaded and run (code, data, imports), so that sources differing in dead code or comments only agree."""
    seconds: float
    """Wall time of the build that this call did; 0 when it was in the cache."""
    cached: bool
    facts: Mapping[str, Value] = field(default_factory=dict)
    """What the build itself found out, e.g. `code_bytes`, `compiler`."""


class Target(ABC):
    """A toolchain and a device. Implementations are thread-safe and picklable (a worker process gets its own)."""

    name: ClassVar[str]
    language: ClassVar[str]
    """Language of the kernels it builds, as in `Kernel.language`."""

    @abstractmethod
    def policy(self, kernel: Kernel) -> Diagnostic | None:
        """Why this text is refused unbuilt, or None. Advisory: it saves time and explains; it is never the only guard."""

    @abstractmethod
    def build(self, kernel: Kernel) -> Artifact:
        """Builds it, or finds it built. Off the device; several at once. Raises `BuildFailure`."""

    def instrumented(self, kernel: Kernel) -> Artifact | None:
        """The kernel built so that undefined behaviour ends it with a trap, for certification; None where the target has no such build.

        Raises `BuildFailure`.
        """
        return None

    @abstractmethod
    def program(self, artifact: Artifact) -> Program:
        """What a runner loads."""

    @abstractmethod
    def describe(self, artifact: Artifact, kernel: Kernel, problem: Problem | None = None) -> dict[str, Value]:
        """The static profile: flat facts known without running the kernel; the keys never depend on the kernel, but for `tunable.*`.

        Raises `BuildFailure` when the artifact cannot be read.
        """

    @abstractmethod
    def device(self) -> Device:
        """The machine it runs on."""
