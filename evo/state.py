"""What a run knows: its archive, its view, its budget, its strategy. Changed by the same few calls live and in replay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from archive.base import AddResult, Archive, Change
from archive.candidate import Candidate, Cell
from archive.evaluation import Evaluation, Outcome
from archive.kernel import Kernel
from archive.space import Space
from evo.budget import Budget, costs_budget
from evo.strategies.base import Strategy
from evo.view import RunView

__all__ = ["State"]


class State:
    """A pure function of the calls made to it, in their order; the engine stores each call in the lineage."""

    def __init__(self, archive: Archive, strategy: Strategy, budget: Budget, space: Callable[[Kernel], Space]) -> None:
        self.archive = archive
        self.strategy = strategy
        self.budget = budget
        self.view = RunView(archive, budget, space)
        self.outcomes: Counter[str] = Counter()
        """Evaluated candidates by outcome."""
        self.duplicates = 0
        """Candidates whose kernel or artifact was known."""
        self.remeasured = 0
        self.learn: Callable[[Candidate], None] = lambda candidate: None
        """Told of every finished candidate after the strategy: what models and prompts learn from."""
        self._programs: dict[str, int] = {}

    @property
    def finished(self) -> int:
        """Candidates so far."""
        return len(self.view.candidates)

    def twin(self, artifact: str) -> Candidate | None:
        """A candidate whose evaluation holds for every kernel that is built to the same program."""
        number = self._programs.get(artifact)
        return None if number is None else self.view.candidate(number)

    def offer(self, candidate: Candidate) -> AddResult:
        return self.archive.offer(candidate)

    def settle(self, cell: Cell, winner: Candidate, evaluations: Mapping[int, Evaluation]) -> Change:
        self.budget.duel(*evaluations.values())
        return self.archive.settle(cell, winner, evaluations)

    def remeasure(self, number: int, evaluation: Evaluation) -> Change | None:
        self.remeasured += 1
        change = self.archive.remeasure(number, evaluation)
        self.budget.evaluation(evaluation, self._best)
        return change

    def finish(self, candidate: Candidate) -> None:
        """The last word on a candidate: seen, counted, told. Its offers and duels are over."""
        evaluation = candidate.evaluation
        fresh = evaluation is not None and not evaluation.reused and evaluation.outcome is not Outcome.INFEASIBLE
        self.view.add(candidate)
        self.budget.proposal(candidate.notes, fresh)
        if evaluation is not None:
            self.budget.evaluation(evaluation, self._best)
            if not evaluation.reused:
                self.outcomes[evaluation.outcome.value] += 1
            if evaluation.outcome is Outcome.INFRASTRUCTURE_ERROR:
                self.view.release(evaluation.kernel_id)
            elif evaluation.artifact and evaluation.outcome.reusable and costs_budget(evaluation):
                self._programs.setdefault(evaluation.artifact, candidate.number)
        if candidate.duplicate_of is not None or (evaluation is not None and evaluation.reused):
            self.duplicates += 1
        self.strategy.tell(candidate)
        self.learn(candidate)

    @property
    def _best(self) -> float | None:
        best = self.archive.best
        return None if best is None else best.objective
