"""The PyTorch baseline of CPU problems, where PyTorch is installed: loads in every sandbox, computes right, and counts."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from fitness.measuring import MeasuringEvaluator
from fitness.packages import places
from fitness.problem import Problem
from fitness.program import Program
from fitness.protocol import EvaluationSettings
from fitness.referee import Referee
from fitness.sandbox import LEVELS, available
from fitness.slots import Slot
from fitness.station import baseline_names, baseline_program
from fitness.supply import CaseSupply
from fitness.targets import open_target
from fitness.verify import judge

if importlib.util.find_spec("torch") is None:
    pytest.skip("torch is not installed", allow_module_level=True)

PROBLEMS = Path(__file__).resolve().parent.parent.parent / "experiments" / "problems"
WITH_TORCH = sorted(path.parent.name for path in PROBLEMS.glob("*/baseline.py") if (path.parent / "seed.cpp").exists())


@pytest.mark.parametrize("level", list(LEVELS))
def test_it_loads_and_computes_right_in_every_sandbox(level: str) -> None:
    why = available()[level]
    if why is not None:
        pytest.skip(f"{level} does not work here: {why}")
    problem = Problem.load(PROBLEMS / "softmax")
    with Referee(sandbox=LEVELS[level], pool=1) as referee:
        _call_once(referee, problem)


@pytest.mark.parametrize("name", WITH_TORCH)
def test_it_computes_right_on_every_problem_that_has_one(name: str) -> None:
    problem = Problem.load(PROBLEMS / name)
    if "torch" not in problem.baselines:
        pytest.skip(f"{name} has no torch baseline")
    with Referee(pool=1) as referee:
        _call_once(referee, problem)


def _call_once(referee: Referee, problem: Problem) -> None:
    runner = referee.load(Program("python", problem.baselines["torch"], "torch"), problem)
    sizes = problem.small_shapes[0]
    slot = Slot(problem, sizes)
    for index in range(2):
        case = CaseSupply(problem).timed(sizes, index)
        runner.attach(slot)
        slot.fill(case.inputs)
        slot.poison()
        runner.call(slot, 20.0)
        assert judge(problem, case, slot.outputs) is None
        assert slot.guards_broken() is None
    runner.close()
    slot.close()


def test_it_knows_its_processor_in_every_sandbox_as_outside() -> None:
    """Where it cannot read which CPU it is on, its slowest code would be what a winner is compared with."""
    torch = pytest.importorskip("torch")

    wanted = torch.backends.cpu.get_cpu_capability()
    problem = Problem.load(PROBLEMS / "softmax")
    for level, why in available().items():
        if why is not None:
            continue
        with Referee(sandbox=LEVELS[level], pool=1) as referee:
            assert _capability(referee, problem, wanted), f"{level}: not {wanted}"


def _capability(referee: Referee, problem: Problem, wanted: str) -> bool:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "baseline.py"
        file.write_text(
            f"def torch(x, y):\n    import torch\n    known = torch.backends.cpu.get_cpu_capability() == {wanted!r}\n"
            "    y[:] = 1.0 if known and torch.get_num_threads() == 1 else 0.0\n"
        )
        runner = referee.load(Program("python", file, "torch"), problem)
        slot = Slot(problem, problem.small_shapes[0])
        runner.call(slot, 20.0)
        return bool((slot.outputs[0] == 1.0).all())


def test_a_certificate_names_the_strongest_of_all_baselines() -> None:
    problem = Problem.load(PROBLEMS / "softmax")
    problem = replace(problem, shapes=({"rows": 64, "cols": 512},), held_out_shapes=({"rows": 200, "cols": 700},))
    settings = EvaluationSettings(repetitions=4, certify_processes=2, certify_spacing=0.0)
    evaluator = MeasuringEvaluator(problem, open_target("cpp", settings), settings)
    try:
        certificate = evaluator.certify(evaluator.prepare(evaluator.seeds()[0]))
    finally:
        evaluator.close()
    assert certificate.ok, certificate.diagnostics
    assert {"numpy", "torch"} <= set(certificate.against)
    assert certificate.strongest == min(certificate.against, key=lambda name: certificate.against[name].value)
    assert set(certificate.shapes[0].baselines) == set(certificate.against)


def test_only_what_it_needs_is_shown() -> None:
    shown = places(["numpy", "torch"])
    assert {"numpy", "torch", "typing_extensions", "sympy"} <= set(shown)
    assert not {"pytest", "pip"} & set(shown)
    assert not any(path.endswith("site-packages") for path in shown.values())


def test_it_is_among_the_baselines_that_can_run_here() -> None:
    problem = Problem.load(PROBLEMS / "softmax")
    assert "torch" in baseline_names(problem)
    assert baseline_program(problem, "torch").entry == "torch"
