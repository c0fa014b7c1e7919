"""The triton target on a machine without a GPU: ahead of time, for a named architecture. Needs torch and triton; skipped without."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.evaluation import Outcome
from archive.kernel import Kernel
from fitness.gpu.device import find_gpu
from fitness.opening import open_evaluator
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings
from fitness.targets.base import BuildFailure, TargetError
from fitness.targets.triton import TritonTarget

INSTALLED = importlib.util.find_spec("torch") is not None and importlib.util.find_spec("triton") is not None
needs_triton = pytest.mark.skipif(not INSTALLED, reason="torch and triton are not installed")


@pytest.fixture(scope="module")
def target() -> Iterator[TritonTarget]:
    made = TritonTarget(EvaluationSettings(architecture="sm_90"), Problem.load("swiglu_bf16"))
    yield made
    made.close()


@needs_triton
def test_a_seed_is_built_and_described_for_a_named_architecture(target: TritonTarget) -> None:
    problem = Problem.load("swiglu_bf16")
    kernel = problem.seed_kernel("triton")
    artifact = target.build(kernel)
    facts = target.describe(artifact, kernel, problem)
    assert facts["programs"] == 8192 * 14336 // 1024
    assert facts["elements_per_program"] == 1024
    assert facts["memory_pattern"] == "vector"
    assert 16 <= int(facts["registers"]) <= 64
    assert target.build(kernel).cached


@needs_triton
def test_a_type_error_inside_a_kernel_is_a_build_error_with_its_text(target: TritonTarget) -> None:
    source = Problem.load("swiglu_bf16").seed_kernel("triton").source.replace("tl.exp(-gate)", "tl.undefined_function(-gate)")
    with pytest.raises(BuildFailure) as failure:
        target.build(Kernel("triton", source))
    assert failure.value.outcome is Outcome.BUILD_ERROR
    assert "undefined_function" in failure.value.diagnostic.message


@needs_triton
def test_tiles_beyond_shared_memory_are_refused_before_a_device_sees_them() -> None:
    target = TritonTarget(EvaluationSettings(architecture="sm_90"), Problem.load("gemm_bf16"))
    source = Problem.load("gemm_bf16").seed_kernel("triton").source
    for name, plain, large in (("TILE_M", 64, 128), ("TILE_N", 64, 128), ("TILE_K", 32, 128), ("NUM_WARPS", 4, 8), ("NUM_STAGES", 3, 5)):
        source = source.replace(f"{name} = {plain}  #", f"{name} = {large}  #")
    lines = [line for line in source.splitlines() if "evo: require" not in line]
    try:
        with pytest.raises(BuildFailure) as failure:
            target.build(Kernel("triton", "\n".join(lines)))
    finally:
        target.close()
    assert failure.value.diagnostic.reason == "shared_memory"


@needs_triton
def test_more_registers_than_a_multiprocessor_has_are_refused_before_a_device_sees_them() -> None:
    problem = Problem.load("attention_bf16")
    target = TritonTarget(EvaluationSettings(architecture="sm_90"), problem)
    crowded = problem.seed_kernel("triton").with_values({"TILE_M": 256, "TILE_N": 64, "NUM_WARPS": 16, "REGISTERS": 168})
    try:
        with pytest.raises(BuildFailure) as failure:
            target.build(crowded)
    finally:
        target.close()
    assert failure.value.diagnostic.reason == "registers"
    assert failure.value.diagnostic.details == {"registers": 168, "threads": 512}


@pytest.mark.skipif(find_gpu() is not None, reason="there is a GPU")
@pytest.mark.parametrize("name", ["triton", "cuda"])
def test_timing_without_a_gpu_is_a_clear_error(name: str) -> None:
    with pytest.raises(TargetError) as error:
        open_evaluator("softmax_bf16", name, EvaluationSettings(architecture="sm_90"))
    assert "GPU" in str(error.value) or "found no" in str(error.value)


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    if not INSTALLED:
        with pytest.raises(TargetError, match=r"evo-kernels\[gpu\]"):
            TritonTarget(EvaluationSettings())
        return
    with pytest.raises(TargetError, match="sm_90"):
        _ = TritonTarget(EvaluationSettings(architecture="sm_1", cache=tmp_path)).architecture


@needs_triton
@pytest.mark.slow
def test_without_a_device_the_interpreter_tells_right_from_wrong() -> None:
    from fitness.gpu.verifying import verify

    problem, settings = Problem.load("softmax_bf16"), EvaluationSettings(architecture="sm_90")
    seed = problem.seed_kernel("triton")
    assert verify(seed, problem, settings).outcome is Outcome.OK
    wrong = Kernel("triton", seed.source.replace("return e / total", "return e"))
    verdict = verify(wrong, problem, settings)
    assert verdict.outcome is Outcome.WRONG
    assert verdict.diagnostics[0].reason == "wrong_values"
