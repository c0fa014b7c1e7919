"""NSGA-II: speed against something else that was measured, by DEAP.

K. Deb, A. Pratap, S. Agarwal & T. Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Transactions
on Evolutionary Computation 6(2), 2002; in steady state, with survival decided for a batch of children at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Annotated

from pydantic import Field

from archive.candidate import Candidate
from evo.strategies.genetic import Genetic, Size
from evo.strategies.population import Individual, individual

__all__ = ["NSGA2"]


class NSGA2(Genetic):
    """Keeps the kernels of which no other is better in speed and in `against` at once.

    Args:
        against: a numeric field of the evaluation's profile that is to be small: code size, numerical error, memory. A
            candidate without it counts as the worst that was seen.
        population: members; as many evaluated samples come first.
        batch: children after which survivors are chosen.
        adaptive: operators that pay are chosen more often.
        operators: weights by operator name.
    """

    def __init__(
        self,
        *,
        against: str = "code_bytes",
        population: Size = 24,
        batch: Annotated[int, Field(ge=1)] = 12,
        adaptive: bool = False,
        operators: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(population=population, adaptive=adaptive, operators=operators)
        self._against, self._batch = against, batch
        self._worst = 0.0

    def appraise(self, candidate: Candidate) -> Individual | None:
        value = None if candidate.evaluation is None else candidate.evaluation.profile.get(self._against)
        cost = float(value) if isinstance(value, int | float) and value == value else self._worst
        self._worst = max(self._worst, cost)
        found = individual(candidate, -cost)
        if found is not None:
            found.fitness.crowding_dist = 0.0
        return found

    def select(self, population: Sequence[Individual], rng: Random) -> tuple[Individual, Individual]:
        """Two winners of binary tournaments by dominance, then by crowding distance."""
        from deap import tools

        few = [population[index % len(population)] for index in range(4)]
        four = few if len(population) < 4 else rng.sample(population, 4)  # DEAP would shuffle all of them, twice, for the same four
        first, second = tools.selTournamentDCD(four, 4)[:2]
        return first, second

    def survive(self, population: list[Individual]) -> list[Individual]:
        from deap import tools

        if len(population) < self._size + self._batch:
            return population
        survivors: list[Individual] = tools.selNSGA2(population, self._size, nd="log")
        return survivors
