"""Ceilings: what moves a problem's bytes is built and measured as kernels are, and each share goes by its ceiling's name."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from archive.kernel import Kernel
from fitness.measuring import MeasuringEvaluator
from fitness.mover import PLAIN_COPY, RANDOM_GATHER, STREAMING_COPY, moves
from fitness.problem import Problem, ProblemError
from fitness.protocol import EvaluationSettings
from fitness.shares import FMA_PEAK, binding, mean_shares, strictest
from fitness.targets.cpp import CppTarget

ROOT = Path(__file__).resolve().parents[2] / "experiments" / "problems"

GATHER = '''"""Rows of a table: y[i] = table[index[i]]."""

sizes = ("n", "rows", "width")
inputs = {{
    "table": {{"dtype": "float32", "shape": ("rows", "width"), "role": "data"}},
    "index": {{"dtype": "int32", "shape": ("n",), "role": "index", "below": "rows"}},
}}
outputs = {{"y": {{"dtype": "float32", "shape": ("n", "width")}}}}
shapes = [{{"n": 30000, "rows": 20000, "width": 64}}]
small_shapes = [{{"n": 7, "rows": 33, "width": 5}}]
held_out_shapes = [{{"n": 20011, "rows": 30000, "width": 48}}]
gather = {gather}


def accumulation(n, rows, width):
    return 1


def bytes_moved(n, rows, width):
    return 4 * (2 * n * width + n)


def flops(n, rows, width):
    return 0


def reference(table, index):
    return table[index]
'''
SEED = """\
#include <cstdint>
#include <cstring>
extern "C" void kernel(const float* table, const int32_t* index, float* y, void*, int64_t n, int64_t, int64_t width) {
    for (int64_t i = 0; i < n; ++i) std::memcpy(y + i * width, table + index[i] * width, static_cast<size_t>(width) * 4);
}
"""


def gathering(folder: Path, gather: object) -> Problem:
    folder.mkdir(exist_ok=True)
    (folder / "problem.py").write_text(GATHER.format(gather=gather))
    (folder / "baseline.py").write_text("def numpy(table, index, y):\n    table.take(index, axis=0, out=y)\n")
    (folder / "seed.cpp").write_text(SEED)
    return Problem.load(folder)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> EvaluationSettings:
    return EvaluationSettings(cache=tmp_path_factory.mktemp("shares"), repetitions=4, certify_processes=1)


@pytest.fixture
def evaluator(tmp_path: Path, settings: EvaluationSettings) -> Iterator[MeasuringEvaluator]:
    made = MeasuringEvaluator(gathering(tmp_path / "rows", {"table": "index"}), CppTarget(settings), settings)
    yield made
    made.close()


@pytest.mark.parametrize("gather", [{"table": "y"}, {"index": "index"}, {"table": "table"}, {}, {"table": "index", "y": "index"}, "index"])
def test_a_gather_that_names_no_table_and_index_is_refused(tmp_path: Path, gather: object) -> None:
    with pytest.raises(ProblemError) as caught:
        gathering(tmp_path / "rows", repr(gather))
    assert caught.value.key == "gather"


def test_a_problem_without_gather_is_held_against_copies() -> None:
    problem = Problem.load("layernorm", roots=[ROOT])
    assert problem.gather is None
    assert {move.roof for move in moves(problem, problem.shapes)} == {PLAIN_COPY, STREAMING_COPY}


def test_a_certificate_names_the_gather_and_no_kernel_beats_it_by_much(evaluator: MeasuringEvaluator) -> None:
    prepared = evaluator.prepare(evaluator.seeds()[0])
    certificate = evaluator.certify(prepared)
    assert certificate.ok and certificate.roofline == RANDOM_GATHER
    assert set(certificate.shares) == {RANDOM_GATHER} and set(certificate.against) == {"numpy"}
    assert 0.1 < certificate.shares[RANDOM_GATHER] < 3  # a busy machine moves both, the order of magnitude stays


@pytest.mark.parametrize("ahead", [0, 12, 64])
@pytest.mark.parametrize("name", ["embedding_bag", "spmv"])
def test_a_gather_reads_every_row_that_the_indices_pick(settings: EvaluationSettings, name: str, ahead: int) -> None:
    """It leaves the sum of all it read in the output's first element: a row left out would show."""
    problem = Problem.load(name, roots=[ROOT])
    assert problem.gather is not None
    table, index = problem.gather
    move = next(move for move in moves(problem, problem.small_shapes) if f" {ahead} items ahead" in move.name)
    library = ctypes.CDLL(str(CppTarget(settings).build(Kernel("cpp", move.source)).path))
    rng = np.random.default_rng(3)
    for shape in problem.small_shapes:
        arguments = (*problem.inputs, *problem.outputs)
        arrays = {a.name: np.zeros(a.shape(shape), a.dtype) for a in arguments}
        arrays[table][...] = rng.integers(1, 5, arrays[table].shape)
        arrays[index][...] = rng.integers(0, arrays[table].shape[0], arrays[index].shape)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays.values()]
        library.kernel(*pointers, None, *(ctypes.c_int64(shape[size]) for size in problem.sizes))
        assert arrays[problem.outputs[0].name].reshape(-1)[0] == arrays[table][arrays[index]].sum()


def test_the_binding_ceiling_is_the_one_that_takes_longest_and_never_one_that_was_beaten() -> None:
    assert binding({PLAIN_COPY: 0.8, STREAMING_COPY: 0.6, FMA_PEAK: 0.02}) == PLAIN_COPY
    assert binding({PLAIN_COPY: 1.3, STREAMING_COPY: 0.9}) == STREAMING_COPY
    assert binding({PLAIN_COPY: 0.1, STREAMING_COPY: 0.08, FMA_PEAK: 0.7}) == FMA_PEAK
    assert binding({RANDOM_GATHER: 0.9, FMA_PEAK: 0.1}) == RANDOM_GATHER
    assert binding({}) == ""


def test_the_strictest_share_is_that_of_the_fastest_mover() -> None:
    assert strictest({PLAIN_COPY: 1.3, STREAMING_COPY: 0.9, FMA_PEAK: 0.03}) == 0.9
    assert strictest({PLAIN_COPY: 0.1, FMA_PEAK: 0.7}) == 0.7
    assert strictest({}) is None
    assert mean_shares([{PLAIN_COPY: 0.5, FMA_PEAK: 1.0}, {PLAIN_COPY: 2.0}]) == pytest.approx({PLAIN_COPY: 1.0})
