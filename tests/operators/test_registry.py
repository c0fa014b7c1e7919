"""Operators by name: the package's own, installed ones, weights."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from operators import base
from operators.base import OperatorError, names, operator, operator_class, pick
from operators.mutate import MutateNeighbour


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[EntryPoint]]:
    """Entry points that other distributions would bring."""
    found: list[EntryPoint] = []
    monkeypatch.setattr(base, "entry_points", lambda group: EntryPoints(found).select(group=group))
    base._entries.cache_clear()
    yield found
    base._entries.cache_clear()


def test_every_name_makes_an_operator_of_that_name() -> None:
    assert {"seed", "sample", "set_values", "mutate_uniform", "mutate_neighbour", "mutate_many", "crossover", "graft"} <= set(names())
    for name in names():
        assert operator_class(name).name == name


def test_each_run_has_an_operator_of_its_own() -> None:
    assert operator("sample") is not operator("sample")


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(OperatorError, match=r"found `mutat`, expected one of seed, sample"):
        operator("mutat")


def test_installed_operators_are_found_but_never_take_over_a_built_in_name(installed: list[EntryPoint]) -> None:
    installed += [
        EntryPoint("theirs", "operators.mutate:MutateNeighbour", base.ENTRY_POINTS),
        EntryPoint("sample", "operators.mutate:MutateNeighbour", base.ENTRY_POINTS),
        EntryPoint("elsewhere", "operators.mutate:MutateNeighbour", "other.group"),
    ]
    assert operator_class("theirs") is MutateNeighbour
    assert operator_class("sample") is not MutateNeighbour
    assert names().count("sample") == 1 and names()[-1] == "theirs"


@pytest.mark.parametrize(("value", "reason"), [("no.such:Thing", "does not load"), ("random:Random", "expected a subclass")])
def test_a_broken_installed_operator_is_named(installed: list[EntryPoint], value: str, reason: str) -> None:
    installed.append(EntryPoint("broken", value, base.ENTRY_POINTS))
    with pytest.raises(OperatorError, match=f"`broken`.*{reason}"):
        operator("broken")


def test_names_are_drawn_in_proportion_to_their_weights() -> None:
    rng = random.Random(1)
    drawn = Counter(pick({"a": 1.0, "b": 3.0, "c": 0.0}, rng) for _ in range(4000))
    assert set(drawn) == {"a", "b"} and 2.6 < drawn["b"] / drawn["a"] < 3.4


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": 1.0, "b": -1.0}, {"a": float("nan")}, {"a": float("inf")}])
def test_weights_that_say_nothing_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(OperatorError):
        pick(weights, random.Random(1))


def test_the_registry_loads_nothing_heavy() -> None:
    heavy = "{'pandas', 'matplotlib', 'litellm', 'torch', 'triton', 'scipy', 'deap', 'operators.tunable'}"
    program = f"import sys, operators.base; loaded = {heavy} & set(sys.modules); sys.exit(str(loaded) if loaded else 0)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=base.__file__.rsplit("/", 2)[0], check=False)
    assert done.returncode == 0, done.stderr
