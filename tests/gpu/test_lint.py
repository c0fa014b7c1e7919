"""The lint of problems for GPUs. Needs torch; no device."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fitness.problem import Problem, ProblemError
from fitness.protocol import EvaluationSettings

needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
EVERY = sorted(path.parent.name for path in Path("experiments/problems").glob("*/seed_triton.py"))


@needs_torch
@pytest.mark.parametrize("name", EVERY)
def test_every_problem_catches_every_wrong_kernel_and_passes_its_baseline(name: str) -> None:
    from fitness.gpu.lint import lint

    report = lint(Problem.load(name), draws=1)
    assert report.ok, report.table()
    assert {"zeros", "constant", "last_tile_unwritten", "baseline gpu"} <= {row.name for row in report.rows}


@needs_torch
def test_a_mutant_that_is_right_refuses_the_problem(tmp_path: Path) -> None:
    from fitness.gpu.lint import require

    problem = Problem.load("softmax_bf16")
    mutants: dict[str, Any] = {"another_order": lambda x: (x - x.amax(-1, keepdim=True)).exp().softmax(-1) * 0 + x.softmax(-1)}
    weak = replace(problem, mutants=mutants)
    with pytest.raises(ProblemError, match="another_order"):
        require(weak, EvaluationSettings(cache=tmp_path))


@needs_torch
def test_what_passed_is_not_examined_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fitness.gpu import lint

    problem, settings = Problem.load("softmax_bf16"), EvaluationSettings(cache=tmp_path)
    lint.require(problem, settings)
    monkeypatch.setattr(lint, "lint", lambda *_: pytest.fail("examined again"))
    lint.require(problem, settings)
