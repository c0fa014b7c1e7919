"""Differential evolution over the ranks of tunables.

R. Storn & K. Price, "Differential Evolution", J. Global Optimization 11, 1997 (rand-to-best/1/bin); rounding to a discrete
space: J. Lampinen & I. Zelinka, "Mixed integer-discrete-continuous optimization by differential evolution", MENDEL 1999.
"""

from __future__ import annotations

from random import Random
from typing import Annotated

from pydantic import Field

from archive.candidate import Candidate, SetValues
from archive.kernel import Kernel
from archive.space import Key
from archive.values import TunableError, kind_of
from evo.strategies.bandit import OperatorChoice
from evo.strategies.base import Move, Strategy
from evo.strategies.random import sample_of_a_seed
from evo.strategies.variation import scored
from operators.base import View

__all__ = ["DifferentialEvolution"]

MUTANT = "set_values"
"""The operator that carries out the differential mutant."""
CHILDREN = {MUTANT: 4.0, "mutate_neighbour": 1.0, "mutate_many": 1.0, "crossover": 1.0}
"""Weights of what a child may be where that is chosen by success."""


class Member:
    """A place of the population: who holds it."""

    def __init__(self, objective: float, number: int, kernel: Kernel) -> None:
        self.hold(objective, number, kernel)

    def hold(self, objective: float, number: int, kernel: Kernel) -> None:
        """Raises TunableError for a kernel that cannot be parsed."""
        self.key, self.family = kernel.key, kernel.family
        self.objective, self.number, self.kernel = objective, number, kernel


class DifferentialEvolution(Strategy):
    """A child takes its target's place when it is better.

    Args:
        population: members.
        scale: factor of the difference of two members (F).
        rate: probability that a tunable comes from the mutant (CR).
        pull: factor of the difference to the best.
        adaptive: the differential mutant shares the children with mutations and crossovers of the target, by what they pay
            (A. K. Qin, V. L. Huang & P. N. Suganthan, IEEE Trans. Evolutionary Computation 13(2), 2009, with these for their variants).
    """

    def __init__(
        self,
        *,
        population: Annotated[int, Field(ge=5)] = 20,
        scale: Annotated[float, Field(gt=0)] = 0.7,
        rate: Annotated[float, Field(ge=0, le=1)] = 0.6,
        pull: Annotated[float, Field(ge=0)] = 0.5,
        adaptive: bool = False,
    ) -> None:
        self._choice = OperatorChoice(CHILDREN if adaptive else {MUTANT: 1.0}, adaptive=adaptive)
        self._size, self._scale, self._rate, self._pull = population, scale, rate, pull
        self._evaluated = 0
        self._members: list[Member] = []
        self._place: dict[int, Member] = {}

    def ask(self, view: View, rng: Random) -> Move:
        if len(self._members) < 4 or self._evaluated < self._size:
            return sample_of_a_seed(view, rng)
        target = self._members[rng.randrange(len(self._members))]
        kin = [member for member in self._members if member.family == target.family]
        if len(kin) < 4:
            return Move("mutate_many", (target.number,))
        operator = self._choice.choose(rng) if len(self._choice.weights) > 1 else MUTANT
        if operator == "crossover":
            return Move(operator, (target.number, rng.choice([member for member in kin if member is not target]).number))
        if operator is not None and operator != MUTANT:
            return Move(operator, (target.number,))
        space = view.space(target.kernel)
        key = self._mutant(target, kin, rng)
        near = key if space.legal_key(key) else space.nearest_key(key)
        if near is None or near == target.key or view.seen(target.kernel.with_key(near).id):
            return Move("mutate_many", (target.number,))
        values, old = space.values(near), target.kernel.values
        return Move(MUTANT, (target.number,), SetValues({name: value for name, value in values.items() if old[name] != value}))

    def _mutant(self, target: Member, kin: list[Member], rng: Random) -> Key:
        best = max(kin, key=lambda member: (member.objective, -member.number))
        one, other = rng.sample(kin, 2)
        domains = target.kernel.space.domains
        sure = rng.randrange(len(domains))
        key = list(target.key)
        of_target, of_best, of_one, of_other = target.key, best.key, one.key, other.key
        for dimension, domain in enumerate(domains):
            if dimension != sure and rng.random() >= self._rate:
                continue
            here, top, plus, minus = of_target[dimension], of_best[dimension], of_one[dimension], of_other[dimension]
            if kind_of(domain[0]) in ("bool", "string"):  # no order: a value of one of the four
                key[dimension] = rng.choice((here, top, plus, minus))
                continue
            moved = here + self._pull * rng.random() * (top - here) + self._scale * (plus - minus) + rng.random() - 0.5
            key[dimension] = min(max(round(moved), 0), len(domain) - 1)
        return tuple(key)

    def tell(self, candidate: Candidate) -> None:
        self._choice.tell(candidate)
        self._evaluated += candidate.evaluation is not None
        found = scored(candidate)
        if found is None or candidate.kernel is None:
            return
        try:
            candidate.kernel.key  # noqa: B018 - a text that cannot be parsed has none
        except TunableError:
            return
        parents = candidate.proposal.parents
        target = self._place.get(parents[0]) if parents else None
        if len(self._members) < self._size:
            member = Member(*found, candidate.kernel)
            self._members.append(member)
            self._place[candidate.number] = member
            return
        if target is None:  # its target is gone, or it is a sample: it fights the worst
            target = min(self._members, key=lambda member: (member.objective, -member.number))
        if found[0] > target.objective:
            del self._place[target.number]
            target.hold(*found, candidate.kernel)
            self._place[candidate.number] = target
