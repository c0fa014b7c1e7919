"""The kernels a search starts from have to work: without one there is nothing to compare with and nothing to vary."""

from __future__ import annotations

from collections.abc import Sequence

from archive.candidate import Candidate
from archive.evaluation import Outcome
from evo.errors import UserError

__all__ = ["check_seeds"]


def check_seeds(seeds: Sequence[Candidate]) -> None:
    """Raises `UserError` with the diagnostics when every seed was evaluated and none is `ok`."""
    if not seeds or any(seed.ok for seed in seeds):
        return
    first = seeds[0]
    if first.evaluation is None or first.kernel is None:
        return
    outcome, diagnostics = first.evaluation.outcome, first.evaluation.diagnostics
    said = "\n".join(f"  [{diagnostic.stage}] {diagnostic.message}" for diagnostic in diagnostics)
    ours = outcome is Outcome.INFRASTRUCTURE_ERROR
    raise UserError(
        ("The evaluator failed on the seed." if ours else "The seed does not pass, so there is nothing to start from.")
        + (f"\n{said}" if said else ""),
        file=first.kernel.file,
        found=outcome.value,
        expected="ok",
        remedy="Run `evo doctor` to see what this machine lacks."
        if ours
        else "Put the seed right; `evo lint PROBLEM` checks it with its problem.",
    )
