"""Configurations as points that a surrogate can measure distances between."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from archive.space import Key, Space
from archive.values import kind_of
from evo.strategies.surrogate import Floats

__all__ = ["Encoding"]


class Encoding:
    """Keys as points: ranks as shares of their range; of strings and more than two bools, halves of an indicator vector."""

    def __init__(self, space: Space) -> None:
        self._tables: list[tuple[int, Floats]] = []
        groups: list[int] = []
        for dimension, domain in enumerate(space.domains):
            if len(domain) < 2:
                continue
            if kind_of(domain[0]) in ("bool", "string") and len(domain) > 2:
                table = np.eye(len(domain)) / 2
            else:
                order = sorted(range(len(domain)), key=domain.__getitem__)
                table = np.empty((len(domain), 1))
                table[order, 0] = np.linspace(0.0, 1.0, len(domain))
            groups += [len(self._tables)] * table.shape[1]
            self._tables.append((dimension, table))
        self.groups: NDArray[np.intp] = np.array(groups, dtype=np.intp)
        self.free = tuple(dimension for dimension, _ in self._tables)

    def points(self, keys: Sequence[Key]) -> Floats:
        """(len(keys), columns)."""
        if not keys or not self._tables:
            return np.zeros((len(keys), len(self.groups)))
        indices = np.array(keys, dtype=np.intp)
        return np.concatenate([table[indices[:, dimension]] for dimension, table in self._tables], axis=1)
