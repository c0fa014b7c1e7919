"""The seam between a search and the world: what every evaluator, measured or recorded, offers.

The engine calls `prepare` (off the device, several at once), finds the candidate's cell from the returned profile, and
calls `measure` with that cell's bar (on the device, one at a time). The recorded (`tabular`) evaluator and the measuring
one take the same way; nothing above this floor knows which it talks to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from archive.evaluation import EMPTY, NO_COST, Diagnostic, Environment, Evaluation, Samples
from archive.kernel import Kernel
from archive.space import Space
from archive.tunables import Value

__all__ = ["PROTOCOL_VERSION", "Bar", "Certificate", "CertifiedShape", "Duel", "Estimate", "EvaluationSettings", "Evaluator", "Prepared"]

PROTOCOL_VERSION = 3
"""Raised whenever a change of the evaluation protocol makes older figures incomparable. 2: arguments lie in huge pages, no lane follows
itself. 3: on a CPU the faster half of the repetitions counts, no longer their median (on a GPU nothing changed)."""


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """The `evaluation` section of a config; picklable, so that a worker process can build its own evaluator from it."""

    compiler: str = "auto"
    """`auto` (g++, else clang++), a command name, or a path."""
    threads: int = 1
    core: int | None = None
    """Measuring core; None takes the last one this process may use."""
    repetitions: int = 16
    """Cap on timed pairs per shape in a search, while somebody waits for the device (`fitness.timing.FREE`)."""
    precision: float = 0.02
    """Relative width of the 95 % interval at which repetition stops."""
    call_timeout: float = 10.0
    """Seconds one call may take before the candidate counts as hung (shorter once the baseline is known)."""
    build_timeout: float = 60.0
    memory: int = 4 << 30
    """Bytes a runner may hold beyond the shared buffers."""
    sandbox: str = "auto"
    """`auto` (strongest available) or `required:LEVEL`."""
    cache: Path | None = None
    """Root of build, native-library and roofline caches; None is `$XDG_CACHE_HOME/evo` (`~/.cache/evo`)."""
    architecture: str = "auto"
    """Of a GPU target: `auto` (the device's own), or one to build for where there is no device, such as `sm_90` or `gfx942`."""
    certify_processes: int = 9
    certify_spacing: float = 2.0
    """Seconds from the start of one of these to that of the next, at the least, on a CPU: what is measured within a moment does not know
    how the machine drifts, and promises too much (experiments/results/noise.txt)."""
    certify_shapes: str = "held_out"


@dataclass(frozen=True, slots=True)
class Bar:
    """What a challenger has to beat: its cell's elite, as samples."""

    kernel_id: str
    objective: float
    interval: tuple[float, float]
    samples: tuple[Samples, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A kernel that was built and described, or failed to be."""

    kernel: Kernel
    profile: Mapping[str, Value] = field(default_factory=lambda: EMPTY)
    artifact: str = ""
    """Content hash of what was built; identical hashes are identical programs."""
    handle: object = None
    """Picklable; what this evaluator needs to load the artifact."""
    failed: Evaluation | None = None
    """Set when policy, build or description ended the cascade; such a kernel is never measured."""
    cost: Mapping[str, float] = field(default_factory=lambda: NO_COST)


@dataclass(frozen=True, slots=True)
class Duel:
    """A paired, interleaved comparison of two kernels in one sitting."""

    advantage: float
    """ln(time of incumbent / time of challenger), geometric mean over shapes; positive: the challenger is faster."""
    interval: tuple[float, float]
    challenger: Evaluation
    incumbent: Evaluation
    """Fresh evaluations of both (samples of this sitting, to be appended to what they hold)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A ratio with its 95 % prediction interval: where the next certification of the same kernel is expected to land."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CertifiedShape:
    shape: str
    seconds: float
    baselines: Mapping[str, float]
    """Seconds per call by baseline name, measured interleaved with the kernel."""
    roofline_share: float | None
    bytes_moved: int
    flops: int
    shares: Mapping[str, float] = field(default_factory=dict)
    """Of each ceiling by its name (`fitness.shares`): what it takes / what the kernel takes, both of the same rounds."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A winner measured afresh: new processes, new secret seeds, shapes the search never saw."""

    kernel_id: str
    ok: bool
    against: Mapping[str, Estimate] = field(default_factory=dict)
    """Speedup over each baseline by name (`numpy`, `seed`, `torch`, …), geometric mean over shapes."""
    strongest: str = ""
    """Name of the fastest baseline; the speedup over it is the one to print first."""
    roofline_share: float | None = None
    """Geometric mean over shapes of minimum possible time / measured time."""
    shares: Mapping[str, float] = field(default_factory=dict)
    """Geometric means over shapes of their shares."""
    roofline: str = ""
    """Which of these ceilings is the problem's roofline (`fitness.shares.binding`)."""
    shapes: tuple[CertifiedShape, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    processes: int = 0
    environment: str = ""
    seconds: float = 0.0
    """Wall time the certification took."""


@runtime_checkable
class Evaluator(Protocol):
    """Whether a kernel is right and how fast; see `fitness.measuring.MeasuringEvaluator` and `fitness.targets.tabular.TabularEvaluator`."""

    inline: bool
    """True when `prepare` and `measure` return at once (recorded spaces): the engine then calls them in its own thread."""
    deterministic: bool
    """True when measuring twice gives the same number: no bars, contests, duels or re-measurements."""

    def environment(self) -> Environment: ...

    def seeds(self) -> Sequence[Kernel]:
        """The plain kernels a search starts from, at least one."""
        ...

    def space(self, kernel: Kernel) -> Space:
        """`kernel.space`, narrowed by the problem where it must be (a recorded space knows which configurations exist)."""
        ...

    def prepare(self, kernel: Kernel) -> Prepared:
        """Policy, build, describe. Thread-safe. Never raises for a bad kernel."""
        ...

    def measure(self, prepared: Prepared, bar: Bar | None = None) -> Evaluation:
        """Verify, screen against `bar`, time. Never raises for a bad kernel."""
        ...

    def duel(self, challenger: Prepared, incumbent: Prepared) -> Duel: ...

    def certify(self, prepared: Prepared, seed: Prepared | None = None) -> Certificate:
        """Afresh, on held-out shapes, against every baseline and, when given, the plain seed."""
        ...

    def close(self) -> None:
        """Ends every process it started and frees shared memory. Idempotent."""
        ...
