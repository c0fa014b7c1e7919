"""The shipped problems for GPUs: complete, of the sizes that their figures to beat were measured on, and with checks that catch what is
wrong. What computes needs torch and is skipped without it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from fitness.gpu.ceilings import GpuCeilings
from fitness.gpu.station import GpuStation, gpu_baselines
from fitness.mover import RANDOM_GATHER
from fitness.problem import SEEDS, Problem, Sizes
from fitness.shares import BANDWIDTH, TENSOR_PEAK, binding

HOME = Path(__file__).parents[2] / "experiments"
NAMES = sorted(path.parent.name for path in (HOME / "problems").glob("*/seed_triton.py"))
INSTALLED = importlib.util.find_spec("torch") is not None
needs_torch = pytest.mark.skipif(not INSTALLED, reason="torch is not installed")
needs_triton = pytest.mark.skipif(not INSTALLED or importlib.util.find_spec("triton") is None, reason="triton is not installed")

MEASURED = {
    "softmax_bf16": 0.0629, "rms_norm_bf16": 0.0629, "layer_norm_bf16": 0.0629, "add_rms_norm_bf16": 0.1257,
    "rms_norm_backward_bf16": 0.0471, "swiglu_bf16": 0.1650, "cross_entropy_bf16": 0.4920, "rope_bf16": 0.1257, "cumsum_bf16": 0.0943,
    "transpose_bf16": 0.2514, "jagged_mean_bf16": 0.2043, "embedding_bag_bf16": 0.2065, "fm_bf16": 0.0236, "conv1d_fp16": 0.0570,
    "gemm_bf16": 0.1729, "gemm_gelu_bf16": 0.3459, "attention_bf16": 0.6917,
}  # fmt: skip
"""Milliseconds at the roofline of one H200: the first shape's bytes at 4.27 TB/s, or its operations at 795 TFLOP/s."""


