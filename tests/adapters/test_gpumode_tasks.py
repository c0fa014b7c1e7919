"""gpu-mode tasks read as problems, unchanged."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from archive.evaluation import Outcome
from archive.kernel import Kernel
from fitness.adapters import opened
from fitness.problem import Problem, ProblemError
from fitness.protocol import EvaluationSettings

INSTALLED = importlib.util.find_spec("torch") is not None and importlib.util.find_spec("triton") is not None
pytestmark = pytest.mark.skipif(not INSTALLED, reason="torch and triton are not installed")
TASK = Path(__file__).resolve().parents[1] / "data" / "foreign" / "task"


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem.load(f"gpumode:{TASK}")


def test_tests_and_benchmarks_are_shapes_and_defaults_are_filled_in(problem: Problem) -> None:
    assert [dict(each) for each in problem.small_shapes] == [{"rows": 9, "cols": 33, "scale": 1}]
    assert [dict(each) for each in problem.shapes] == [{"rows": 96, "cols": 256, "scale": 1}, {"rows": 256, "cols": 64, "scale": 2}]


def test_nested_data_are_inputs_and_room_for_the_result_is_none(problem: Problem) -> None:
    sizes = problem.shapes[0]
    assert [(a.dtype, a.shape(sizes)) for a in problem.inputs] == [("float32", (96, 256)), ("float32", (16,)), ("int64", (96,))]
    assert [(a.dtype, a.shape(sizes)) for a in problem.outputs] == [("float32", (96, 256))]
    assert problem.foreign is not None
    assert problem.foreign.setting()["data"]["96,256,1"][1][2] == ["o", 0]


def test_the_reference_is_right_on_every_shape_and_knows_its_constants(problem: Problem) -> None:
    import torch

    from fitness.gpu.cases import make_case

    for sizes in (*problem.small_shapes, *problem.shapes):
        case = make_case(problem, sizes, "normal", device="cpu")
        x, values, index = case.inputs
        expected = x.double() * values.double()[index].unsqueeze(1) * sizes["scale"]
        assert torch.allclose(case.expected[0].double(), expected, rtol=1e-6)


def test_the_seed_and_a_candidate_that_writes_into_the_given_memory_pass(problem: Problem) -> None:
    from fitness.gpu.module_verifying import verify_module

    verdict = verify_module(problem.seed_kernel("triton"), problem, EvaluationSettings())
    assert verdict.outcome is Outcome.OK, verdict.diagnostics
    source = "import torch\nfrom task import input_t\n\ndef custom_kernel(data: input_t):\n    x, table, output = data\n"
    writes = "    torch.mul(x, (table['values'][table['index']] * table['scale']).unsqueeze(1), out=output)\n    return output\n"
    assert verify_module(Kernel("triton", source + writes), problem, EvaluationSettings()).outcome is Outcome.OK
    lazy = "    return output\n"
    wrong = verify_module(Kernel("triton", source + lazy), problem, EvaluationSettings())
    assert wrong.outcome is Outcome.WRONG and wrong.diagnostics[0].reason == "not_written"


def test_the_reference_is_not_there_to_be_imported(problem: Problem) -> None:
    from fitness.gpu.module_verifying import verify_module

    source = "from reference import ref_kernel as custom_kernel\ndef other(): pass\n"
    verdict = verify_module(Kernel("triton", source), problem, EvaluationSettings(), policy=False)
    assert verdict.outcome is Outcome.CRASH and "No module named 'reference'" in verdict.diagnostics[0].message


def test_it_is_searchable_by_the_lint() -> None:
    from fitness.adapters.examine import examine

    verdict = examine(opened(f"gpumode:{TASK}"))
    assert verdict.searchable, verdict.reason
    assert any("check of its own" in note for note in verdict.notes)


def test_what_is_no_task_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match=r"task\.yml"):
        Problem.load(f"gpumode:{tmp_path}")
    (tmp_path / "task.yml").write_text("lang: cu\nfiles: []\ntests: []\n")
    with pytest.raises(ProblemError, match="written in cu"):
        Problem.load(f"gpumode:{tmp_path}")
