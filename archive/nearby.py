"""Keys of a space in order of their distance from one of them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

__all__ = ["nearby"]

Key = tuple[int, ...]


def nearby(key: Key, moves: Sequence[Sequence[tuple[float, int]]]) -> Iterator[Key]:
    """Yields `key`, then every other key once, closest first (ties: lexicographically), lazily.

    Args:
        moves: per dimension the other indices as (cost, index), ascending; a key's distance is the sum of its moves' costs.
    """
    # Each key is reached from one other: dimensions are changed in ascending order, each through its moves in turn.
    queue: list[tuple[float, Key, int, int]] = [(0.0, key, -1, 0)]
    while queue:
        distance, current, last, step = heapq.heappop(queue)
        yield current
        for dimension in range(last + 1, len(moves)):
            if moves[dimension]:
                cost, index = moves[dimension][0]
                heapq.heappush(queue, (distance + cost, (*current[:dimension], index, *current[dimension + 1 :]), dimension, 0))
        if last >= 0 and step + 1 < len(moves[last]):
            cost, index = moves[last][step + 1]
            changed = (*current[:last], index, *current[last + 1 :])
            heapq.heappush(queue, (distance - moves[last][step][0] + cost, changed, last, step + 1))
