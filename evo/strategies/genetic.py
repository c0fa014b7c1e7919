"""A steady-state genetic algorithm with DEAP's selections.

D. Whitley, "The GENITOR algorithm and selection pressure", ICGA 1989; F.-A. Fortin et al., "DEAP: Evolutionary Algorithms Made
Easy", J. Machine Learning Research 13, 2012.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Annotated

from pydantic import Field

from archive.candidate import Candidate
from evo.strategies.base import Move, Strategy
from evo.strategies.population import Individual, borrowed, individual
from evo.strategies.random import sample_of_a_seed
from evo.strategies.variation import Variation
from operators.base import View

__all__ = ["Genetic"]

OPERATORS: Mapping[str, float] = {"crossover": 4.0, "mutate_uniform": 3.0, "mutate_neighbour": 2.0, "mutate_many": 1.0}
Size = Annotated[int, Field(ge=2)]


class Genetic(Strategy):
    """The best `population` candidates are the population; parents win tournaments.

    Args:
        population: members; as many evaluated samples come first.
        tournament: members drawn for each parent.
        adaptive: operators that pay are chosen more often.
        operators: weights by operator name.
    """

    def __init__(
        self,
        *,
        population: Size = 20,
        tournament: Size = 2,
        adaptive: bool = False,
        operators: Mapping[str, float] | None = None,
    ) -> None:
        self._size, self._tournament = population, tournament
        self._variation = Variation(operators or OPERATORS, adaptive=adaptive)
        self._evaluated = 0
        self.population: list[Individual] = []

    def ask(self, view: View, rng: Random) -> Move:
        if not self.population or self._evaluated < self._size:
            return sample_of_a_seed(view, rng)
        with borrowed(rng) as drawn:
            first, second = self.select(self.population, drawn)
        return self._variation.move(first.number, lambda: second.number, rng)

    def tell(self, candidate: Candidate) -> None:
        self._variation.tell(candidate)
        self._evaluated += candidate.evaluation is not None
        if (found := self.appraise(candidate)) is not None:
            self.population.append(found)
            self.population = self.survive(self.population)

    def appraise(self, candidate: Candidate) -> Individual | None:
        return individual(candidate)

    def select(self, population: Sequence[Individual], rng: Random) -> tuple[Individual, Individual]:
        """Two parents, drawn by DEAP, whose generator is now `rng`."""
        from deap import tools

        first, second = tools.selTournament(population, 2, self._tournament)
        return first, second

    def survive(self, population: list[Individual]) -> list[Individual]:
        from deap import tools

        survivors: list[Individual] = tools.selBest(population, self._size) if len(population) > self._size else population
        return survivors
