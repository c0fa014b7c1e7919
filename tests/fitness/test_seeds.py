"""Every problem's plain C++ kernel, and what its tunables make of it: they compile, keep to their arrays, and are right."""

from __future__ import annotations

import ctypes
import platform
import random
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from archive.kernel import Kernel
from fitness.inputs import Case
from fitness.lint import lint
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings
from fitness.supply import CaseSupply
from fitness.targets.cpp import CppTarget
from fitness.verify import judge

ROOT = Path(__file__).resolve().parents[2] / "experiments" / "problems"
SAMPLED = 1
"""Random configurations of each seed beside the default one; more of them are a matter of minutes."""
ALIGNMENT = 256
GUARD = 4096
"""Bytes after each array that a kernel must leave as they were."""
PATTERN = 0xA5

Array = NDArray[Any]
Run = Callable[[Case], list[Array]]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> CppTarget:
    return CppTarget(EvaluationSettings(cache=tmp_path_factory.mktemp("seeds")))


@pytest.fixture(params=sorted(file.parent.name for file in ROOT.glob("*/seed.cpp")))
def problem(request: pytest.FixtureRequest) -> Problem:
    return Problem.load(str(request.param), roots=[ROOT])


def guarded(nbytes: int) -> tuple[Array, Array]:
    """Memory at the ABI's alignment, and the guard behind it; all bytes hold PATTERN."""
    raw = np.full(nbytes + GUARD + ALIGNMENT, PATTERN, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes], raw[start + nbytes : start + nbytes + GUARD]


def loaded(target: CppTarget, kernel: Kernel) -> Run:
    """The kernel as a function in this process: our own seeds are trusted."""
    library = ctypes.CDLL(str(target.build(kernel).path))
    library.kernel.restype = None

    def run(case: Case) -> list[Array]:
        problem = case.problem
        sizes = [ctypes.c_int64(case.sizes[name]) for name in problem.sizes]
        places: list[tuple[Array, Array]] = []
        for argument in (*problem.inputs, *problem.outputs):
            places.append(guarded(argument.nbytes(case.sizes)))
        for (memory, _), array in zip(places, case.inputs, strict=False):
            memory[:] = array.reshape(-1).view(np.uint8)
        for memory, _ in places[len(case.inputs) :]:
            memory[:] = 0xFF  # NaN in every floating-point format
        pointers = [ctypes.c_void_p(memory.ctypes.data) for memory, _ in places]
        scratch = None
        if hasattr(library, "workspace"):
            library.workspace.restype = ctypes.c_size_t
            places.append(guarded(library.workspace(*sizes)))
            places[-1][0][:] = 0xFF
            scratch = ctypes.c_void_p(places[-1][0].ctypes.data)
        library.kernel(*pointers, scratch, *sizes)
        assert all((guard == PATTERN).all() for _, guard in places), f"{kernel.values} wrote beyond an array on {case.label}"
        outputs = places[len(case.inputs) : len(case.inputs) + len(problem.outputs)]
        return [
            memory.view(argument.dtype).reshape(argument.shape(case.sizes))
            for argument, (memory, _) in zip(problem.outputs, outputs, strict=True)
        ]

    return run


def configurations(problem: Problem, count: int) -> Sequence[Kernel]:
    """The seed as it stands and `count` other legal configurations, the same in every run of the tests."""
    seed = problem.seed_kernel("cpp")
    rng = random.Random(problem.name)
    return [seed, *(seed.with_values(seed.space.sample(rng)) for _ in range(count))]


def test_a_seed_passes_the_policy_with_every_value_of_its_flags(problem: Problem, target: CppTarget) -> None:
    seed = problem.seed_kernel("cpp")
    flags = dict(zip(seed.space.names, seed.space.domains, strict=True))["EVO_FLAGS"]

    assert [target.policy(seed.with_values({"EVO_FLAGS": value})) for value in flags] == [None] * len(flags)


def test_a_seeds_space_is_large_enough_to_search_and_small_enough_to_count(problem: Problem) -> None:
    size = problem.seed_kernel("cpp").space.size

    assert size is not None and 1_000 <= size <= 1_000_000


def test_a_problem_passes_its_lint_with_its_seed(problem: Problem, target: CppTarget) -> None:
    report = lint(problem, loaded(target, problem.seed_kernel("cpp")), draws=2)

    assert report.ok, report.table()


def test_a_seed_and_random_configurations_of_it_are_right_on_awkward_shapes(problem: Problem, target: CppTarget) -> None:
    cases = [case for sizes in problem.small_shapes for case in CaseSupply(problem).verification(sizes, draws=1)]
    for kernel in configurations(problem, SAMPLED):
        run = loaded(target, kernel)
        for case in cases:
            finding = judge(problem, case, run(case))
            assert finding is None, f"{dict(kernel.values)}: {finding.message}"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the machines named are x86")
@pytest.mark.parametrize("machine", ["haswell", "x86-64"])
def test_a_seeds_vectors_build_where_there_are_only_narrower_ones(
    problem: Problem, target: CppTarget, machine: str, tmp_path: Path
) -> None:
    seed = problem.seed_kernel("cpp")
    domains = dict(zip(seed.space.names, seed.space.domains, strict=True))
    widest = {name: domains[name][-1] for name in ("ALGORITHM", "VECTOR", "STREAM", "EXP") if name in domains}
    kernel = seed.with_values(widest)
    (tmp_path / "kernel.cpp").write_text(kernel.source)
    argv = [str(target.toolchain.command), "-std=gnu++20", "-O1", "-w", "-fopenmp-simd", "-shared", "-fPIC", f"-march={machine}"]

    done = subprocess.run([*argv, "kernel.cpp", "-o", "kernel.so"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
