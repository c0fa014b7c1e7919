"""NSGA-II: speed against something else that was measured, by DEAP.

K. Deb, A. Pratap, S. Agarwal & T. Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Transactions
on Evolutionary Computation 6(2), 2002; in steady state, with survival decided for a batch of children at a time.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from random import Random
from typing import Annotated

from pydantic import Field

from archive.candidate import Candidate
from archive.evaluation import Evaluation
from archive.values import Value
from evo.errors import UserError
from evo.strategies.genetic import Genetic, Size
from evo.strategies.population import Individual, individual

__all__ = ["NSGA2"]

DEFAULT = "code_bytes"


class NSGA2(Genetic):
    """Keeps the kernels of which no other is better in speed and in `against` at once.

    Args:
        against: a numeric field of the evaluation's profile that is to be small: `code_bytes`, `error` (the numerical error as a share
            of the tolerance), `registers`, a tunable as `tunable.NAME`, …. None: `code_bytes` where the target tells it, else (a
            recorded space) speed alone. A candidate without the field counts as the worst that was seen.
        population: members; as many evaluated samples come first.
        batch: children after which survivors are chosen.
        adaptive: operators that pay are chosen more often.
        operators: weights by operator name.
    """

    def __init__(
        self,
        *,
        against: str | None = None,
        population: Size = 24,
        batch: Annotated[int, Field(ge=1)] = 12,
        adaptive: bool = False,
        operators: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(population=population, adaptive=adaptive, operators=operators)
        self._against, self._batch = against, batch
        self._worst = 0.0
        self._told = against is None
        """Whether the field was ever there; nothing to look for when none was named."""

    def appraise(self, candidate: Candidate) -> Individual | None:
        """Raises UserError when the first candidate that works has no number in the field that was named."""
        value = None if candidate.evaluation is None else candidate.evaluation.profile.get(self._against or DEFAULT)
        if candidate.evaluation is not None and candidate.ok and not self._told:
            self._told = _is_number(value)
            if not self._told:
                raise _no_field(self._against or DEFAULT, value, candidate.evaluation)
        cost = float(value) if value is not None and _is_number(value) else self._worst
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


def _is_number(value: Value | None) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _no_field(name: str, value: Value | None, evaluation: Evaluation) -> UserError:
    known = sorted(field for field, each in evaluation.profile.items() if _is_number(each))
    close = difflib.get_close_matches(name, known, n=1)
    return UserError(
        f"The strategy `nsga2` cannot search against `{name}`: it is no number in the profile of what was evaluated.",
        key="strategy.against",
        found=name if value is None else f"{name} = {value!r}",
        expected="one of " + ", ".join(known) if known else "a target that tells numbers; this one tells none",
        remedy=f"Did you mean `{close[0]}`?" if close else "Name one of these, or leave `against` out.",
    )
