"""Sittings: who follows whom."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from fitness.sitting import Lane, Sitting


def seated(*names: str) -> Sitting:
    nobody: Any = None
    sitting = Sitting(nobody, nobody, nobody, call_timeout=1.0)
    for name in names:
        sitting.adopt(Lane(name, nobody, nobody, trusted=True))
    return sitting


def orders(sitting: Sitting, rounds: int) -> list[tuple[str, ...]]:
    return [tuple(sitting._next_order()) for _ in range(rounds)]


@pytest.mark.parametrize("names", [("kernel", "numpy"), ("kernel", "incumbent", "numpy"), ("kernel", "seed", "numpy", "torch")])
def test_no_lane_follows_itself(names: tuple[str, ...]) -> None:
    found = orders(seated(*names), 200)
    assert all(sorted(order) == sorted(names) for order in found)
    assert all(earlier[-1] != later[0] for earlier, later in pairwise(found))


def test_of_two_lanes_either_may_be_the_first() -> None:
    assert {orders(seated("kernel", "numpy"), 1)[0][0] for _ in range(60)} == {"kernel", "numpy"}


def test_of_three_lanes_each_follows_each_other_one_as_often() -> None:
    calls = [name for order in orders(seated("kernel", "incumbent", "numpy"), 3000) for name in order]
    follows = Counter(pairwise(calls))
    assert len(follows) == 6 and all(1200 < count < 1800 for count in follows.values()), "seven standard deviations either way"


def test_a_lane_that_is_left_out_of_a_round_follows_nobody() -> None:
    sitting = seated("kernel", "incumbent", "numpy")
    first = sitting._next_order()
    rest = [tuple(sitting._next_order(without=("numpy",))) for _ in range(20)]
    assert len(set(rest[1:])) == 1 and set(rest[0]) == {"kernel", "incumbent"} and rest[0][0] != first[-1]


def test_a_lane_that_comes_later_takes_part_at_once() -> None:
    sitting = seated("kernel")
    orders(sitting, 1)
    nobody: Any = None
    sitting.adopt(Lane("numpy", nobody, nobody, trusted=True))
    assert all(set(order) == {"kernel", "numpy"} for order in orders(sitting, 5))
