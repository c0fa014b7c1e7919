"""The surrogate behind `auto`: its arithmetic, and what it finds in spaces of many kinds."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from statistics import mean

import numpy as np
import pytest

from archive.space import Key, Space
from evo.strategies.encoding import Encoding
from evo.strategies.prospect import Prospect, ProspectSettings
from evo.strategies.surrogate import Posterior, log_expected_improvement

Function = Callable[[Key], float | None]


def searched(space: Space, function: Function, budget: int, seed: int, settings: ProspectSettings | None = None) -> list[float | None]:
    """Objectives in the order in which the prospect asked for them; nothing twice."""
    prospect = Prospect(space, settings or ProspectSettings())
    key: Key | None = space.sample_key(Random(seed))
    found: dict[Key, float | None] = {}
    while key is not None and len(found) < budget:
        assert key not in found and space.legal_key(key)
        found[key] = function(key)
        prospect.tell(key, found[key])
        key = prospect.ask(Random(f"{seed}/{len(found)}"), lambda key: key not in found)
    return list(found.values())


def best(values: list[float | None]) -> float:
    return max(value for value in values if value is not None)


def by_chance(space: Space, function: Function, budget: int, seed: int) -> float:
    rng = Random(seed)
    drawn = [function(space.sample_key(rng)) for _ in range(budget)]
    return max((value for value in drawn if value is not None), default=-math.inf)


def posterior(points: int, columns: int = 4) -> tuple[Posterior, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.random((points, columns))
    made = Posterior(np.arange(columns), typical=1.0, pool=8)
    return made, x, np.sin(5 * x[:, 0]) + x[:, 1]


# ── arithmetic ──


def test_what_grows_point_by_point_is_what_is_made_at_once() -> None:
    made, x, y = posterior(150)
    pool = np.random.default_rng(1).random((40, 4))
    made.add_members(pool[:25])
    for number, point in enumerate(x):
        made.add_point(point)
        if number == 60:
            made.add_members(pool[25:])
    made.drop_member(3)
    made.keep_members(np.array([0, 5, 3, 20]))
    grown = made.predict(y - y.mean())
    made.refresh()
    for one, other in zip(grown, made.predict(y - y.mean()), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)
    covariance = np.exp(-np.abs(x[:, None] - x[None]).sum(axis=2)) + made.noise * np.eye(150)
    near = np.exp(-np.abs(made.members[:, None] - x[None]).sum(axis=2))
    np.testing.assert_allclose(grown[0], near @ np.linalg.solve(covariance, y - y.mean()), atol=1e-6)


def test_the_slope_of_the_likelihood_is_its_slope() -> None:
    made, x, y = posterior(40)
    apart = np.abs(x[:, None] - x[None]).reshape(-1, 4)
    at = np.array([0.3, -0.2, 0.5, 1.0, -4.0])
    _, slope = made._likelihood(apart, y - y.mean(), at)
    for i in range(5):
        step = np.eye(5)[i] * 1e-5
        up, down = (made._likelihood(apart, y - y.mean(), at + sign * step)[0] for sign in (1, -1))
        assert (up - down) / 2e-5 == pytest.approx(slope[i], rel=1e-4, abs=1e-6)


def test_lengthscales_tell_what_matters_from_what_does_not() -> None:
    made, x, y = posterior(80)
    for point in x:
        made.add_point(point)
    made.tune(y - y.mean(), np.arange(80), steps=40)
    assert max(made.lengthscales[:2]) < min(made.lengthscales[2:])


def test_expected_improvement_is_right_in_both_tails() -> None:
    z = np.array([-25.0, -9.0, -7.0, -2.0, 0.0, 3.0, 40.0])
    values = log_expected_improvement(z, np.ones_like(z), 0.0)
    # ln(phi(z) + z Phi(z)), by scipy.special.erfcx.
    expected = [-319.861464, -45.848941, -29.368107, -4.768784, -0.918939, 1.098740, 3.688879]
    np.testing.assert_allclose(values, expected, atol=0.01)


def test_keys_become_points_by_rank_and_strings_by_kind() -> None:
    space = Space(("A", "B", "C", "D"), ((16, 2, 64), ("x", "y", "z"), (True, False), (7,)))
    encoding = Encoding(space)
    points = encoding.points([(0, 0, 0, 0), (1, 1, 1, 0), (2, 2, 0, 0)])
    assert points[:, 0].tolist() == [0.5, 0.0, 1.0]
    assert np.abs(points[0, 1:4] - points[1, 1:4]).sum() == np.abs(points[0, 1:4] - points[2, 1:4]).sum() == 1.0
    assert encoding.groups.tolist() == [0, 1, 1, 1, 2]


# ── what it finds ──


def ripples(key: Key) -> float:
    return -sum((index - 3.0) ** 2 / 8.0 + 0.3 * (index % 2) for index in key[:5]) - 0.05 * sum(key[5:])


CONSTRAINED = Space(
    tuple("ABCDEF"), tuple(tuple(2**i for i in range(8)) for _ in range(6)), ("A * B == 64", "C * D <= 32", "E * F == 256", "A <= C * F")
)
HUGE = Space(tuple(f"T{i}" for i in range(30)), tuple(tuple(range(1, 17)) for _ in range(30)), ("T0 * T1 <= 128",))
BOOLS = Space(tuple(f"B{i}" for i in range(20)), tuple((False, True) for _ in range(20)))
STRINGS = Space(tuple("ABCDE"), tuple(tuple("pqrstuvw") for _ in range(5)))
GRID = Space(tuple("ABCDE"), tuple(tuple(range(9)) for _ in range(5)))


def bits(key: Key) -> float:
    return sum((1.0, -0.5, 2.0, 0.3)[i % 4] * bit for i, bit in enumerate(key)) - 3.0 * key[0] * key[2]


def letters(key: Key) -> float:
    return sum(float(index == (3, 1, 4, 1, 5)[place]) for place, index in enumerate(key)) + 0.5 * (key[0] == key[2])


def half_fails(key: Key) -> float | None:
    return None if key[0] + key[1] > 7 else ripples(key)


@pytest.mark.parametrize(
    ("space", "function", "budget"),
    [
        (GRID, ripples, 80),
        (CONSTRAINED, ripples, 60),
        (BOOLS, bits, 80),
        (STRINGS, letters, 80),
        (GRID, half_fails, 80),
        (HUGE, lambda key: -sum(abs(index - 8) for index in key[:12]) / 10.0, 150),
    ],
    ids=["smooth", "constrained", "booleans", "strings", "half fails", "30 dimensions"],
)
def test_it_finds_what_chance_needs_four_times_as_long_for(space: Space, function: Function, budget: int) -> None:
    ours = mean(best(searched(space, function, budget, seed)) for seed in range(3))
    chance = mean(by_chance(space, function, 4 * budget, seed) for seed in range(3))
    assert ours > chance


def test_noise_does_not_lead_it_astray() -> None:
    def noisy(key: Key) -> float:
        return ripples(key) + Random(str(key)).gauss(0.0, 0.3)

    class Truth:
        def __init__(self) -> None:
            self.seen: list[float] = []

        def __call__(self, key: Key) -> float:
            self.seen.append(ripples(key))
            return noisy(key)

    truths = []
    for seed in range(3):
        truth = Truth()
        searched(GRID, truth, 120, seed)
        truths.append(mean(truth.seen[-20:]))
    assert mean(truths) > mean(ripples(GRID.sample_key(Random(seed))) for seed in range(300)) + 3.0


def test_a_tiny_space_is_searched_to_its_end() -> None:
    space = Space(("A", "B"), ((1, 2, 4, 8), (0, 1, 2)), ("A + B <= 8",))
    assert len(searched(space, lambda key: float(key[0]), 100, 0)) == space.size


def test_where_everything_fails_it_keeps_spreading() -> None:
    assert searched(GRID, lambda key: None, 60, 0) == [None] * 60


def test_it_keeps_out_of_a_region_that_fails() -> None:
    outcomes = searched(GRID, half_fails, 100, 1)[50:]
    chance = mean(half_fails(GRID.sample_key(Random(seed))) is None for seed in range(400))
    assert chance > 0.5
    assert mean(value is None for value in outcomes) < 0.7 * chance


def test_what_is_in_flight_is_neither_repeated_nor_crowded() -> None:
    prospect = Prospect(GRID, ProspectSettings())
    rng = Random(5)
    for _ in range(40):
        key = GRID.sample_key(rng)
        prospect.tell(key, ripples(key))
    flying: set[Key] = set()
    for number in range(12):
        key = prospect.ask(Random(number), lambda key: key not in flying)
        assert key is not None and key not in flying
        flying.add(key)
    assert mean(GRID.distance_keys(one, other) for one in flying for other in flying if one < other) > 0.3


def test_it_goes_on_with_more_data_than_it_keeps() -> None:
    settings = ProspectSettings(most_points=64, pool=96, tuned_on=32)
    values = searched(GRID, ripples, 220, 3, settings)
    assert len(values) == 220
    assert best(values) == -0.625  # the optimum
    late = [value for value in values[64:] if value is not None]
    assert mean(late) > mean(ripples(GRID.sample_key(Random(seed))) for seed in range(300)) + 2.0


def test_an_order_of_tells_is_all_that_it_depends_on() -> None:
    one, other = Prospect(GRID, ProspectSettings()), Prospect(GRID, ProspectSettings())
    rng = Random(2)
    for number in range(50):
        key = GRID.sample_key(rng)
        one.tell(key, ripples(key))
        other.tell(key, ripples(key))
        if number % 3 == 0:
            one.ask(Random(number), lambda key: True)
    for number in range(20):
        assert one.ask(Random(number), lambda key: True) == other.ask(Random(number), lambda key: True)
