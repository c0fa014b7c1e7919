"""KernelBench files read as problems, unchanged; and the lint of a checkout."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from evo.cli import main
from fitness.adapters import absolute, is_foreign
from fitness.problem import Problem, ProblemError

INSTALLED = importlib.util.find_spec("torch") is not None and importlib.util.find_spec("triton") is not None
needs_torch = pytest.mark.skipif(not INSTALLED, reason="torch and triton are not installed")
BENCH = Path(__file__).resolve().parents[1] / "data" / "foreign" / "bench"


def test_references_are_told_from_names_and_made_absolute(tmp_path: Path) -> None:
    assert is_foreign("kernelbench:a.py") and is_foreign("gpumode:x") and not is_foreign("softmax") and not is_foreign("/a:b")
    assert absolute("kernelbench:a.py", tmp_path) == f"kernelbench:{tmp_path / 'a.py'}"
    assert absolute("softmax", tmp_path) == "softmax"


@pytest.mark.skipif(INSTALLED, reason="torch is installed")
def test_without_torch_the_error_says_what_to_install() -> None:
    with pytest.raises(ProblemError, match=r"no torch.*evo-kernels\[gpu\]"):
        Problem.load(f"kernelbench:{BENCH / '1_scaled_linear.py'}")


@needs_torch
def test_a_file_becomes_a_problem_with_its_own_arguments() -> None:
    problem = Problem.load(f"kernelbench:{BENCH / '1_scaled_linear.py'}")
    sizes = problem.shapes[0]
    assert dict(sizes) == {"batch_size": 48, "features": 40, "extent_7": 7}
    assert [(a.dtype, a.shape(sizes), a.role) for a in problem.inputs] == [("float32", (48, 40), "data"), ("int64", (48, 7), "index")]
    assert [(a.dtype, a.shape(sizes)) for a in problem.outputs] == [
        ("float32", (48, 24)), ("float32", (48,)), ("float32", (48, 7)),
    ]  # fmt: skip
    assert problem.bytes_moved(sizes) == 4 * 48 * 40 + 8 * 48 * 7 + 4 * (48 * 24 + 48 + 48 * 7)
    assert problem.compute_dtype == "float32"


@needs_torch
def test_cases_hold_fresh_data_integers_stay_integers_and_several_outputs_are_judged() -> None:
    import torch

    from fitness.gpu import compare
    from fitness.gpu.cases import make_case

    problem = Problem.load(f"kernelbench:{BENCH / '1_scaled_linear.py'}")
    assert problem.foreign is not None
    cases = [make_case(problem, problem.shapes[0], each, device="cpu") for each in ("uniform", "uniform", "normal", "integer")]
    assert not torch.equal(cases[0].inputs[0], cases[1].inputs[0])
    assert cases[2].inputs[0].min() < 0 <= cases[0].inputs[0].min()  # the file draws from [0, 1)
    assert all(case.inputs[1].dtype == torch.int64 and int(case.inputs[1].max()) < 40 for case in cases)
    for case in cases:
        own = problem.foreign.results(case.inputs, double=False)
        assert compare.judge(problem, case, own) is None
        finding = compare.judge(problem, case, [own[0], own[1] * 1.001, own[2]])
        assert finding is not None and finding.details["output"] == "output_1"


@needs_torch
def test_parameters_are_the_same_for_every_function_made_of_one_problem_and_others_the_next_time() -> None:
    import torch

    made = [Problem.load(f"kernelbench:{BENCH / '1_scaled_linear.py'}").foreign for _ in range(2)]
    weights = []
    for foreign in made:
        assert foreign is not None
        seed = foreign.parameter_seed
        twice = [foreign.subject.function(next(iter(foreign.sizes.values())), seed, "cpu").module.state_dict() for _ in range(2)]  # type: ignore[attr-defined]
        assert torch.equal(twice[0]["linear.weight"], twice[1]["linear.weight"])
        weights.append(twice[0]["linear.weight"])
    assert not torch.equal(*weights)


@needs_torch
def test_the_seed_is_the_files_own_model_under_the_candidates_name() -> None:
    source = Problem.load(f"kernelbench:{BENCH / '1_scaled_linear.py'}").seed_kernel("triton").source
    assert "class ModelNew(nn.Module)" in source and "class Model(" not in source
    assert "get_inputs" not in source and "get_init_inputs" not in source


@needs_torch
def test_another_target_and_a_machine_without_a_gpu_are_clear_errors() -> None:
    from fitness.gpu.device import find_gpu
    from fitness.opening import open_evaluator
    from fitness.protocol import EvaluationSettings
    from fitness.targets.base import TargetError

    reference = f"kernelbench:{BENCH / '1_scaled_linear.py'}"
    with pytest.raises(TargetError, match=r"ModelNew.*--set target=triton"):
        open_evaluator(reference, "cpp", EvaluationSettings())
    if find_gpu() is None:
        with pytest.raises(TargetError, match="--verify-only"):
            open_evaluator(reference, "triton", EvaluationSettings())


@needs_torch
def test_a_whole_checkout_gets_a_verdict_for_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in BENCH.glob("*.py"):
        if not file.name.startswith("11_"):
            (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "12_syntax_error.py").write_text("class Model(:\n\ndef get_inputs(): pass\n")
    (tmp_path / "13_no_inputs.py").write_text("import torch\nclass Model(torch.nn.Module): pass\n# def get_inputs\n")
    assert main(["lint", f"kernelbench:{tmp_path}", "--json"]) == 0
    verdicts = {Path(each["file"]).stem: each for each in json.loads(capsys.readouterr().out)}
    kinds = {name: each["kind"] for name, each in verdicts.items()}
    assert kinds == {
        "1_scaled_linear": "searchable",
        "2_large_scan": "searchable",
        "3_dropout": "random",
        "4_batch_norm": "searchable",
        "5_always_zero": "degenerate",
        "6_counting": "stateful",
        "7_needs_missing": "missing",
        "8_crash": "crash",
        "9_ignored_input": "degenerate",
        "12_syntax_error": "unreadable",
        "13_no_inputs": "unreadable",
    }
    assert "N 4194304→" in verdicts["2_large_scan"]["scaling"]
    assert "bernoulli" in verdicts["3_dropout"]["reason"] or "dropout" in verdicts["3_dropout"]["reason"]
    assert "zeros would pass" in verdicts["5_always_zero"]["reason"]
    assert "evo_no_such_module" in verdicts["7_needs_missing"]["reason"]
    assert "input_1" in verdicts["9_ignored_input"]["reason"] and "do not depend on that input" in verdicts["9_ignored_input"]["reason"]


@needs_torch
def test_a_file_that_does_not_end_is_ended() -> None:
    from fitness.adapters.survey import Limits, survey

    ((_, verdict),) = survey("kernelbench", [BENCH / "11_endless.py"], Limits(seconds=6.0))
    assert verdict.kind == "timeout" and "6 s" in verdict.reason


@needs_torch
def test_a_refused_file_is_an_exit_code_and_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", f"kernelbench:{BENCH / '5_always_zero.py'}"]) == 2
    assert "degenerate" in capsys.readouterr().out


@needs_torch
def test_the_start_of_a_search_is_verified_without_a_gpu(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("problem: softmax\ntarget: triton\nbudget: {evaluations: 1}\n")
    reference = f"kernelbench:{BENCH / '4_batch_norm.py'}"
    assert main(["run", str(config), "--verify-only", "--set", f"problem={reference}"]) == 0
    assert "ok" in capsys.readouterr().out


@needs_torch
def test_what_the_file_itself_loses_in_single_precision_is_allowed_and_no_more_than_a_thousandth(tmp_path: Path) -> None:
    from fitness.gpu.cases import make_case
    from fitness.verify import limits

    text = (BENCH / "4_batch_norm.py").read_text().replace("return self.norm(x)", "return self.norm(x + 100.0)")
    (tmp_path / "cancelling.py").write_text(text)
    for file, least in ((BENCH / "4_batch_norm.py", 1e-5), (tmp_path / "cancelling.py", 2e-5)):
        problem = Problem.load(f"kernelbench:{file}")
        make_case(problem, problem.shapes[0], "uniform", device="cpu")
        assert least <= limits(problem, problem.shapes[0], "uniform", problem.outputs[0]).s <= 1e-3