def test_every_problem_with_measured_figures_is_there_and_no_other() -> None:
    assert sorted(MEASURED) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_first_shape_is_the_one_that_figures_were_measured_on(name: str) -> None:
    problem = Problem.load(name)
    first = problem.shapes[0]
    roof = max(problem.bytes_moved(first) / 4.27e12, problem.flops(first) / 795e12)
    assert 1e3 * roof == pytest.approx(MEASURED[name], rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_a_problem_can_be_searched_on_a_gpu(name: str) -> None:
    problem = Problem.load(name)
    assert {"eager", "compile", "max_autotune"} <= set(gpu_baselines(problem))
    assert problem.mutants
    assert problem.held_out_shapes


def test_the_suite_has_every_problem_once() -> None:
    runs = yaml.safe_load((HOME / "suites" / "h200.yaml").read_text())["runs"]
    assert sorted(run["set"].get("problem", run["set"]["name"]) for run in runs) == NAMES


def test_at_least_eight_problems_have_a_cuda_seed_too() -> None:
    assert sum((HOME / "problems" / name / SEEDS["cuda"][1]).is_file() for name in NAMES) >= 8


CEILINGS = GpuCeilings(read=4.6e12, copy=4.2e12, write=4.4e12, bfloat16=8e14, float16=8e14, tf32=4e14, float32=5e13, float64=5e13)


def station_of(problem: Problem) -> GpuStation:
    """As far as ceilings go; opening one takes a device."""
    station = GpuStation.__new__(GpuStation)
    station.problem, station.ceilings = problem, CEILINGS
    return station


def test_the_roofline_takes_reads_and_writes_in_the_problem_s_mixture() -> None:
    problem = Problem.load("cumsum_bf16")
    station, sizes = station_of(problem), {"rows": 1000, "cols": 1000}
    copied, written_besides = 4e6 / 4.2e12, 2e6 / 4.4e12
    assert station.roof(sizes) == pytest.approx(copied + written_besides)
    assert binding({name: seconds / 1e-5 for name, seconds in station.ceilings_of(sizes, {}).items()}) == BANDWIDTH


def test_where_rows_are_picked_the_roofline_is_that_of_picking(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Problem.load("embedding_bag_bf16")
    station, sizes = station_of(problem), problem.shapes[0]
    monkeypatch.setattr("fitness.gpu.station.gather_rate", lambda row_bytes, rows: {(256, 2500000): 4e12}[row_bytes, rows])
    assert station.roof(sizes) == pytest.approx(problem.bytes_moved(sizes) / 4e12)
    assert binding({name: seconds / 1e-3 for name, seconds in station.ceilings_of(sizes, {}).items()}) == RANDOM_GATHER


def test_a_matrix_product_is_held_against_the_tensor_cores() -> None:
    problem = Problem.load("gemm_bf16")
    station, sizes = station_of(problem), problem.shapes[0]
    assert station.roof(sizes) == pytest.approx(problem.flops(sizes) / 8e14)
    assert binding({name: seconds / 1e-3 for name, seconds in station.ceilings_of(sizes, {}).items()}) == TENSOR_PEAK


# -- what is wrong has to fail, what is right has to pass ------------------------------------------------------------------------------

Make = Callable[[Any, Sequence[Any], Sequence[Any]], Sequence[Any]]
"""Outputs, from a case, its inputs in float64 and its right outputs in their own types."""


def _zeros(_case: Any, _inputs: Sequence[Any], right: Sequence[Any]) -> Sequence[Any]:
    return [output * 0 for output in right]


def _last_tile_unwritten(_case: Any, _inputs: Sequence[Any], right: Sequence[Any]) -> Sequence[Any]:
    for output in right:
        output[..., -min(16, output.shape[-1]) :] = float("nan")
    return right


def _three_bits(_case: Any, _inputs: Sequence[Any], right: Sequence[Any]) -> Sequence[Any]:
    """Mantissas of eight-bit floats."""
    import torch

    parts = [torch.frexp(output.double()) for output in right]
    return [(torch.ldexp((p.mantissa * 16).round() / 16, p.exponent)).to(o.dtype) for p, o in zip(parts, right, strict=True)]


def _one_in_a_hundred_redrawn(case: Any, inputs: Sequence[Any], right: Sequence[Any]) -> Sequence[Any]:
    import torch

    changed = [array.clone() for array in inputs]
    for argument, array in zip(case.problem.inputs, changed, strict=True):
        if argument.role == "data":
            places = torch.randperm(array.numel())[: max(1, array.numel() // 100)]
            array.view(-1)[places] += 3.0 * torch.randn(len(places), dtype=array.dtype) * array.abs().mean().clamp(min=1e-3)
    results = case.problem.reference(*changed)
    return [result.to(output.dtype) for result, output in zip(results, right, strict=True)]


WRONG: dict[str, Make] = {
    "zeros": _zeros,
    "last_tile_unwritten": _last_tile_unwritten,
    "three_bits": _three_bits,
    "1%_redrawn": _one_in_a_hundred_redrawn,
}


def _cases(problem: Problem) -> list[Any]:
    from fitness.distributions import DISTRIBUTIONS
    from fitness.gpu.cases import make_case

    shapes: Sequence[Sizes] = problem.small_shapes[:2]
    return [make_case(problem, sizes, distribution, device="cpu") for distribution in DISTRIBUTIONS for sizes in shapes]


def _answers(problem: Problem, function: Callable[..., Any], inputs: Sequence[Any]) -> list[Any]:
    import torch

    results = function(*inputs)
    given = results if isinstance(results, (tuple, list)) else (results,)
    return [result.to(getattr(torch, argument.dtype)) for result, argument in zip(given, problem.outputs, strict=True)]


@needs_torch
@pytest.mark.parametrize("name", NAMES)
def test_checks_catch_every_wrong_kernel_and_pass_the_right_one(name: str) -> None:
    from fitness.gpu.compare import judge

    problem = Problem.load(name)
    uncaught = {*WRONG, *problem.mutants}
    for case in _cases(problem):
        exact = [array.double() if array.is_floating_point() else array for array in case.inputs]
        right = _answers(problem, problem.hooks["reference"], exact)
        assert judge(problem, case, right) is None
        for wrong in sorted(uncaught):
            if wrong in WRONG:
                outputs = WRONG[wrong](case, exact, [output.clone() for output in right])
            else:
                outputs = _answers(problem, problem.mutants[wrong], exact)
            if judge(problem, case, list(outputs)) is not None:
                uncaught.discard(wrong)
    assert not uncaught


@needs_torch
@pytest.mark.parametrize("name", NAMES)
def test_every_baseline_is_right(name: str) -> None:
    from fitness.gpu.compare import judge

    problem = Problem.load(name)
    for entry in sorted({program.entry.partition(":")[0] for program in gpu_baselines(problem).values()}):
        for case in _cases(problem)[:2]:
            assert judge(problem, case, _answers(problem, problem.baseline(entry), case.inputs)) is None, entry


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_seed_is_right_in_the_interpreter(name: str) -> None:
    from archive.evaluation import Outcome
    from fitness.gpu.verifying import verify
    from fitness.protocol import EvaluationSettings

    problem = Problem.load(name)
    verdict = verify(problem.seed_kernel("triton"), problem, EvaluationSettings(architecture="sm_90"))
    assert verdict.outcome is Outcome.OK, verdict.diagnostics
