"""Where an exported kernel came from: enough to judge its figures and to get them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evo.export.choice import Specialist
from evo.reading import RunReader

__all__ = ["provenance"]


def provenance(
    reader: RunReader, chosen: Sequence[Specialist], *, problem_version: str, build: Mapping[str, Any], reproduce: str
) -> dict[str, Any]:
    """JSON-able. `reproduce` is the command that verifies, times and certifies the winner afresh."""
    from evo import __version__

    lineage = reader.lineage
    environments = {environment.id: dict(environment.facts) for environment in lineage.environments()}
    return {
        "evo": __version__,
        "run": {
            "name": reader.folder.resolve().name,
            "created": reader.record.created,
            "problem": reader.record.problem,
            "problem_version": problem_version,
            "target": reader.record.target,
            "strategy": reader.record.strategy,
            "seed": reader.record.seed,
            "config": dict(reader.config),
        },
        "kernels": [_kernel(reader, one, environments) for one in chosen],
        "environments": environments,
        "build": dict(build),
        "reproduce": reproduce,
    }


def _kernel(reader: RunReader, one: Specialist, environments: Mapping[str, Any]) -> dict[str, Any]:
    evaluation = reader.candidate(one.candidate).evaluation
    calls = reader.lineage.select(
        "SELECT m.model, m.dollars, m.time, p.text AS prompt FROM model_calls m LEFT JOIN prompts p ON p.id = m.prompt "
        "WHERE m.run = ? AND m.candidate = ?",
        (reader.record.id, one.candidate),
    )
    ancestors = []
    for ancestor in reader.lineage.ancestry(one.candidate):
        known = reader.candidate(ancestor.candidate)
        kernel = None if known.kernel is None else known.kernel.id
        facts = {"parents": list(known.proposal.parents), "kernel": kernel, "notes": dict(known.notes)}
        ancestors.append({"candidate": ancestor.candidate, "generations_back": ancestor.depth, "operator": ancestor.operator, **facts})
    return {
        "candidate": one.candidate,
        "kernel": one.kernel.id,
        "language": one.kernel.language,
        "tunables": one.kernel.values,
        "serves": list(one.homes),
        "artifact": "" if evaluation is None else evaluation.artifact,
        "certificate": dict(one.certificate),
        "environment": one.certificate.get("environment", ""),
        "ancestry": ancestors,
        "model_calls": calls,
    }
