"""What can be known of a run, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from archive.candidate import Cell
from archive.evaluation import Outcome

__all__ = ["Best", "Estimated", "RunFacts"]


@dataclass(frozen=True, slots=True)
class Estimated:
    """A speedup with a 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Best:
    """The best elite that did not fail certification."""

    candidate: int
    kernel: str
    operator: str
    cell: Cell | None
    speedup: float
    certified: Estimated | None
    certified_against: str
    roofline_share: float | None
    ancestry: str
    """`0 seed > 12 mutate_uniform > …`."""
    source: str


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run is and how far it came."""

    name: str
    path: Path
    problem: str
    target: str
    strategy: str
    created: str
    """UTC, ISO 8601."""
    state: str
    """`running`, `killed` (its process ended without saying why), or what its last session was stopped by."""
    seconds: float
    """Wall time over all sessions, opening and certification included."""
    proposals: int
    outcomes: Mapping[str, int]
    """Evaluated candidates by outcome."""
    remeasured: int
    """Further measurements of elites, which the budget counts as evaluations."""
    in_flight: int
    """Proposals that are stored and not finished."""
    cells: int
    """How many are filled."""
    best: Best | None

    @property
    def evaluations(self) -> int:
        """What the budget counts: evaluated candidates and re-measurements, but no failures of the evaluator itself."""
        return sum(count for outcome, count in self.outcomes.items() if outcome != Outcome.INFRASTRUCTURE_ERROR) + self.remeasured
