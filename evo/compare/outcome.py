"""What one run of a comparison came to, as plain arrays: all that tables and pictures are made of."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archive.rows import cell_of
from evo.compare.schedule import Task

__all__ = ["Outcome", "read_outcome"]

Floats = NDArray[np.float64]
CellKey = str

EVALUATIONS = """
SELECT v.outcome AS outcome, v.objective AS objective, e.cost AS cost, c.cell AS cell, p.notes AS notes
FROM convergence v JOIN candidates c ON c.run = v.run AND c.number = v.candidate JOIN evaluations e ON e.id = c.evaluation
JOIN proposals p ON p.run = v.run AND p.number = v.candidate WHERE v.run = ? ORDER BY v.evaluation
"""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """One finished run. Arrays have one element per evaluation, in order."""

    problem: str
    strategy: str
    seed: int
    objective: Floats
    """ln of the speedup over the baseline; NaN where the outcome is not `ok`."""
    seconds: Floats
    """Spent when the evaluation was over: what recording took, or on a measured problem building and measuring (measured once for a
    program; built once for all runs that share a cache)."""
    dollars: Floats
    cells: tuple[CellKey, ...]
    """The cell each evaluation fell into, as text; empty when none."""
    stopped_by: str = ""
    elites: dict[CellKey, float] = field(default_factory=dict)
    """Objective of each cell's elite at the end, from all of its samples."""
    remeasured: dict[CellKey, float] | None = None
    """The same elites measured afresh; those that failed then are missing. None where measuring is exact."""
    machine_seconds: float = 0.0
    """What the run took here."""

    @property
    def best(self) -> float:
        """Highest objective; -inf when nothing was right."""
        return float(np.nanmax(self.objective, initial=-math.inf))

    def row(self, identity: str) -> dict[str, Any]:
        """JSON-able; `from_row` reads it back exactly."""
        return {
            "run": identity,
            "problem": self.problem,
            "strategy": self.strategy,
            "seed": self.seed,
            "objective": [None if math.isnan(value) else value for value in self.objective.tolist()],
            "seconds": self.seconds.tolist(),
            "dollars": self.dollars.tolist() if self.dollars.any() else None,
            "cells": list(self.cells),
            "stopped_by": self.stopped_by,
            "elites": self.elites,
            "remeasured": self.remeasured,
            "machine_seconds": round(self.machine_seconds, 4),
        }

    @classmethod
    def from_row(cls, row: dict[str, Any], task: Task) -> Outcome:
        """The outcome in a journal's row, under the labels that the task has now."""
        objective = np.array([math.nan if value is None else value for value in row["objective"]], dtype=np.float64)
        dollars = np.zeros(len(objective)) if row["dollars"] is None else np.array(row["dollars"], dtype=np.float64)
        return cls(
            task.problem, task.strategy, task.seed, objective, np.array(row["seconds"], dtype=np.float64), dollars, tuple(row["cells"]),
            row["stopped_by"], row["elites"], row["remeasured"], row["machine_seconds"],
        )  # fmt: skip


def read_outcome(task: Task, folder: Path, stopped_by: str, remeasured: dict[CellKey, float] | None, machine_seconds: float) -> Outcome:
    """The outcome of the finished run in `folder`, from its lineage."""
    from evo.reading import open_run

    with open_run(folder) as reader:
        rows = reader.lineage.select(EVALUATIONS, (reader.record.id,))
        elites = reader.lineage.select("SELECT cell, objective FROM elites WHERE run = ? AND objective IS NOT NULL", (reader.record.id,))
    seconds: list[float] = []
    dollars: list[float] = []
    spent = paid = 0.0
    for row in rows:
        spent += spent_on(json.loads(row["cost"]))
        paid += json.loads(row["notes"] or "{}").get("dollars", 0.0)
        seconds.append(spent)
        dollars.append(paid)
    objective = np.array([row["objective"] if row["outcome"] == "ok" else math.nan for row in rows], dtype=np.float64)
    return Outcome(
        task.problem, task.strategy, task.seed, objective, np.array(seconds), np.array(dollars),
        tuple(key_of(row["cell"]) if row["outcome"] == "ok" else "" for row in rows), stopped_by,
        {key_of(row["cell"]): row["objective"] for row in elites}, remeasured, machine_seconds,
    )  # fmt: skip


def spent_on(cost: Mapping[str, float]) -> float:
    """Seconds that one evaluation took."""
    return cost["recorded"] if "recorded" in cost else cost.get("build", 0.0) + cost.get("measure", 0.0)


def key_of(text: str | None) -> CellKey:
    """A cell as the lineage writes it, as one short text."""
    cell = cell_of(text)
    return "" if cell is None else ",".join(map(str, cell))
