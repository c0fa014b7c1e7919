"""What strategies and operators may see of a run. They read it; only the engine changes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from archive.base import Archive
from archive.candidate import Candidate
from archive.kernel import Kernel
from archive.space import Space
from evo.budget import Budget

__all__ = ["RunView"]

RECENT_FAILURES = 64


class RunView:
    """Implements `operators.base.View` over the engine's own state; every question is O(1)."""

    def __init__(self, archive: Archive, budget: Budget, space: Callable[[Kernel], Space]) -> None:
        self.archive = archive
        self._budget = budget
        self._space = space
        self._candidates: list[Candidate] = []
        self._by_number: dict[int, Candidate] = {}
        self._seeds: list[Candidate] = []
        self._failures: deque[Candidate] = deque(maxlen=RECENT_FAILURES)
        self._known: dict[str, int] = {}

    # ── what may be asked ──

    @property
    def candidates(self) -> Sequence[Candidate]:
        """Every finished candidate in the order in which they were committed; not to be changed."""
        return self._candidates

    def candidate(self, number: int) -> Candidate:
        """The finished candidate of this number. Raises KeyError."""
        return self._by_number[number]

    @property
    def seeds(self) -> Sequence[Candidate]:
        """The candidates that the search started from."""
        return self._seeds

    @property
    def failures(self) -> Sequence[Candidate]:
        """The last candidates that were evaluated and are not `ok`, oldest first."""
        return self._failures

    def seen(self, kernel_id: str) -> bool:
        """Whether a kernel was proposed before, in flight included."""
        return kernel_id in self._known

    def space(self, kernel: Kernel) -> Space:
        """The kernel's space as the evaluator knows it."""
        return self._space(kernel)

    @property
    def budget_left(self) -> float:
        """Share of the scarcest budget that is left, 0..1."""
        return self._budget.left

    @property
    def evaluations(self) -> int:
        return self._budget.spent.evaluations

    # ── for the engine ──

    def claim(self, kernel_id: str, number: int) -> int | None:
        """Notes that `number` brings a kernel; the number of the candidate that brought it before, if any."""
        earlier = self._known.setdefault(kernel_id, number)
        return None if earlier == number else earlier

    def release(self, kernel_id: str) -> None:
        """Forgets a kernel of which nothing was found out, so that it may be proposed again."""
        self._known.pop(kernel_id, None)

    def add(self, candidate: Candidate) -> None:
        """A candidate is finished."""
        self._candidates.append(candidate)
        self._by_number[candidate.number] = candidate
        if candidate.proposal.operator == "seed":
            self._seeds.append(candidate)
        if candidate.evaluation is not None and not candidate.ok:
            self._failures.append(candidate)
