"""Who holds a cell, and what a change to a cell was."""

from __future__ import annotations

import math
from dataclasses import dataclass

from archive.candidate import AddStatus, Candidate, Cell
from archive.evaluation import Samples
from archive.kernel import Kernel
from archive.stats import Interval

__all__ = ["AddResult", "Change", "Elite"]


@dataclass(frozen=True, slots=True, eq=False)
class Elite:
    """A candidate that holds a cell or waits on its bench, with everything ever measured of it."""

    candidate: Candidate
    objective: float
    """Of all samples gathered so far, not only of the first evaluation."""
    low: float
    high: float
    """95 % interval of `objective`."""
    samples: tuple[Samples, ...] = ()
    sittings: int = 1
    """How many evaluations the samples come from."""

    @property
    def number(self) -> int:
        return self.candidate.number

    @property
    def kernel(self) -> Kernel:
        kernel = self.candidate.kernel
        assert kernel is not None  # only `ok` evaluations enter an archive
        return kernel

    @property
    def interval(self) -> tuple[float, float]:
        return self.low, self.high

    @property
    def speedup(self) -> float:
        return math.exp(self.objective)


@dataclass(frozen=True, slots=True)
class AddResult:
    """What `offer` did."""

    status: AddStatus
    cell: Cell | None
    """None when the descriptors drop the candidate, or when it has no evaluation that is `ok`."""
    incumbent: Elite | None
    """Who held the cell before the offer."""
    elite: Elite | None
    """Who holds it now."""


@dataclass(frozen=True, slots=True)
class Change:
    """What `settle` or `remeasure` did to one cell."""

    cell: Cell
    before: Elite | None
    after: Elite | None
    """None when nobody is left in the cell."""
    estimates: tuple[tuple[int, Interval | None], ...]
    """New estimate of each candidate that was measured again; None when it was not `ok` and left the archive."""

    @property
    def demoted(self) -> bool:
        """Whether the cell lost the elite that it had."""
        return self.before is not None and (self.after is None or self.after.number != self.before.number)
