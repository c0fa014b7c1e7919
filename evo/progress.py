"""What a run tells whoever watches it, a few times a second."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Observer", "Progress", "Stage"]


class Stage(StrEnum):
    """What a run is doing."""

    OPEN = "open"
    """Opening the evaluator: problem, compiler, sandbox, ceilings."""
    REPLAY = "replay"
    """Rebuilding archive and strategy from the lineage."""
    SEED = "seed"
    """Verifying and timing the plain kernels that the search starts from."""
    SEARCH = "search"
    CERTIFY = "certify"
    """Measuring the winner afresh."""
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Progress:
    """A run at one moment."""

    run: str
    """The run's name (its folder's)."""
    stage: Stage
    evaluations: int = 0
    evaluations_left: int | None = None
    """None when the budget does not limit evaluations."""
    proposals: int = 0
    best_speedup: float | None = None
    """Over the problem's baseline, as measured in the search; None before the first `ok`."""
    best_candidate: int | None = None
    best_descriptors: Mapping[str, str] = field(default_factory=dict)
    """Bin labels of the best candidate's cell by descriptor name; empty while it has none."""
    coverage: float = 0.0
    """Share of the archive's cells that are filled, 0..1."""
    cells: int = 0
    """How many cells are filled."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """Candidates that did not end `ok`, by outcome."""
    in_flight: int = 0
    seconds: float = 0.0
    """Wall time of the run, over all its resumes."""
    seconds_left: float | None = None
    """To the budget's wall-time limit, else estimated from the evaluations left; None when neither is limited."""
    budget_left: float = 1.0
    """Share of the scarcest budget that is left, 0..1."""
    message: str = ""
    """One line for the reader when something happened (a new best, a retry), else empty."""


Observer = Callable[[Progress], None]
