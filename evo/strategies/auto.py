"""The default strategy: a surrogate over tunables per family of kernels, and bandits over families and operators."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from random import Random
from typing import Annotated

from pydantic import Field

from archive.candidate import AddStatus, Candidate, SetValues
from archive.evaluation import Outcome
from archive.kernel import Kernel
from archive.space import Key
from archive.values import TunableError
from evo.strategies.bandit import Bandit, OperatorChoice
from evo.strategies.base import Move, Strategy
from evo.strategies.prospect import PARTS, Prospect, ProspectSettings
from operators.base import View

__all__ = ["Auto"]

PARENTS = 16
"""The best of a family that may be named as a proposal's parent."""
LATEST = 64
"""Objectives among which a new one has its rank, for the choice of families."""
SURROGATE = "set_values"
"""The operator that carries out what the surrogate wants."""


class Family:
    """The kernels of one text that differ in their tunables alone."""

    def __init__(self, first: Candidate, kernel: Kernel) -> None:
        self.kernel = kernel
        self.numbers: dict[Key, int] = {}
        """Candidate by key, of those that were evaluated."""
        self.best: list[tuple[float, Key]] = []
        """The best that work, best first."""
        self.first = first.number
        self.told: list[tuple[Key, float | None, bool]] = []
        """Key, objective, whether it took a cell."""
        self.prospect: Prospect | None = None
        self._fed = 0

    def tell(self, candidate: Candidate, key: Key) -> None:
        evaluation = candidate.evaluation
        if evaluation is None or evaluation.outcome is Outcome.INFRASTRUCTURE_ERROR or key in self.numbers:
            return
        self.numbers[key] = candidate.number
        objective = evaluation.objective if evaluation.ok else None
        self.told.append((key, objective, candidate.status in (AddStatus.NEW, AddStatus.IMPROVE)))
        if objective is not None:
            self.best.append((objective, key))
            self.best.sort(key=lambda entry: (-entry[0], self.numbers[entry[1]]))
            del self.best[PARENTS:]

    def ready(self, view: View, settings: ProspectSettings) -> Prospect:
        """The prospect, told everything. It is a function of what was told in which order, not of when it is asked for."""
        if self.prospect is None:
            self.prospect = Prospect(view.space(self.kernel), settings)
        for key, objective, elite in self.told[self._fed :]:
            self.prospect.tell(key, objective, elite=elite)
        self._fed = len(self.told)
        return self.prospect

    def parent(self, key: Key) -> tuple[int, Key]:
        """Of its best kernels the one with the most tunables in common (number, key); its first one while none works."""
        if not self.best:
            return self.first, self.kernel.key
        _, nearest = min(self.best, key=lambda entry: sum(a != b for a, b in zip(entry[1], key, strict=True)))
        return self.numbers[nearest], nearest


class Auto(Strategy):
    """See the module's text.

    Args:
        initial: evaluations spread over a family's space before the surrogate decides.
        without: parts to leave out, for ablations: any of `evo.strategies.prospect.PARTS`.
        operators: further operators (those of models, say) with their weights; the surrogate's own weight is 1 unless
            `set_values` is among them. None: the surrogate alone.
    """

    def __init__(
        self,
        *,
        initial: Annotated[int, Field(ge=2)] = 8,
        without: list[str] | None = None,
        operators: Mapping[str, float] | None = None,
    ) -> None:
        unknown = set(without or ()) - set(PARTS)
        if unknown:
            raise ValueError(f"there is no part {', '.join(sorted(unknown))} to leave out, only {', '.join(PARTS)}")
        self._settings = ProspectSettings(initial=initial, without=frozenset(without or ()))
        self._operators = OperatorChoice({SURROGATE: 1.0, **(operators or {})}, adaptive=True)
        self._families: dict[str, Family] = {}
        self._bandit = Bandit()
        self._latest: deque[float] = deque(maxlen=LATEST)

    def ask(self, view: View, rng: Random) -> Move:
        family = self._choose_family(rng)
        if family is None:
            return Move("sample")
        elites = view.archive.elites()
        operator = SURROGATE
        if len(self._operators.weights) > 1 and elites:
            operator = self._operators.choose(rng, most_parents=min(2, len(elites))) or SURROGATE
        if operator == SURROGATE:
            return self._surrogate(family, view, rng)
        needed = self._operators.parents[operator]
        parents = rng.sample(elites, max(1, min(needed, len(elites))))
        return Move(operator, tuple(parent.number for parent in parents))

    def tell(self, candidate: Candidate) -> None:
        self._operators.tell(candidate)
        kernel = candidate.kernel
        if kernel is None:
            return
        try:
            key, name = kernel.key, kernel.family
        except TunableError:  # its text cannot be parsed: nothing to vary
            return
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = Family(candidate, kernel)
        family.tell(candidate, key)
        if candidate.evaluation is not None:
            self._bandit.tell(name, self._standing(candidate.objective))

    def _standing(self, objective: float | None) -> float:
        """0…1: the cube of its rank among the latest objectives, so that nothing but the top pays; 0 for a failure."""
        if objective is None:
            return 0.0
        below = sum(other < objective for other in self._latest)
        self._latest.append(objective)
        return ((below + 1) / len(self._latest)) ** 3

    def _choose_family(self, rng: Random) -> Family | None:
        """By the bandit, of those that have a kernel that works (of all, while none has)."""
        names = [name for name, family in self._families.items() if family.best] or list(self._families)
        if not names:
            return None
        return self._families[names[0] if len(names) == 1 else self._bandit.choose(names, rng)]

    def _surrogate(self, family: Family, view: View, rng: Random) -> Move:
        prospect = family.ready(view, self._settings)
        base = family.kernel
        key = prospect.ask(rng, lambda key: key not in family.numbers and not view.seen(base.with_key(key).id))
        if key is None:  # nothing that it knows of is left: systematically on, outwards from what is best
            best = family.best[rng.randrange(min(4, len(family.best)))][1] if family.best else None
            return Move("mutate_uniform", (family.first if best is None else family.numbers[best],))
        number, parent = family.parent(key)
        values = prospect.space.values(key)
        changed = {name: values[name] for name, a, b in zip(prospect.space.names, key, parent, strict=True) if a != b}
        return Move(SURROGATE, (number,), SetValues(changed))
