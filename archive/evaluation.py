"""What was found out about a kernel: outcome, diagnostics, samples, profile, cost.

An `Evaluation` is a fact. It is made once by an evaluator (floor 2), stored by the lineage as it is, and never edited;
measuring the same kernel again makes another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from archive.tunables import Value

__all__ = ["Diagnostic", "Environment", "Evaluation", "Outcome", "Samples"]

EMPTY: Mapping[str, Value] = MappingProxyType({})
NO_COST: Mapping[str, float] = MappingProxyType({})


class Outcome(StrEnum):
    """How the evaluation of one kernel ended."""

    OK = "ok"
    """Right on every call that was checked, and timed."""
    REJECTED = "rejected"
    """Refused for what it is or does: policy, a forbidden system call, a broken guard zone, work off the clock, an impossible time."""
    BUILD_ERROR = "build_error"
    """The compiler (or the tunables' parser) refused the text."""
    WRONG = "wrong"
    """An output differs from the reference by more than the tolerance."""
    CRASH = "crash"
    """The runner died: a signal, an exit, an uncaught exception."""
    TIMEOUT = "timeout"
    """A call, the load or the build ran over its limit."""
    OUT_OF_MEMORY = "out_of_memory"
    """A memory limit was reached."""
    INFEASIBLE = "infeasible"
    """Not a member of the problem's space; costs no budget."""
    INFRASTRUCTURE_ERROR = "infrastructure_error"
    """The evaluator failed, not the kernel; says nothing about the kernel and is never reused."""

    @property
    def reusable(self) -> bool:
        """Whether a later identical kernel may take this outcome over without being evaluated."""
        return self in (Outcome.OK, Outcome.WRONG, Outcome.BUILD_ERROR, Outcome.REJECTED)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding, written for the person or model that will repair the kernel."""

    stage: str
    """Stage of the cascade: identity, policy, build, describe, load, verify, screen, time, canary, roofline, certify."""
    reason: str
    """A stable slug to count and match by, e.g. `forbidden_include`, `wrong_values`, `illegal_access`, `call_timeout`."""
    message: str
    """Full sentences: what was found, where, what was expected."""
    details: Mapping[str, object] = field(default_factory=dict)
    """JSON-able facts behind the message (shape, index, expected, got, line, signal, address, limit, …)."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Timed repetitions on one shape; element i of both arrays was measured in one sitting, so ratios are paired."""

    shape: str
    """The shape's label, e.g. `rows=4096,cols=1024`."""
    seconds: NDArray[np.float64]
    """(n,) seconds per call of the kernel."""
    baseline: NDArray[np.float64]
    """(n,) seconds per call of the baseline, paired."""
    only_longer: bool = False
    """Whether disturbances can only have made these times longer, as those of single calls by the clock, and never shorter, as slopes
    between batches. What stands for them all is then the faster half, else the median (`archive.stats`)."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Where something was measured. Equal facts give equal ids."""

    id: str
    facts: Mapping[str, object] = field(default_factory=dict)
    """device, cores, memory, os, python, compiler, sandbox, protocol version, measured ceilings, …"""


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Everything one evaluation found out about one kernel."""

    kernel_id: str
    outcome: Outcome
    diagnostics: tuple[Diagnostic, ...] = ()
    objective: float | None = None
    """ln(speedup over the problem's baseline), geometric mean over shapes; higher is better; None unless `ok`."""
    interval: tuple[float, float] | None = None
    """95 % bootstrap interval of `objective`."""
    samples: tuple[Samples, ...] = ()
    profile: Mapping[str, Value] = field(default_factory=lambda: EMPTY)
    """Flat measured facts. What `describe` found (known before timing) plus `bandwidth`, `flop_rate`, `roofline_share`, … after it,
    and on CPUs `error`: the largest error of an element over all checked calls, as a share of the tolerance (1 is what is just allowed)."""
    cost: Mapping[str, float] = field(default_factory=lambda: NO_COST)
    """Seconds of wall time by stage (`build`, `wait`, `fork`, `fill`, `check`, `kernel`, `baseline`, `statistics`, …), `cpu` seconds,
    and the counts `calls`, `rounds`, `retries`, `preempted`."""
    artifact: str = ""
    """Content hash of the built artifact; empty when nothing was built."""
    environment: str = ""
    """Id of the `Environment` it was measured in."""
    reused: str = ""
    """Kernel id whose evaluation this one repeats (identical artifact), else empty."""

    @property
    def ok(self) -> bool:
        return self.outcome is Outcome.OK

    @property
    def speedup(self) -> float | None:
        """exp(objective): how many times faster than the baseline."""
        return None if self.objective is None else float(np.exp(self.objective))
