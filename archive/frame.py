"""A run as pandas frames. pandas is imported here and only when asked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas

    from archive.base import Archive
    from archive.lineage import Lineage

__all__ = ["candidates_frame", "elites_frame"]


def candidates_frame(lineage: Lineage) -> pandas.DataFrame:
    """One row per candidate in commit order, indexed by number.

    Columns: operator, parents, kernel, outcome, reason (of the first diagnostic), status, cell, duplicate_of, objective, low,
    high (ln), speedup, `tunable.*` values, `profile.*` facts and `cost.*` seconds. Absent values are NaN or None.
    """
    import pandas

    rows: list[dict[str, object]] = []
    for c in lineage.candidates():
        evaluation = c.evaluation
        row: dict[str, object] = {
            "number": c.number,
            "operator": c.proposal.operator,
            "parents": c.proposal.parents,
            "kernel": None if c.kernel is None else c.kernel.id,
            "outcome": None if evaluation is None else evaluation.outcome.value,
            "reason": evaluation.diagnostics[0].reason if evaluation is not None and evaluation.diagnostics else None,
            "status": None if c.status is None else c.status.value,
            "cell": c.cell,
            "duplicate_of": c.duplicate_of,
            "objective": c.objective,
            "low": None if evaluation is None or evaluation.interval is None else evaluation.interval[0],
            "high": None if evaluation is None or evaluation.interval is None else evaluation.interval[1],
            "speedup": None if evaluation is None else evaluation.speedup,
        }
        if c.kernel is not None and evaluation is not None:
            row.update({f"tunable.{name}": value for name, value in c.kernel.values.items()})
            row.update({f"profile.{name}": value for name, value in evaluation.profile.items()})
            row.update({f"cost.{name}": value for name, value in evaluation.cost.items()})
        rows.append(row)
    numeric = dict.fromkeys(("objective", "low", "high", "speedup"), float)
    columns = None if rows else ["number", "operator", "parents", "kernel", "outcome", "reason", "status", "cell", "duplicate_of", *numeric]
    return pandas.DataFrame(rows, columns=columns).astype(numeric).set_index("number")


def elites_frame(archive: Archive) -> pandas.DataFrame:
    """One row per elite, best first, indexed by candidate number.

    Columns: cell, one label per descriptor axis where the archive has a grid, kernel, operator, objective, low, high (ln, of all
    samples), speedup, pairs (timed repetitions over all shapes), sittings, runners_up.
    """
    import pandas

    from archive.grid import GridArchive

    rows = []
    for cell, elite in archive.items():
        row: dict[str, object] = {"number": elite.number, "cell": cell}
        if isinstance(archive, GridArchive):
            row.update(archive.descriptors.label(cell))
        row.update(
            kernel=elite.kernel.id,
            operator=elite.candidate.proposal.operator,
            objective=elite.objective,
            low=elite.low,
            high=elite.high,
            speedup=math.exp(elite.objective),
            pairs=sum(s.seconds.size for s in elite.samples),
            sittings=elite.sittings,
            runners_up=len(archive.bench(cell)),
        )
        rows.append(row)
    rows.sort(key=lambda r: (-float(str(r["objective"])), int(str(r["number"]))))
    columns = (
        None if rows else ["number", "cell", "kernel", "operator", "objective", "low", "high", "speedup", "pairs", "sittings", "runners_up"]
    )
    return pandas.DataFrame(rows, columns=columns).set_index("number")
