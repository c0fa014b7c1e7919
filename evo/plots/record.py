"""What a picture needs to know of a run, as plain arrays: drawing never touches the database."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from archive.candidate import Cell

__all__ = ["AxisLabels", "Certified", "RunRecord", "read_record"]


@dataclass(frozen=True, slots=True)
class AxisLabels:
    """One descriptor: its name and the name of each of its bins."""

    name: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Certified:
    """A certified speedup over one baseline with its 95 % prediction interval."""

    baseline: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class RunRecord:
    """A run as a picture sees it. Arrays have one element per evaluation, in commit order."""

    name: str
    problem: str
    target: str
    speedup: NDArray[np.float64]
    """Speedup over the search's baseline; NaN where the outcome is not `ok`."""
    outcome: tuple[str, ...]
    operator: tuple[str, ...]
    axes: tuple[AxisLabels, ...] = ()
    elites: Mapping[Cell, float] = field(default_factory=dict)
    """Speedup of the elite of every filled cell."""
    baseline: str = "baseline"
    """What the speedups are over."""
    seed_speedup: float | None = None
    """Best of the plain seeds, as the search measured them."""
    certified: Certified | None = None

    @property
    def evaluations(self) -> int:
        return len(self.outcome)

    @property
    def best_so_far(self) -> NDArray[np.float64]:
        """(evaluations,) running maximum; NaN before the first `ok`."""
        if not self.evaluations:
            return self.speedup
        running = np.maximum.accumulate(np.where(np.isnan(self.speedup), -np.inf, self.speedup))
        return np.where(np.isinf(running), np.nan, running)

    @property
    def best(self) -> float | None:
        finite = self.speedup[~np.isnan(self.speedup)]
        return float(finite.max()) if finite.size else None

    @property
    def possible_cells(self) -> int:
        count = 1
        for axis in self.axes:
            count *= len(axis.labels)
        return count


def read_record(run: Path) -> RunRecord:
    """The record of a run, finished or not, from its database. Raises what `evo.reading.open_run` raises."""
    from evo.reading import open_run

    with open_run(run) as reader:
        facts = reader.facts()
        evaluations = reader.evaluations()
        elites = reader.elites()
        axes = reader.axes()
    speedup = np.array([math.nan if value is None else value for _, _, value in evaluations])
    operators = tuple(operator for _, operator, _ in evaluations)
    seeds = [value for _, operator, value in evaluations if operator == "seed" and value is not None]
    best = facts.best
    certified = None
    if best is not None and best.certified is not None:
        against = "NumPy" if best.certified_against == "numpy" else best.certified_against
        certified = Certified(against, best.certified.value, best.certified.low, best.certified.high)
    return RunRecord(
        name=facts.name,
        problem=Path(facts.problem).name,
        target=facts.target,
        speedup=speedup,
        outcome=tuple(outcome for outcome, _, _ in evaluations),
        operator=operators,
        axes=tuple(AxisLabels(name, labels) for name, labels in axes),
        elites=elites,
        baseline="the median" if facts.target == "tabular" else "NumPy",
        seed_speedup=max(seeds, default=None),
        certified=certified,
    )
