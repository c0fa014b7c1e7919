"""Novelty search: parents are those whose behaviour is rare, with a share of plain quality.

J. Lehman & K. O. Stanley, "Abandoning Objectives: Evolution Through the Search for Novelty Alone", Evolutionary Computation
19(2), 2011; the mix with quality: G. Cuccu & F. Gomez, "When Novelty Is Not Enough", EvoApplications 2011.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from archive.candidate import Candidate
from evo.strategies.base import Move, Strategy
from evo.strategies.map_elites import Share
from evo.strategies.random import sample_of_a_seed
from evo.strategies.variation import DEFAULT_OPERATORS, Variation, scored
from operators.base import View

__all__ = ["Novelty"]

Size = Annotated[int, Field(ge=2)]


class Novelty(Strategy):
    """Behaviour is the cell of the archive; novelty the mean distance (in bins) to the nearest among the latest candidates.

    Args:
        population: latest working candidates that parents come from and that novelty is measured among.
        nearest: how many neighbours novelty is averaged over.
        tournament: candidates drawn for each parent.
        quality: probability that the tournament is one of speed instead of novelty.
        adaptive: operators that pay are chosen more often.
        operators: weights by operator name.
    """

    def __init__(
        self,
        *,
        population: Size = 64,
        nearest: Annotated[int, Field(ge=1)] = 8,
        tournament: Size = 4,
        quality: Share = 0.5,
        adaptive: bool = False,
        operators: Mapping[str, float] | None = None,
    ) -> None:
        self._size, self._nearest, self._tournament, self._quality = population, nearest, tournament, quality
        self._variation = Variation(operators or DEFAULT_OPERATORS, adaptive=adaptive)
        self._numbers: list[int] = []
        self._objectives: list[float] = []
        self._cells: NDArray[np.float64] | None = None
        self._novelty: Sequence[float] | None = None
        self._apart: NDArray[np.float64] = np.zeros((population + 1, population + 1))
        self._evaluated = 0

    def ask(self, view: View, rng: Random) -> Move:
        if not self._numbers or self._evaluated < self._size // 4:
            return sample_of_a_seed(view, rng)
        drawn = [rng.randrange(len(self._numbers)) for _ in range(self._tournament)]
        by = self._objectives if rng.random() < self._quality else self._novelties()
        winner = max(drawn, key=lambda place: by[place])
        return self._variation.move(self._numbers[winner], lambda: self._numbers[rng.randrange(len(self._numbers))], rng)

    def tell(self, candidate: Candidate) -> None:
        self._variation.tell(candidate)
        self._evaluated += candidate.evaluation is not None
        found = scored(candidate)
        if found is None:
            return
        cell = np.array([candidate.cell if candidate.cell is not None else (0,)], dtype=np.float64)
        if self._cells is None or self._cells.shape[1] != cell.shape[1]:
            self._cells = np.empty((self._size + 1, cell.shape[1]))
            self._numbers, self._objectives = [], []
        self._numbers.append(found[1])
        self._objectives.append(found[0])
        count = len(self._numbers)
        self._cells[count - 1] = cell
        if count > self._size:
            self._forget()
            count -= 1
        near = np.abs(self._cells[:count] - cell).sum(axis=1)
        self._apart[count - 1, :count] = self._apart[:count, count - 1] = near
        self._novelty = None

    def _novelties(self) -> Sequence[float]:
        """Of every member of the population; made when first asked for."""
        if self._novelty is None:
            count = len(self._numbers)
            nearest = np.partition(self._apart[:count, :count], min(self._nearest, count - 1), axis=1)
            self._novelty = nearest[:, : self._nearest + 1].mean(axis=1).tolist()
        return self._novelty

    def _forget(self) -> None:
        """The oldest goes, except the fastest."""
        assert self._cells is not None
        gone = 1 if self._objectives[0] == max(self._objectives) else 0
        del self._numbers[gone], self._objectives[gone]
        # Without it, in place: a copy of everything would cost as much as the rest of a candidate.
        self._cells[gone:-1] = self._cells[gone + 1 :]
        self._apart[gone:-1] = self._apart[gone + 1 :]
        self._apart[:, gone:-1] = self._apart[:, gone + 1 :]
