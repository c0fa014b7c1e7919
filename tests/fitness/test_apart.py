"""Twin kernels of the noise experiments: a known part apart by construction."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from archive.kernel import Kernel
from fitness.measuring import MeasuringEvaluator
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings
from fitness.targets import open_target

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def apart() -> ModuleType:
    spec = importlib.util.spec_from_file_location("_apart", ROOT / "experiments" / "bench" / "_apart.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["_apart"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def seed() -> Kernel:
    return Problem.load(ROOT / "experiments" / "problems" / "softmax").seed_kernel("cpp")


def test_the_slow_twin_has_as_many_more_turns_as_make_it_five_per_cent_longer(apart: ModuleType, seed: Kernel) -> None:
    chain = apart.Chain(seconds=1e-9, error=1e-12)
    found = apart.twins(chain, seed, 0.05, np.full(20, 1e-3), turns=700_000)
    assert "turn < 700000;" in found.fast.source and "turn < 750000;" in found.slow.source
    assert found.seconds == pytest.approx(1e-3) and found.apart == pytest.approx(0.05, abs=1e-5)
    assert found.error == pytest.approx(0.05 * 1e-3), "only the slope is unsure when all times are alike"


def test_times_that_scatter_make_the_difference_less_sure(apart: ModuleType, seed: Kernel) -> None:
    chain = apart.Chain(seconds=1e-9, error=1e-12)
    times = 1e-3 * np.exp(np.random.default_rng(1).normal(0, 0.1, 40))
    assert apart.twins(chain, seed, 0.05, times).error > 3 * apart.twins(chain, seed, 0.05, np.full(40, 1e-3)).error


def test_a_chain_of_multiplications_changes_no_answer_and_is_not_optimised_away(apart: ModuleType, seed: Kernel) -> None:
    problem = Problem.load(ROOT / "tests" / "data" / "problems" / "tiny_norm")
    settings = EvaluationSettings(repetitions=4)
    evaluator = MeasuringEvaluator(problem, open_target("cpp", settings), settings)
    softmax = Problem.load(ROOT / "experiments" / "problems" / "softmax")
    try:
        assert evaluator.target.policy(apart.chained(seed, 1000)) is None
        core = evaluator.station.core
        times = apart.bare(evaluator.target, softmax, [seed, apart.chained(seed, 200_000)], apart.TINY, core, rounds=20)
    finally:
        evaluator.close()
    assert times.shape == (20, 3)
    assert np.median(times[:, 1] - times[:, 0]) > 50e-6, "200,000 dependent multiplications take longer than that on any machine"
