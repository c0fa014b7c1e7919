"""`evo lint kernelbench:PATH`, `evo lint gpumode:PATH`: which files of a checkout can be searched, and why the others cannot."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from evo.cli.output import emit_json, say, section

if TYPE_CHECKING:
    from fitness.adapters.examine import Verdict

__all__ = ["lint_foreign", "verify_foreign"]

HEADINGS = {
    "searchable": "searchable",
    "degenerate": "degenerate: a wrong kernel would pass as right",
    "random": "random: the outputs depend on a random generator",
    "stateful": "stateful: the outputs depend on earlier calls",
    "imprecise": "imprecise: single precision does not suffice for the computation as it is written",
    "unreadable": "not a problem as it stands",
    "missing": "not here: a package is missing",
    "too_large": "too large for this machine: not judged",
    "timeout": "too slow for this machine: not judged",
    "crash": "its process ended: not judged",
}
BASIS = (
    "Checked on this CPU, each file in a sandboxed process with limits. Where sizes are named, data were scaled down to them: what is said "
    "holds for the computation as it is written, not for what only full size shows. A search checks the file's own result again there."
)


def lint_foreign(reference: str, *, json: bool) -> None:
    """Prints a verdict for every file. Exit code 2 when one file was named and it cannot be searched, or none of many can."""
    from fitness.adapters import split
    from fitness.adapters.survey import found_in, survey

    found = split(reference)
    assert found is not None
    scheme, path = found
    files = found_in(scheme, path)
    verdicts: list[tuple[Path, Verdict]] = []
    for file, verdict in survey(scheme, files):
        verdicts.append((file, verdict))
        if not json:
            say(_line(file, path, verdict))
    if json:
        emit_json([{"file": str(file), **verdict.facts()} for file, verdict in verdicts])
    elif len(verdicts) > 1:
        counts = Counter(verdict.kind for _, verdict in verdicts)
        section(f"{len(verdicts)} files")
        for kind, heading in HEADINGS.items():
            if counts[kind]:
                say(f"{counts[kind]:4}  {heading}")
        say(BASIS)
    else:
        for check in verdicts[0][1].checks:
            say(f"  checked: {check}")
        say(BASIS)
    if not any(verdict.searchable for _, verdict in verdicts):
        raise typer.Exit(2)


def _line(file: Path, root: Path, verdict: Verdict) -> str:
    name = os.path.relpath(file, root) if root.is_dir() and file != root else file.name
    said = "searchable" if verdict.searchable else f"{verdict.kind}: {verdict.reason}"
    sizes = f"  [{verdict.scaling}]" if verdict.scaling else ""
    notes = "".join(f"\n      note: {note}" for note in verdict.notes)
    return f"{name}  {said}{sizes}{notes}"


def verify_foreign(reference: str, settings: object, *, json: bool) -> None:
    """Verifies the start of a search on this CPU, on scaled-down data. Exit code 2 when it fails."""
    from fitness.adapters import opened
    from fitness.gpu.module_verifying import scaled_problem, verify_module
    from fitness.protocol import EvaluationSettings

    assert isinstance(settings, EvaluationSettings)
    problem, scaling = scaled_problem(opened(reference))
    verdict = verify_module(problem.seed_kernel("triton"), problem, settings)
    findings = [finding.message for finding in verdict.diagnostics]
    if json:
        facts = {"problem": problem.name, "outcome": verdict.outcome.value, "calls": verdict.calls, "findings": findings}
        emit_json({**facts, "scaling": scaling})
    else:
        where = f"this CPU ({scaling})" if scaling else "this CPU"
        say(f"{problem.name}: {verdict.outcome.value}, {verdict.calls} calls right on {where}; not timed")
        for message in findings:
            typer.echo(message, err=True)
    if verdict.diagnostics:
        raise typer.Exit(2)
