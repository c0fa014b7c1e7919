"""The MAP-Elites grid: one cell per combination of the descriptors' bins.

J.-B. Mouret & J. Clune, "Illuminating search spaces by mapping elites", arXiv:1504.04909, 2015.
"""

from __future__ import annotations

from collections.abc import Mapping

from archive.base import AddResult, Archive, Change, Elite
from archive.candidate import Cell
from archive.descriptors import Descriptors
from archive.evaluation import EMPTY
from archive.tunables import Value

__all__ = ["AddResult", "Change", "Elite", "GridArchive"]


class GridArchive(Archive):
    """Cells are tuples of bin numbers, one per descriptor; only filled ones take memory."""

    def __init__(self, descriptors: Descriptors, *, deterministic: bool = False) -> None:
        super().__init__(deterministic=deterministic)
        self.descriptors = descriptors

    @property
    def cells(self) -> int:
        return self.descriptors.size

    def cell_of(self, profile: Mapping[str, Value], tunables: Mapping[str, Value] = EMPTY) -> Cell | None:
        return self.descriptors.cell(profile, tunables)
