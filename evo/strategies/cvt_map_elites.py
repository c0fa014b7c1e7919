"""MAP-Elites over a centroidal Voronoi tessellation of the behaviours: as many cells as one wants, whatever the axes.

V. Vassiliades, K. Chatzilygeroudis & J.-B. Mouret, IEEE Transactions on Evolutionary Computation 22(4), 2018.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Annotated

from pydantic import Field

from archive.candidate import Candidate
from archive.cvt import CVTArchive
from archive.descriptors import Descriptors
from archive.elite import Elite
from evo.strategies.base import Move
from evo.strategies.map_elites import MapElites, Share
from operators.base import View

__all__ = ["CVTMapElites"]


class CVTMapElites(MapElites):
    """Parents are the elites of an archive of its own; the engine's archive keeps the results, as with every strategy.

    Args:
        cells: of the tessellation.
        initial, greed, curiosity, adaptive, operators: as `MapElites`.
    """

    def __init__(
        self,
        *,
        cells: Annotated[int, Field(ge=1, le=8192)] = 64,
        initial: Annotated[int, Field(ge=0)] = 16,
        greed: Share = 0.5,
        curiosity: Share = 0.25,
        adaptive: bool = False,
        operators: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(initial=initial, greed=greed, curiosity=curiosity, adaptive=adaptive, operators=operators)
        self._cells = cells
        self._archive: CVTArchive | None = None
        self._waiting: list[Candidate] = []

    def elites(self, view: View) -> tuple[Elite, ...]:
        descriptors = getattr(view.archive, "descriptors", None)
        if not isinstance(descriptors, Descriptors):
            return view.archive.elites()
        if self._archive is None:
            # Duels are the engine's: here the larger estimate holds a cell.
            self._archive = CVTArchive(descriptors, cells=self._cells, deterministic=True)
        for candidate in self._waiting:
            self._archive.offer(replace(candidate, cell=None))
        self._waiting.clear()
        return self._archive.elites()

    def ask(self, view: View, rng: Random) -> Move:
        return super().ask(view, rng)

    def tell(self, candidate: Candidate) -> None:
        super().tell(candidate)
        if candidate.ok:
            self._waiting.append(candidate)
