"""A space of which only listed configurations exist: what was recorded, or what a problem allows."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from archive.requires import Require
from archive.space import Key, Kind, Space
from archive.values import EmptySpaceError, TunableError, Value

__all__ = ["RecordedSpace"]


class RecordedSpace(Space):
    """A `Space` restricted to rows. Legality and sampling take constant time, neighbours time in their number.

    Args:
        rows: tuples of values in the order of `names`; repetitions and rows that break a constraint are left out.

    Raises:
        TunableError: as `Space`, and for a row that has another length or a value outside its domain.
    """

    def __init__(
        self,
        names: Sequence[str],
        domains: Sequence[Sequence[Value]],
        requires: Sequence[Require | str],
        rows: Collection[tuple[Value, ...]],
    ) -> None:
        super().__init__(names, domains, requires)
        keys: dict[Key, None] = {}
        for number, row in enumerate(rows):
            try:
                key = tuple([index[value] for index, value in zip(self._indices, row, strict=True)])
            except (KeyError, TypeError, ValueError):
                raise TunableError(
                    f"row {number} is no configuration of this space",
                    found=repr(row),
                    expected=f"one value of its domain for each of {', '.join(self.names)}",
                ) from None
            if Space.legal_key(self, key):
                keys[key] = None
        self._rows = tuple(keys)
        self._members = frozenset(keys)

    def __reduce__(self) -> tuple[object, ...]:
        rows = [tuple(self.values(key).values()) for key in self._rows]
        return RecordedSpace, (self.names, self.domains, self.requires, rows)

    @property
    def size(self) -> int:
        return len(self._rows)

    def restricted(self, rows: Collection[tuple[Value, ...]]) -> Space:
        wanted = RecordedSpace(self.names, self.domains, self.requires, rows)
        both = [tuple(self.values(key).values()) for key in wanted.keys() if key in self._members]  # noqa: SIM118 - no dictionary
        return RecordedSpace(self.names, self.domains, self.requires, both)

    def keys(self) -> Iterator[Key]:
        """The rows' keys in the order they were listed."""
        return iter(self._rows)

    def legal_key(self, key: Key) -> bool:
        return key in self._members

    def sample_key(self, rng: random.Random) -> Key:
        if not self._rows:
            raise EmptySpaceError(
                "the space is empty", found="no row", expected="at least one configuration", remedy="check what the space was restricted to"
            )
        return self._rows[rng.randrange(len(self._rows))]

    @cached_property
    def _strides(self) -> tuple[int, ...]:
        strides, stride = [], 1
        for domain in reversed(self.domains):
            strides.append(stride)
            stride *= len(domain)
        return tuple(reversed(strides))

    @cached_property
    def _lines(self) -> list[list[int] | None]:
        """Per dimension, made when first asked for: every row as (position with that dimension left out) × size + rank, sorted.

        Rows that differ in that dimension alone stand next to each other, in order of rank.
        """
        return [None] * len(self.names)

    def _position(self, key: Key) -> int:
        return sum(ranks[index] * stride for ranks, index, stride in zip(self._rank_of, key, self._strides, strict=True))

    def _line(self, dimension: int) -> list[int]:
        line = self._lines[dimension]
        if line is None:
            size, stride, ranks = len(self.domains[dimension]), self._strides[dimension], self._rank_of[dimension]
            line = sorted((self._position(key) - ranks[key[dimension]] * stride) * size + ranks[key[dimension]] for key in self._rows)
            self._lines[dimension] = line
        return line

    def neighbour_keys(self, key: Key, kind: Kind = "adjacent") -> list[Key]:
        found: list[Key] = []
        position = self._position(key)
        for dimension, domain in enumerate(self.domains):
            size = len(domain)
            if size == 1:
                continue
            ranks, line = self._ranks[dimension], self._line(dimension)
            own = self._rank_of[dimension][key[dimension]]
            base = (position - own * self._strides[dimension]) * size
            start = bisect_left(line, base + own)
            behind = start + 1 if start < len(line) and line[start] == base + own else start
            one = kind == "adjacent" and ranks is not None
            near: list[int] = []
            for place in range(start - 1, max(-1, start - 2) if one else -1, -1):
                if line[place] < base:
                    break
                near.append(line[place] - base)
            for place in range(behind, min(len(line), behind + 1) if one else len(line)):
                if line[place] >= base + size:
                    break
                near.append(line[place] - base)
            before, after = key[:dimension], key[dimension + 1 :]
            found.extend((*before, rank if ranks is None else ranks[rank], *after) for rank in near)
        return found

    @cached_property
    def _table(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """(rows, dimensions) ranks as shares of their range where there is an order, else indices; and (dimensions,) which have one."""
        ordered = np.array([ranks is not None for ranks in self._ranks], dtype=np.bool_)
        table = np.array([self._shares(key) for key in self._rows], dtype=np.float64)
        return table.reshape(len(self._rows), len(self.names)), ordered

    def _shares(self, key: Key) -> list[float]:
        shares = zip(self._ranks, self._rank_of, key, strict=True)
        return [rank_of[index] / max(1, len(rank_of) - 1) if ranks is not None else index for ranks, rank_of, index in shares]

    def nearest_key(self, key: Key) -> Key | None:
        if key in self._members or not self._rows:
            return key if self._rows else None
        table, ordered = self._table
        apart = table - np.array(self._shares(key))
        np.abs(apart, out=apart)
        if not ordered.all():
            apart[:, ~ordered] = apart[:, ~ordered] > 0
        return self._rows[int((apart @ np.ones(len(self.names))).argmin())]
