"""Spaces restricted to listed configurations behave as if every other one broke a constraint."""

from __future__ import annotations

import pickle
import random
from collections import Counter
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.space import Space
from archive.tunables import TunableError, Value
from archive.values import EmptySpaceError

FULL = Space(["A", "B", "S"], [(4, 1, 2), (10, 20, 30, 40), ("x", "y", "z")])
ROWS = list(product(*FULL.domains))


@given(st.lists(st.sampled_from(ROWS), unique=True))
def test_a_restricted_space_holds_exactly_its_rows(rows: list[tuple[Value, ...]]) -> None:
    space = FULL.restricted(rows)
    assert space.size == len(rows) == len(list(space))
    assert [tuple(values.values()) for values in space] == rows
    assert [row for row in ROWS if space.legal(dict(zip(space.names, row, strict=True)))] == sorted(rows, key=ROWS.index)


@given(st.lists(st.sampled_from(ROWS), unique=True, min_size=1), st.sampled_from(ROWS))
def test_neighbours_and_nearest_are_those_of_an_equal_constraint(rows: list[tuple[Value, ...]], row: tuple[Value, ...]) -> None:
    restricted = FULL.restricted(rows)

    class Listed(Space):
        """The same space, each move checked by looking through the rows."""

        def legal_key(self, key: tuple[int, ...]) -> bool:
            return tuple(self.values(key).values()) in rows

    plain = Listed(FULL.names, FULL.domains)
    key = FULL.key(dict(zip(FULL.names, row, strict=True)))
    assert sorted(restricted.neighbour_keys(key, "any")) == sorted(plain.neighbour_keys(key, "any"))
    assert sorted(restricted.neighbour_keys(key)) == sorted(plain.neighbour_keys(key))
    near, other = restricted.nearest_key(key), plain.nearest_key(key)
    assert near is not None and other is not None and restricted.legal_key(near)
    assert FULL.distance_keys(key, near) == pytest.approx(FULL.distance_keys(key, other))


def test_neighbours_are_found_in_a_space_whose_positions_do_not_fit_into_64_bits() -> None:
    names = [f"T{number}" for number in range(24)]
    domain = (3, 1, 2, 8, 5, 7, 9, 4)
    centre = (2,) * 24
    rows = [centre, (1, *centre[1:]), (8, *centre[1:]), (*centre[:-1], 3), (*centre[:-1], 9), (1, 1, *centre[2:])]
    space = Space(names, [domain] * 24).restricted(rows)
    assert space.product > 2**63
    found = [tuple(space.values(key).values()) for key in space.neighbour_keys(space.key(dict(zip(names, centre, strict=True))))]
    assert found == [rows[1], rows[2], rows[3]]
    found = [tuple(space.values(key).values()) for key in space.neighbour_keys(space.key(dict(zip(names, centre, strict=True))), "any")]
    assert sorted(found) == sorted(rows[1:5])


def test_samples_are_uniform_over_rows() -> None:
    space, rng = FULL.restricted(ROWS[::3]), random.Random(5)
    drawn = Counter(space.sample_key(rng) for _ in range(6000))
    assert set(drawn) == set(space.keys())
    assert max(drawn.values()) < 1.3 * 6000 / len(drawn)


def test_repetitions_and_rows_that_break_a_constraint_are_left_out() -> None:
    space = Space(["A", "B"], [(1, 2), (1, 2)], ["A <= B"]).restricted([(1, 1), (1, 1), (2, 1), (1, 2)])
    assert list(space) == [{"A": 1, "B": 1}, {"A": 1, "B": 2}]


@pytest.mark.parametrize("row", [(4, 10), (4, 10, "x", 1), (3, 10, "x"), (4, 10, ["x"])])
def test_rows_outside_the_domains_are_refused(row: tuple[Value, ...]) -> None:
    with pytest.raises(TunableError, match="row 1"):
        FULL.restricted([ROWS[0], row])


def test_an_empty_restriction_is_an_error_when_drawn_from() -> None:
    space = FULL.restricted([])
    assert space.size == 0 and list(space) == [] and space.nearest_key((0, 0, 0)) is None
    with pytest.raises(EmptySpaceError, match="empty"):
        space.sample(random.Random(1))


def test_why_illegal_says_that_a_row_is_missing() -> None:
    space = FULL.restricted(ROWS[1:])
    assert space.why_illegal(dict(zip(FULL.names, ROWS[0], strict=True))) == "not among the configurations of this space"


def test_restricted_spaces_survive_pickling_and_can_be_restricted_again() -> None:
    space = pickle.loads(pickle.dumps(FULL.restricted(ROWS[:10])))
    assert [tuple(values.values()) for values in space] == ROWS[:10]
    assert list(space.restricted(ROWS[5:15])) == list(space)[5:]
