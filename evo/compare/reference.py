"""What is known of a problem beforehand: its optimum, its distribution of times, its reachable cells.

All of it is known where the space is recorded; of a measured problem only the best that any run of the comparison found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evo.compare.config import ProblemEntry
from evo.compare.outcome import Outcome
from evo.config import ArchiveSection

__all__ = ["Reference", "measured_reference", "recorded_reference"]


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """One problem of a comparison."""

    problem: str
    optimum: float
    """Highest objective there is, or that any run found."""
    exact: bool
    """Whether `optimum` is the space's own."""
    objectives: NDArray[np.float64] | None = None
    """(working configurations,) every objective of a recorded space, ascending."""
    configurations: int | None = None
    """Of a recorded space, failing ones included."""
    cells: dict[str, float] = field(default_factory=dict)
    """Best objective of every cell that a configuration falls into, or that any run found in it."""
    remeasured: dict[str, float] = field(default_factory=dict)
    """Of a measured problem: best objective of every cell among the elites that were measured afresh."""
    axes: tuple[str, ...] = ()
    """What cells are made of."""

    def share(self, objective: NDArray[np.float64]) -> NDArray[np.float64]:
        """Speed as a share of the optimum's, best time / time: 0 for NaN (nothing found)."""
        return np.where(np.isnan(objective), 0.0, np.exp(np.nan_to_num(objective, nan=-math.inf) - self.optimum))

    @property
    def qd_optimum(self) -> float:
        """QD-score of an archive that holds the best of every reachable cell."""
        return math.fsum(max(0.0, objective) for objective in self.cells.values())

    @property
    def qd_remeasured_optimum(self) -> float:
        """The same from objectives that were measured afresh: a lucky measurement and a fresh one are different kinds."""
        return math.fsum(max(0.0, objective) for objective in self.remeasured.values())


def recorded_reference(entry: ProblemEntry, archive: ArchiveSection) -> Reference:
    """Looks every configuration of a recorded space up."""
    from archive.descriptors import default_descriptors, parse_descriptors
    from fitness.targets.tabular import TabularEvaluator

    evaluator = TabularEvaluator(entry.problem)
    seed = evaluator.seeds()[0]
    space = evaluator.space(seed)
    section = entry.archive or archive
    axes = section.descriptors
    descriptors = parse_descriptors(list(axes)) if axes else default_descriptors("tabular", space)
    objectives: list[float] = []
    cells: dict[str, float] = {}
    total = 0
    for key in space.keys():  # noqa: SIM118 - no dictionary
        total += 1
        kernel = seed.with_key(key)
        evaluation = evaluator.measure(evaluator.prepare(kernel))
        if evaluation.objective is None:
            continue
        objectives.append(evaluation.objective)
        cell = descriptors.cell(evaluation.profile, kernel.values)
        if cell is not None:
            keep_best(cells, [(",".join(map(str, cell)), evaluation.objective)])
    ordered = np.sort(np.array(objectives))
    return Reference(entry.label, float(ordered[-1]), True, ordered, total, cells, axes=descriptors.names)


def measured_reference(entry: ProblemEntry, outcomes: Iterable[Outcome], archive: ArchiveSection) -> Reference:
    """The best that any run found, in each cell and of each kind, so that no run has more than all of it."""
    mine: Sequence[Outcome] = [outcome for outcome in outcomes if outcome.problem == entry.label]
    seen: dict[str, float] = {}
    fresh: dict[str, float] = {}
    for outcome in mine:
        found = [
            (cell, each) for cell, each in zip(outcome.cells, outcome.objective.tolist(), strict=True) if cell and not math.isnan(each)
        ]
        keep_best(seen, [*found, *outcome.elites.items()])
        keep_best(fresh, (outcome.remeasured or {}).items())
    best = max([*fresh.values(), *(outcome.best for outcome in mine)], default=-math.inf)
    return Reference(entry.label, best if math.isfinite(best) else 0.0, False, cells=seen, remeasured=fresh, axes=axes_of(entry, archive))


def keep_best(best: dict[str, float], found: Iterable[tuple[str, float]]) -> None:
    for cell, objective in found:
        best[cell] = max(best.get(cell, -math.inf), objective)


def axes_of(entry: ProblemEntry, archive: ArchiveSection) -> tuple[str, ...]:
    """Names of the axes of a measured problem's archive."""
    from archive.descriptors import default_descriptors, parse_descriptors
    from fitness.problem import Problem

    named, target = (entry.archive or archive).descriptors, entry.toolchain.name
    if named:
        return parse_descriptors(list(named)).names
    space = None if target == "cpp" else Problem.load(entry.problem).seed_kernel(target).space
    return default_descriptors(target, space).names
