"""Sittings: who follows whom."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fitness.sitting import Lane, Sitting


def seated(*names: str) -> Sitting:
    nobody: Any = None
    sitting = Sitting(nobody, nobody, nobody, call_timeout=1.0)
    for name in names:
        sitting.adopt(Lane(name, nobody, nobody, trusted=True))
    return sitting


def orders(sitting: Sitting, rounds: int) -> list[tuple[str, ...]]:
    return [tuple(sitting._next_order()) for _ in range(rounds)]


def test_every_second_round_reverses_the_one_before() -> None:
    found = orders(seated("kernel", "incumbent", "numpy"), 40)
    assert all(later == earlier[::-1] for earlier, later in zip(found[::2], found[1::2], strict=True))


def test_of_three_lanes_each_is_in_the_middle_as_often_as_the_others() -> None:
    middle = Counter(order[1] for order in orders(seated("kernel", "incumbent", "numpy"), 3000))
    assert set(middle) == {"kernel", "incumbent", "numpy"}
    assert all(710 < count < 1290 for count in middle.values()), "eight standard deviations either way"


def test_a_lane_that_comes_later_takes_part_at_once() -> None:
    sitting = seated("kernel")
    orders(sitting, 1)
    nobody: Any = None
    sitting.adopt(Lane("numpy", nobody, nobody, trusted=True))
    assert all(set(order) == {"kernel", "numpy"} for order in orders(sitting, 5))
