"""The registry of strategies, and what is particular to map_elites."""

from __future__ import annotations

from collections import Counter
from importlib.metadata import EntryPoint, EntryPoints
from random import Random

import pytest

from evo.errors import UserError, as_user_error
from evo.strategies import registry
from evo.strategies.base import Move, Strategy
from evo.strategies.map_elites import MapElites
from evo.strategies.registry import create_strategy, strategy_class, strategy_names
from operators.base import OperatorError, View


class Stubborn(Strategy):
    """Always the same move."""

    def __init__(self, *, patience: int = 3) -> None:
        self.patience = patience

    def ask(self, view: View, rng: Random) -> Move:
        return Move("sample", (0,))


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> None:
    points = EntryPoints(
        [
            EntryPoint("stubborn", f"{__name__}:Stubborn", registry.GROUP),
            EntryPoint("broken", "no.such.module:Strategy", registry.GROUP),
            EntryPoint("no_strategy", "math:pi", registry.GROUP),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", lambda **wanted: points.select(**wanted))
    monkeypatch.setitem(__import__("sys").modules, __name__, __import__("types").SimpleNamespace(Stubborn=Stubborn))


def test_the_built_in_ones_are_there() -> None:
    assert {"map_elites", "random"} <= set(strategy_names())
    assert strategy_class("map_elites") is MapElites


def test_an_entry_point_adds_one(plugged: None) -> None:
    assert "stubborn" in strategy_names()
    made = create_strategy("stubborn", {"patience": 5})
    assert isinstance(made, Stubborn) and made.patience == 5


def test_a_plugin_that_cannot_be_loaded_or_is_none_is_told(plugged: None) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        strategy_class("broken")
    with pytest.raises(UserError, match="not a Strategy"):
        strategy_class("no_strategy")


@pytest.mark.parametrize(
    ("name", "parameters", "key", "said"),
    [
        ("map_elite", {}, "strategy.name", "Did you mean `map_elites`?"),
        ("nothing_like_it", {}, "strategy.name", "map_elites, mcts"),
        ("map_elites", {"gred": 0.1}, "strategy.gred", "Did you mean `greed`?"),
        ("map_elites", {"greed": 2.0}, "strategy.greed", "less than or equal to 1"),
        ("map_elites", {"initial": "ten"}, "strategy.initial", "valid integer"),
        ("map_elites", {"initial": 1.5}, "strategy.initial", "valid integer"),
        ("random", {"greed": 0.5}, "strategy.greed", "no parameters"),
    ],
)
def test_a_wrong_name_or_parameter_is_told(name: str, parameters: dict[str, object], key: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        create_strategy(name, parameters)
    assert caught.value.key == key
    assert said in str(caught.value)


def test_weights_for_a_strategy_that_takes_none_are_told() -> None:
    with pytest.raises(UserError) as caught:
        create_strategy("random", {}, {"sample": 1.0})
    assert caught.value.key == "operators"


def test_an_unknown_operator_is_told_before_the_run() -> None:
    with pytest.raises(OperatorError) as caught:
        create_strategy("map_elites", {}, {"mutate_sideways": 1.0})
    assert as_user_error(caught.value) is not None


def test_operators_are_chosen_by_weight(searched) -> None:
    counts = searched({"mutate_uniform": 3.0, "mutate_neighbour": 1.0, "crossover": 0.0})
    assert set(counts) == {"mutate_uniform", "mutate_neighbour"}
    assert 2.2 < counts["mutate_uniform"] / counts["mutate_neighbour"] < 4.0


def test_two_parents_are_two_different_elites(filled) -> None:
    strategy, view = filled(MapElites(initial=0, operators={"crossover": 1.0}))
    for number in range(200):
        move = strategy.ask(view, Random(number))
        assert move.operator == "crossover" and len(set(move.parents)) == 2


def test_greed_prefers_better_parents_and_its_absence_does_not(filled) -> None:
    def mean(greed: float) -> float:
        strategy, view = filled(MapElites(initial=0, greed=greed, curiosity=0.0, operators={"mutate_uniform": 1.0}))
        objectives = {elite.number: elite.objective for elite in view.archive.elites()}
        drawn = [objectives[strategy.ask(view, Random(number)).parents[0]] for number in range(1000)]
        return sum(drawn) / len(drawn)

    assert mean(1.0) > mean(0.0) + 0.1


def test_curiosity_prefers_parents_from_cells_that_had_fewer_children(filled) -> None:
    def spread(curiosity: float) -> int:
        strategy, view = filled(MapElites(initial=0, greed=0.0, curiosity=curiosity, operators={"mutate_uniform": 1.0}))
        visits = {elite.number: strategy._visits(elite) for elite in view.archive.elites()}
        return sum(visits[strategy.ask(view, Random(number)).parents[0]] for number in range(1000))

    assert spread(1.0) < 0.9 * spread(0.0)


@pytest.fixture
def filled():
    """Fills an archive by a search and hands out the strategy, told everything, with its view."""
    from instant_evaluator import SEED, Instant, InstantEvaluator

    from archive.candidate import Candidate, Proposal
    from archive.descriptors import parse_descriptors
    from archive.grid import GridArchive
    from evo.budget import Budget
    from evo.config import BudgetSection
    from evo.state import State

    def fill(strategy: MapElites) -> tuple[MapElites, View]:
        evaluator = InstantEvaluator(Instant(failures=False))
        archive = GridArchive(
            parse_descriptors(
                [
                    {"name": "tile", "field": "tunable.TILE", "kind": "log2", "low": 1, "high": 32},
                    {"name": "unroll", "field": "tunable.UNROLL", "kind": "bins", "edges": [1, 3, 5, 9]},
                ]
            ),
            deterministic=True,
        )
        state = State(archive, strategy, Budget(BudgetSection(evaluations=1000)), evaluator.space)
        (seed,) = evaluator.seeds()
        rng = Random(1)
        for number in range(120):
            kernel = seed if number == 0 else seed.with_values(seed.space.sample(rng))
            prepared = evaluator.prepare(kernel)
            parents = () if number == 0 else (rng.choice(archive.elites()[:3]).number,)
            proposal = Proposal(number, "seed" if number == 0 else "sample", parents)
            candidate = Candidate(proposal, kernel, evaluator.measure(prepared), archive.cell_of(prepared.profile, kernel.values))
            state.offer(candidate)
            state.finish(candidate)
        assert seed.source == SEED
        return strategy, state.view

    return fill


@pytest.fixture
def searched(filled):
    """How often each operator is asked for in 1000 asks."""

    def count(weights: dict[str, float]) -> Counter[str]:
        strategy, view = filled(MapElites(initial=0, operators=weights))
        return Counter(strategy.ask(view, Random(number)).operator for number in range(1000))

    return count
