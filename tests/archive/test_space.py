"""Spaces: what is legal, how many, neighbours, random configurations, the nearest one."""

from __future__ import annotations

import pickle
import random
import time
from collections import Counter
from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.space import Space
from archive.tunables import TunableError
from archive.values import EmptySpaceError

TILES = Space(["M", "U", "S"], [(8, 16, 32, 64), (1, 2, 3, 4), ("a", "b", "c")], ["M % U == 0", "M > 8 or S != 'c'"])


def brute(space: Space) -> set[tuple[int, ...]]:
    return {key for key in product(*(range(len(domain)) for domain in space.domains)) if space.legal(space.values(key))}


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """Up to five tunables of small domains with up to three constraints; possibly empty."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    names = [f"t{number}" for number in range(len(sizes))]
    domains: list[tuple[int | str, ...]] = []
    for size in sizes:
        if draw(st.integers(0, 4)) == 0:
            domains.append(tuple("abcde"[:size]))
        else:
            domains.append(tuple(draw(st.permutations(range(1, 6)))[:size]))
    numeric = [name for name, domain in zip(names, domains, strict=True) if not isinstance(domain[0], str)]
    requires = []
    if numeric:
        pair = st.tuples(
            st.sampled_from(numeric), st.sampled_from(["% {} != 1", "+ {} < 7", "<= {}", "* {} > 3"]), st.sampled_from(numeric)
        )
        for left, form, right in draw(st.lists(pair, max_size=3)):
            requires.append(f"{left} {form.format(right)}")
    return Space(names, domains, requires)


@given(spaces())
def test_enumeration_size_and_legality_agree(space: Space) -> None:
    listed = list(space.keys())
    assert len(listed) == len(set(listed)) == space.size
    assert set(listed) == brute(space)
    assert [space.key(values) for values in space] == listed


@given(spaces(), st.randoms(use_true_random=False))
def test_samples_are_legal_and_an_empty_space_is_an_error(space: Space, rng: random.Random) -> None:
    if space.size == 0:
        with pytest.raises(EmptySpaceError, match="require"):
            space.sample(rng)
    else:
        assert space.legal(space.sample(rng))


@given(spaces())
def test_keys_and_values_are_inverse(space: Space) -> None:
    for key in product(*(range(len(domain)) for domain in space.domains)):
        assert space.key(space.values(key)) == key


@given(spaces())
def test_neighbours_are_legal_differ_in_one_tunable_and_are_mutual(space: Space) -> None:
    legal = brute(space)
    for key in legal:
        every, adjacent = space.neighbour_keys(key, "any"), space.neighbour_keys(key)
        assert set(every) == {other for other in legal if sum(a != b for a, b in zip(key, other, strict=True)) == 1}
        assert len(every) == len(set(every)) and len(adjacent) == len(set(adjacent))
        assert set(adjacent) <= set(every)
        assert all(key in space.neighbour_keys(other) for other in adjacent)


@given(spaces(), st.data())
def test_the_nearest_legal_configuration_is_nearest(space: Space, data: st.DataObject) -> None:
    key = tuple(data.draw(st.integers(0, len(domain) - 1)) for domain in space.domains)
    legal = brute(space)
    near = space.nearest_key(key)
    assert (near is None) == (not legal)
    if near is not None:
        assert near in legal
        assert space.distance_keys(key, near) == pytest.approx(min(space.distance_keys(key, other) for other in legal))


def test_adjacent_means_the_next_legal_value_in_order_of_size() -> None:
    space = Space(["A", "B"], [(32, 8, 16, 64), (1, 2)], ["A != 16 || B == 2"])
    assert space.neighbours({"A": 8, "B": 1}) == [{"A": 32, "B": 1}, {"A": 8, "B": 2}]
    assert space.neighbours({"A": 32, "B": 2}) == [{"A": 16, "B": 2}, {"A": 64, "B": 2}, {"A": 32, "B": 1}]


def test_strings_and_bools_neighbour_every_other_value() -> None:
    space = Space(["S", "F"], [("a", "b", "c"), (True, False)])
    assert len(space.neighbours({"S": "a", "F": True})) == 3


def test_samples_are_uniform_over_legal_configurations() -> None:
    rng = random.Random(7)
    drawn = Counter(TILES.sample_key(rng) for _ in range(9000))
    size = TILES.size
    assert size is not None and set(drawn) == brute(TILES)
    expected = 9000 / size
    chi_squared = sum((count - expected) ** 2 / expected for count in drawn.values())
    assert chi_squared < 2 * size


def test_what_a_generator_gives_does_not_depend_on_what_was_asked_before() -> None:
    needle = ["A + B + C == 80", "A > B", "B > C"]
    domains = [tuple(range(30))] * 3
    fresh = Space("ABC", domains, needle).sample(random.Random(3))
    used = Space("ABC", domains, needle)
    assert used.size == len(list(used)) == 4
    for seed in range(20):
        used.sample(random.Random(seed))
    assert used.sample(random.Random(3)) == fresh


@pytest.mark.timeout(60)
def test_a_needle_in_a_haystack_is_found_in_bounded_time() -> None:
    names = [f"t{number}" for number in range(12)]
    ordered = [f"{a} < {b}" for a, b in pairwise(names)]
    space = Space(names, [tuple(range(14))] * 12, ordered)
    began = time.perf_counter()
    assert space.product > 10**13 and space.size is None
    assert space.legal(space.sample(random.Random(1)))
    assert time.perf_counter() - began < 20


@pytest.mark.timeout(60)
def test_a_space_too_large_to_search_ends_in_an_error_not_in_a_loop() -> None:
    names = [f"t{number}" for number in range(9)]
    total = " + ".join(names)
    space = Space(names, [tuple(range(0, 200, 2))] * 9, [f"{total} == 901"])
    with pytest.raises(EmptySpaceError, match="no legal configuration found"):
        space.sample(random.Random(1))
    assert space.nearest(dict.fromkeys(names, 100)) is None


def test_independent_constraints_are_counted_and_drawn_apart() -> None:
    names = [f"t{number}" for number in range(20)]
    pairs = [f"{a} == {b}" for a, b in zip(names[::2], names[1::2], strict=True)]
    space = Space(names, [tuple(range(100))] * 20, pairs)
    assert space.size == 100**10
    assert space.legal(space.sample(random.Random(1)))
    assert len({next(keys) for keys in [space.keys()] for _ in range(1000)}) == 1000


def test_why_illegal_names_the_tunable_or_the_constraint() -> None:
    good = {"M": 16, "U": 4, "S": "c"}
    assert TILES.legal(good) and TILES.why_illegal(good) is None
    for change, words in [
        ({"M": 17}, ["M = 17", "8, 16, 32, 64"]),
        ({"M": "16"}, ["M = '16'"]),
        ({"M": [16]}, ["M = [16]"]),
        ({"X": 1}, ["`X`", "M, U, S"]),
        ({"U": 3}, ["M = 16", "U = 3", "require M % U == 0"]),
        ({"M": 8}, ["M = 8", 'S = "c"', "require M > 8 or S != 'c'"]),
        ({"M": float("nan")}, ["nan"]),
    ]:
        values = {**good, **change}
        why = TILES.why_illegal(values)  # type: ignore[arg-type]
        assert why is not None and all(word in why for word in words)
        assert not TILES.legal(values)  # type: ignore[arg-type]
    assert TILES.why_illegal({"M": 16, "U": 4}) == "no value for `S`"
    with pytest.raises(TunableError, match="no value for `S`"):
        TILES.key({"M": 16, "U": 4})


def test_values_equal_to_a_member_are_that_member() -> None:
    assert TILES.values(TILES.key({"M": 16.0, "U": 4, "S": "c"}))["M"] == 16
    assert type(TILES.values(TILES.key({"M": 16.0, "U": 4, "S": "c"}))["M"]) is int


def test_distance_is_the_share_of_each_range_that_lies_between() -> None:
    assert TILES.distance({"M": 8, "U": 1, "S": "a"}, {"M": 64, "U": 1, "S": "b"}) == 2.0
    assert TILES.distance({"M": 8, "U": 1, "S": "a"}, {"M": 8, "U": 2, "S": "a"}) == pytest.approx(1 / 3)


def test_nearest_takes_numbers_between_the_values() -> None:
    assert TILES.nearest({"M": 30.2, "U": 2.9, "S": "b"}) == {"M": 32, "U": 2, "S": "b"}
    assert TILES.nearest({}) == {"M": 8, "U": 1, "S": "a"}


def test_a_division_by_zero_breaks_a_constraint() -> None:
    space = Space(["A", "B"], [(8, 9), (0, 2)], ["A % B == 0"])
    assert list(space) == [{"A": 8, "B": 2}]
    why = space.why_illegal({"A": 8, "B": 0})
    assert why is not None and "breaks" in why


def test_a_space_without_tunables_has_one_configuration() -> None:
    space = Space([], [])
    assert (space.size, space.product, list(space), space.sample(random.Random(1))) == (1, 1, [{}], {})
    assert space.neighbours({}) == []


def test_spaces_survive_pickling() -> None:
    again = pickle.loads(pickle.dumps(TILES))
    assert list(again) == list(TILES) and again.names == TILES.names


@pytest.mark.parametrize(("names", "domains"), [(["A", "A"], [(1,), (2,)]), (["A"], []), (["A"], [()]), (["A"], [(1, 1)])])
def test_ill_made_spaces_are_refused(names: list[str], domains: list[tuple[int, ...]]) -> None:
    with pytest.raises(TunableError):
        Space(names, domains)
