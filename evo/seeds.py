"""The kernels a search starts from have to work: without one there is nothing to compare with and nothing to vary."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from archive.candidate import Candidate
from archive.evaluation import Outcome
from evo.errors import UserError
from fitness.protocol import Prepared

__all__ = ["check_descriptors", "check_seeds"]


def check_descriptors(entries: Sequence[Mapping[str, Any]] | None, seed: Prepared) -> None:
    """Raises `UserError` for a descriptor over a field that the first seed's profile does not have: every kernel would share one bin."""
    if seed.failed is not None:
        return
    known = [*seed.profile, *(f"tunable.{name}" for name in seed.kernel.values)]
    for number, entry in enumerate(entries or ()):
        name = str(entry.get("field", ""))
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise UserError(
                f"The seed's profile has no `{name}` for the archive to divide kernels by.",
                key=f"archive.descriptors[{number}].field",
                found=name,
                expected=", ".join(sorted(set(known))),
                remedy=f"Did you mean `{near[0]}`?" if near else "Take a field that is known before timing, or a tunable of the seed.",
            )


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
