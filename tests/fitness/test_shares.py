"""Ceilings: what moves a problem's bytes is built and measured as kernels are, and each share goes by its ceiling's name."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from archive.kernel import Kernel
from fitness.gathering import ROWS, WORDS, Way
from fitness.gathering import source as gather_source
from fitness.measuring import MeasuringEvaluator
from fitness.mover import PLAIN_COPY, RANDOM_GATHER, STREAMING_COPY, moves
from fitness.problem import Argument, Problem, ProblemError, Sizes
from fitness.protocol import EvaluationSettings
from fitness.shares import FMA_PEAK, binding, mean_shares, strictest, told
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


def aligned(argument: Argument, shape: Sizes) -> NDArray[Any]:
    """Of the argument's kind, on a 256-byte boundary, as slots are."""
    memory = np.zeros(argument.nbytes(shape) + 256, np.uint8)
    start = -memory.ctypes.data % 256
    return memory[start : start + argument.nbytes(shape)].view(argument.dtype).reshape(argument.shape(shape))


def words(array: NDArray[Any]) -> int:
    """Sum of an array's 32-bit words, modulo 2**32."""
    return int(np.ascontiguousarray(array).view(np.uint32).sum(dtype=np.uint64)) % 2**32


@pytest.mark.parametrize("way", [*WORDS, *ROWS], ids=lambda way: way.name)
@pytest.mark.parametrize("name", ["embedding_bag", "spmv"])
def test_a_gather_reads_all_that_is_picked_and_all_else_and_writes_every_output(settings: EvaluationSettings, name: str, way: Way) -> None:
    """It leaves the sum of all it read in the output's first element: a word left out would show."""
    problem = Problem.load(name, roots=[ROOT])
    assert problem.gather is not None
    table, index = problem.gather
    built = CppTarget(settings).build(Kernel("cpp", gather_source(problem, problem.small_shapes, way)))
    library = ctypes.CDLL(str(built.path))
    rng = np.random.default_rng(3)
    for shape in problem.small_shapes:
        arrays = {a.name: aligned(a, shape) for a in (*problem.inputs, *problem.outputs)}
        for array in arrays.values():
            array.reshape(-1).view(np.uint32)[...] = rng.integers(1, 2**32, array.nbytes // 4)
        arrays[index][...] = rng.integers(0, arrays[table].shape[0], arrays[index].shape)
        rest = sum(words(arrays[a.name]) for a in problem.inputs if a.name not in problem.gather)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays.values()]
        library.kernel(*pointers, None, *(ctypes.c_int64(shape[size]) for size in problem.sizes))
        written = arrays[problem.outputs[0].name].reshape(-1).view(np.uint32)
        assert int(written[0]) == (words(arrays[table][arrays[index]]) + rest) % 2**32, shape
        assert not written[1:].any(), shape


def test_every_way_of_gathering_goes_by_its_own_name() -> None:
    for name in ("embedding_bag", "spmv"):
        problem = Problem.load(name, roots=[ROOT])
        made = moves(problem, problem.shapes)
        assert {move.roof for move in made} == {RANDOM_GATHER} and len({move.name for move in made}) == len(made)


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


def test_a_share_is_told_with_the_name_of_its_ceiling_the_binding_one_first() -> None:
    shares = {STREAMING_COPY: 0.538, PLAIN_COPY: 0.832, FMA_PEAK: 0.1}
    assert told(0.538, shares, PLAIN_COPY) == "83 % of plain copy (54 % of streaming copy, 10 % of FMA peak)"
    assert told(0.97, {RANDOM_GATHER: 0.97}, RANDOM_GATHER) == "97 % of random gather"
    assert told(0.5, {}, "").startswith("50 % of the device's measured bandwidth or FLOP rate")
    assert told(None, {}, "") == ""
