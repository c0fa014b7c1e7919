"""What operators that ask a model work with, made once per run: the desk, the prompts, the notes, the facts of the problem."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from archive.candidate import Candidate
from operators.brief import Brief
from operators.models.desk import Desk
from operators.population import Population
from operators.programs import Programs
from operators.prompt import Library
from operators.retrieve import Knowledge

__all__ = ["Manner", "Studio", "gain_of"]


@dataclass(frozen=True, slots=True)
class Manner:
    """How operators write."""

    edits: float = 0.7
    """Share of calls that ask for SEARCH/REPLACE blocks; the others ask for the whole source."""
    directed: float = 0.5
    """Share of mutations that aim at a neighbouring cell which is empty or weak."""
    inspirations: int = 3
    attempts: int = 6
    passages: int = 3
    """How many other elites, earlier attempts and passages of knowledge a prompt may show."""
    evolve: float = 0.0
    """Share of proposals with a prompt variant after which a new variant is asked for."""


@dataclass
class Studio:
    """Shared by all model operators of a run."""

    brief: Brief
    library: Library
    knowledge: Knowledge
    desk: Desk | None = None
    """None where prompts are only shown, or answered by somebody else."""
    manner: Manner = field(default_factory=Manner)
    population: Population = field(default_factory=Population)
    keep: Callable[[str], object] = lambda text: None
    """Stores a prompt variant."""
    ports: tuple[str, ...] = ()
    """Kernels of other targets that `llm_seed` may port."""
    programs: Programs = field(default_factory=Programs)
    """Seeds and what models wrote."""

    def learn(self, candidate: Candidate, gain: float) -> None:
        """A candidate is finished; what a model and a prompt variant have to do with it is credited to them."""
        notes = candidate.notes
        if candidate.kernel is not None and ("model" in notes or candidate.proposal.operator == "seed"):
            self.programs.add(candidate.kernel)
        model, variants = notes.get("model"), notes.get("variants")
        if isinstance(model, str) and self.desk is not None:
            self.desk.learn(model, gain, _number(notes.get("dollars")), _number(notes.get("model_seconds")))
        if isinstance(variants, Mapping):
            for section, variant in variants.items():
                self.population.learn(candidate.proposal.operator, str(section), str(variant), gain)


def gain_of(candidate: Candidate, parents: tuple[Candidate, ...], floor: float | None = None) -> float:
    """By how much (ln, at least 0) a candidate is faster than the best of its parents; `floor` where no parent works."""
    if candidate.objective is None:
        return 0.0
    known = [parent.objective for parent in parents if parent.objective is not None]
    before = max(known, default=floor if floor is not None else candidate.objective)
    return max(0.0, candidate.objective - before)


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
