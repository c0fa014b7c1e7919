"""Secret inputs for a GPU: the rules are those of a CPU's. Needs torch; no device."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import pytest

from fitness.problem import Problem

pytestmark = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
LARGE = 8.0
"""Above what normal data reaches in most places, below most of what is a hundred times larger."""


def test_large_data_lie_everywhere_in_some_rows_or_from_some_element_on() -> None:
    from fitness.gpu.cases import make_case

    problem, seen = Problem.load("softmax_bf16"), set()
    for _ in range(80):
        (x,) = make_case(problem, {"rows": 64, "cols": 64}, "x100", device="cpu").inputs
        large = (x.double().abs() > LARGE).double()
        rows, columns = large.mean(dim=1), large.mean(dim=0)
        if large.mean() > 0.8:
            seen.add("everywhere")
        elif bool(((rows < 0.1) | (rows > 0.7)).all()) and 0 < int((rows > 0.7).sum()) < 64:
            seen.add("in rows")
        elif bool((columns < 0.1).any()) and bool((columns > 0.7).any()):
            first = int((columns > 0.5).nonzero()[0])
            assert float(columns[:first].max()) < 0.1, "tame up to an element, and large from there on"
            seen.add("from an element on")
    assert seen == {"everywhere", "in rows", "from an element on"}


def test_what_a_problem_draws_itself_follows_the_distribution_too() -> None:
    import torch

    from fitness.gpu.cases import make_case

    problem = Problem.load("softmax_bf16")

    def make_inputs(rng: Any, sizes: Any) -> dict[str, Any]:
        return {"x": rng.standard_normal((sizes["rows"], sizes["cols"]), dtype="float32")}

    own = replace(problem, hooks={**problem.hooks, "make_inputs": make_inputs})
    (plain,), (small,) = (make_case(own, {"rows": 64, "cols": 64}, name, device="cpu").inputs for name in ("normal", "x0.01"))
    assert plain.dtype == small.dtype == torch.bfloat16
    assert 0.005 < float(small.float().std() / plain.float().std()) < 0.02


@pytest.mark.parametrize(("distribution", "largest"), [("normal", 8), ("x0.01", 1), ("x100", 1000), ("sparse", 8)])
def test_whole_numbers_are_as_large_as_the_distribution_says(distribution: str, largest: int) -> None:
    import torch

    from fitness.gpu.cases import _whole_numbers

    drawn = _whole_numbers((2000,), torch.int32, distribution, torch.Generator(), "cpu")
    assert drawn.dtype == torch.int32
    assert largest / 5 <= int(drawn.abs().max()) <= largest
    assert (float((drawn == 0).float().mean()) > 0.8) is (distribution == "sparse")
    assert int(_whole_numbers((2000,), torch.uint8, distribution, torch.Generator(), "cpu").min()) >= 0
