"""Goals in words, partners far apart, and the interface that a prompt states."""

from __future__ import annotations

import random
from typing import Any

import pytest

from archive.candidate import Candidate, Proposal, VisitCell
from archive.descriptors import parse_descriptors
from archive.evaluation import Evaluation, Outcome
from archive.grid import GridArchive
from archive.kernel import Kernel
from fitness.problem import Problem
from operators.brief import Brief
from operators.llm.aiming import choose_cell, goal_in_words
from operators.llm.crossover import Crossover
from operators.llm.telling import bottleneck

AXES = [
    {
        "name": "memory",
        "field": "memory_pattern",
        "kind": "categorical",
        "values": ["scalar", "vector", "streaming"],
        "out_of_range": "drop",
    },
    {"name": "tile", "field": "tile_elements", "kind": "log2", "low": 16, "high": 128},
]


class Seen:
    """An archive with candidates in given cells, as a view."""

    def __init__(self, *cells: tuple[str, int, float]) -> None:
        self.archive = GridArchive(parse_descriptors(AXES), deterministic=True)
        self.candidates: list[Candidate] = []
        for number, (pattern, tile, objective) in enumerate(cells):
            profile = {"memory_pattern": pattern, "tile_elements": tile}
            kernel = Kernel("python", f"X = {number}\n")
            evaluation = Evaluation(kernel.id, Outcome.OK, objective=objective, profile=profile)
            cell = self.archive.cell_of(profile)
            made = Candidate(Proposal(number, "seed"), kernel, evaluation, cell)
            self.archive.offer(made)
            self.candidates.append(made)

    def candidate(self, number: int) -> Candidate:
        return self.candidates[number]


def test_an_empty_neighbour_is_named_in_words() -> None:
    view: Any = Seen(("vector", 32, 0.5))
    parent = view.candidate(0)
    cells = {choose_cell(parent, view, random.Random(seed)) for seed in range(60)}
    assert all(
        isinstance(goal, VisitCell) and sum(a != b for a, b in zip(goal.cell, parent.cell, strict=True)) == 1 for goal in cells if goal
    )
    said = " ".join(goal_in_words(goal.cell, parent, view) for goal in cells if goal is not None)
    assert "non-temporal (streaming) stores" in said and "larger" in said and "smaller" in said and "Nobody has found" in said


def test_without_an_empty_neighbour_a_weak_one_is_the_goal() -> None:
    view: Any = Seen(
        *[
            (pattern, tile, 0.1 * n)
            for n, (pattern, tile) in enumerate((p, t) for p in ("scalar", "vector", "streaming") for t in (16, 32, 64, 128))
        ]
    )
    parent = view.candidate(5)
    goal = choose_cell(parent, view, random.Random(0))
    assert goal is not None and "reaches" in goal_in_words(goal.cell, parent, view)
    assert goal_in_words(parent.cell, parent, view) == ""


def test_crossover_keeps_a_distant_partner_and_replaces_a_near_one() -> None:
    view: Any = Seen(("vector", 32, 0.5), ("vector", 32, 0.1), ("streaming", 128, 0.2), ("streaming", 32, 0.9))
    assert Crossover().partners((0, 1), view) == (0, 2)
    assert Crossover().partners((0, 3), view) == (0, 3)
    assert Crossover().partners((0,), view) == (0, 2)


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({"roofline_share": 0.9}, "memory bandwidth"),
        ({"roofline_share": 0.1, "library_calls": "expf"}, "expf"),
        ({"roofline_share": 0.1, "spills": 40}, "spills"),
        ({"roofline_share": 0.2, "vector_bits": 0}, "not vectorised"),
        ({}, ""),
    ],
)
def test_the_bottleneck_follows_the_profile(profile: dict[str, Any], words: str) -> None:
    assert words in bottleneck(profile)


@pytest.mark.parametrize(
    ("target", "signature"),
    [
        ("cpp", 'extern "C" void kernel(const float* x, float* y, void* workspace, int64_t rows, int64_t cols);'),
        ("cuda", "int64_t rows, int64_t cols, cudaStream_t stream);"),
        ("triton", "launch(x, y, workspace)"),
    ],
)
def test_the_interface_is_that_of_the_target(target: str, signature: str) -> None:
    brief = Brief.of(Problem.load("softmax"), target, target, {"device": {"name": "some device", "vector_bits": 512}})
    assert signature in brief.interface and "some device" in brief.machine[0]
