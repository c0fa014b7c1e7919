"""Referees for hostile kernels, one per sandbox level and set of terms, kept for the session."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import hostile_arena
import pytest

from fitness.problem import Problem
from fitness.referee import Referee
from fitness.sandbox import LEVELS, available


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "attack_file" in metafunc.fixturenames:
        metafunc.parametrize("attack_file", hostile_arena.SOURCES, ids=lambda path: path.stem)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return hostile_arena.toy_problem(tmp_path_factory.mktemp("problems"))


@pytest.fixture(scope="session", params=list(LEVELS))
def level(request: pytest.FixtureRequest) -> str:
    why = available()[request.param]
    if why is not None:
        pytest.skip(f"{request.param} does not work here: {why}")
    return str(request.param)


@pytest.fixture(scope="session")
def referees(level: str) -> Iterator[Callable[[int, int], Referee]]:
    """(threads, memory) → the referee with these terms in the sandbox under test."""
    made: dict[tuple[int, int], Referee] = {}

    def get(threads: int, memory: int) -> Referee:
        key = (threads, memory)
        if key not in made:
            made[key] = Referee(threads=threads, memory=memory, sandbox=LEVELS[level], load_timeout=2.0, pool=1)
        return made[key]

    yield get
    for referee in reversed(made.values()):
        referee.close()
