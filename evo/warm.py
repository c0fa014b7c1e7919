"""Starting where another run ended: its elites as further seeds, measured anew.

The other run may have searched other shapes, on another machine, or an earlier version of the problem: only its sources
are taken over, never its figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from archive.kernel import Kernel
from evo.errors import UserError
from evo.reading import open_run

__all__ = ["MOST", "elites_of"]

MOST = 16
"""Elites that are taken over from one run, the best ones."""


def elites_of(runs: Sequence[Path], target: str) -> dict[str, Kernel]:
    """The best elites of each run, by a name that says where they come from (`softmax-1-387`).

    Raises:
        UserError: a run is for another target, or holds no elite.
    """
    found: dict[str, Kernel] = {}
    for run in runs:
        with open_run(run) as reader:
            if reader.record.target != target:
                raise UserError(
                    "Kernels of that run are for another target.", file=run, key="--warm-from", found=reader.record.target, expected=target
                )
            rows = reader.lineage.select(
                "SELECT e.candidate, k.language, k.source FROM elites e JOIN kernels k ON k.id = e.kernel WHERE e.run = ? "
                "ORDER BY e.objective DESC, e.candidate LIMIT ?",
                (reader.record.id, MOST),
            )
        if not rows:
            raise UserError("That run holds no elite.", file=run, key="--warm-from", remedy="Leave it out, or resume it first.")
        known = {kernel.id for kernel in found.values()}
        for row in rows:
            kernel = Kernel(row["language"], row["source"])
            if kernel.id not in known:
                found[f"{run.resolve().name}-{row['candidate']}"] = kernel
    return found
