"""A kernel in a run: what was proposed, what was drafted, what came of it.

    Proposal ──operator──▶ Draft ──evaluator──▶ Evaluation ──archive──▶ Candidate
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from archive.evaluation import Evaluation
from archive.kernel import Kernel
from archive.tunables import Value

__all__ = ["AddStatus", "Candidate", "Cell", "Draft", "Goal", "Proposal", "Repair", "SetValues", "VisitCell"]

Cell = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SetValues:
    """Goal: exactly these tunable values (differential evolution, a sampler, a surrogate)."""

    values: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class VisitCell:
    """Goal: a kernel in this cell of the archive (directed mutation)."""

    cell: Cell


@dataclass(frozen=True, slots=True)
class Repair:
    """Goal: make this failed candidate right."""

    candidate: int


Goal = SetValues | VisitCell | Repair | None


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a strategy wants made. Stored before any work is paid for."""

    number: int
    """Position in the run, from 0; also the number of the candidate that comes of it and the seed of its random generator."""
    operator: str
    parents: tuple[int, ...] = ()
    """Candidate numbers; empty for seeds."""
    goal: Goal = None


@dataclass(frozen=True, slots=True)
class Draft:
    """What an operator made of a proposal: a kernel, or why none."""

    kernel: Kernel | None
    reason: str = ""
    """Why there is no kernel (`exhausted`, `no_parent_tunables`, `refused`, …); empty when there is one."""
    notes: Mapping[str, object] = field(default_factory=dict)
    """JSON-able facts for the lineage: values changed, model, prompt id, dollars, …"""


class AddStatus(StrEnum):
    """What an archive did with a candidate."""

    NEW = "new"
    """The cell was empty; the candidate is its elite."""
    IMPROVE = "improve"
    """Better than the incumbent beyond noise; it replaced the incumbent."""
    CONTEST = "contest"
    """Within noise of the incumbent; nothing changed yet, a paired duel decides (see `GridArchive.settle`)."""
    REJECT = "reject"
    """Worse than the incumbent, not `ok`, or outside the archive under the `drop` policy."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A kernel in a run: its parents, operator and outcome."""

    proposal: Proposal
    kernel: Kernel | None
    """None when the operator could draft none."""
    evaluation: Evaluation | None
    """None when there is no kernel, or when the kernel was a duplicate of `duplicate_of`."""
    cell: Cell | None = None
    status: AddStatus | None = None
    """None when nothing was offered to the archive."""
    duplicate_of: int | None = None
    notes: Mapping[str, object] = field(default_factory=dict)

    @property
    def number(self) -> int:
        return self.proposal.number

    @property
    def objective(self) -> float | None:
        return None if self.evaluation is None else self.evaluation.objective

    @property
    def ok(self) -> bool:
        return self.evaluation is not None and self.evaluation.ok
