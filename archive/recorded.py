"""A space of which only listed configurations exist: what was recorded, or what a problem allows."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import Any

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
    def _ranked(self) -> NDArray[Any]:
        """(rows, dimensions) rank of every row's index; of exact integers where a position does not fit into 64 bits."""
        fits = self.product * max(map(len, self.domains), default=1) < 2**63
        table = np.array(self._rows, dtype=np.intp).reshape(len(self._rows), len(self.names))
        ranks = [np.array(rank_of, dtype=np.int64 if fits else object)[table[:, d]] for d, rank_of in enumerate(self._rank_of)]
        return np.stack(ranks, axis=1)

    @cached_property
    def _positions(self) -> NDArray[Any]:
        """(rows,) every row's `_position`."""
        positions: NDArray[Any] = self._ranked @ np.array(self._strides, dtype=self._ranked.dtype)
        return positions

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
            size, ranks = len(self.domains[dimension]), self._ranked[:, dimension]
            line = np.sort((self._positions - ranks * self._strides[dimension]) * size + ranks).tolist()
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
    def _halves(self) -> tuple[tuple[slice, NDArray[np.float64], NDArray[np.intp], NDArray[np.bool_]], ...]:
        """The first and the second half of the dimensions: which, the different (halves, dimensions) there are, each row's among them,
        and which dimensions have an order.

        There are far fewer different halves than rows, so that distances to them, added up, give those to all rows at little cost.
        """
        ordered = np.array([ranks is not None for ranks in self._ranks], dtype=np.bool_)
        table = np.array([self._shares(key) for key in self._rows], dtype=np.float64).reshape(len(self._rows), len(self.names))
        found = []
        for part in (slice(0, len(self.names) // 2), slice(len(self.names) // 2, None)):
            different, mine = np.unique(table[:, part], axis=0, return_inverse=True)
            found.append((part, different, mine.reshape(-1), ordered[part]))
        return tuple(found)

    def _shares(self, key: Key) -> list[float]:
        """Ranks as shares of their range where there is an order, else indices."""
        shares = zip(self._ranks, self._rank_of, key, strict=True)
        return [rank_of[index] / max(1, len(rank_of) - 1) if ranks is not None else index for ranks, rank_of, index in shares]

    def nearest_key(self, key: Key) -> Key | None:
        if key in self._members or not self._rows:
            return key if self._rows else None
        shares, total = np.array(self._shares(key)), np.zeros(len(self._rows))
        for part, different, mine, ordered in self._halves:
            apart = np.abs(different - shares[part])
            total += np.where(ordered, apart, apart > 0).sum(axis=1)[mine]
        return self._rows[int(total.argmin())]
