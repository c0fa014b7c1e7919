"""What models cost in a run and what came of it: per operator, per model, per improvement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from archive import rows
from archive.candidate import AddStatus, Candidate
from archive.lineage import Lineage
from operators.llm.studio import gain_of

__all__ = ["Costs", "Line", "costs_of"]


@dataclass(slots=True)
class Line:
    """Sums over calls, and over what came of them."""

    calls: int = 0
    failed: int = 0
    """Calls without an answer."""
    requests: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    dollars: float = 0.0
    seconds: float = 0.0
    """Of waiting for models."""
    kernels: int = 0
    ok: int = 0
    elites: int = 0
    """Candidates that took a cell when they came."""
    improvements: int = 0
    """Candidates that are faster than the best of their parents."""
    gain: float = 0.0
    """Sum of those improvements, ln."""

    @property
    def dollars_per_improvement(self) -> float | None:
        return self.dollars / self.improvements if self.improvements else None

    @property
    def seconds_per_improvement(self) -> float | None:
        return self.seconds / self.improvements if self.improvements else None


@dataclass(frozen=True, slots=True)
class Costs:
    operators: dict[str, Line]
    """By operator; calls that no candidate asked for are under their purpose."""
    models: dict[str, Line]
    total: Line


def costs_of(lineage: Lineage) -> Costs:
    """Reads a lineage, finished or live."""
    operators: dict[str, Line] = {}
    models: dict[str, Line] = {}
    total = Line()
    made_by = {
        row["number"]: row["operator"] for row in lineage.select("SELECT number, operator FROM proposals WHERE run = ?", (lineage.run,))
    }
    asked: dict[int, str] = {}
    for row in lineage.select(
        "SELECT candidate, model, tokens_in, tokens_out, dollars, seconds, facts FROM model_calls WHERE run = ? ORDER BY id", (lineage.run,)
    ):
        facts = rows.load(row["facts"])
        name = made_by.get(row["candidate"], str(facts.get("purpose", "other")))
        if row["candidate"] is not None:
            asked[row["candidate"]] = row["model"]
        for line in (operators.setdefault(name, Line()), models.setdefault(row["model"], Line()), total):
            line.calls += 1
            line.failed += "error" in facts
            line.requests += int(facts.get("requests", 0))
            line.tokens_in += row["tokens_in"] or 0
            line.tokens_out += row["tokens_out"] or 0
            line.dollars += row["dollars"] or 0.0
            line.seconds += row["seconds"] or 0.0
    _credit(lineage.candidates(), asked, operators, models, total)
    return Costs(operators, models, total)


def _credit(
    candidates: Iterable[Candidate], asked: dict[int, str], operators: dict[str, Line], models: dict[str, Line], total: Line
) -> None:
    known: dict[int, Candidate] = {}
    for candidate in candidates:
        known[candidate.number] = candidate
        model = asked.get(candidate.number)
        if model is None:
            continue
        gain = gain_of(candidate, tuple(known[parent] for parent in candidate.proposal.parents if parent in known))
        for line in (operators[candidate.proposal.operator], models[model], total):
            line.kernels += candidate.kernel is not None
            line.ok += candidate.ok
            line.elites += candidate.status in (AddStatus.NEW, AddStatus.IMPROVE)
            line.improvements += gain > 0
            line.gain += gain
