"""A kernel that looks at a few elements to tell tame data from wild ones, and takes a short cut for the tame, is caught by nearly every set
of secret cases: large values lie in places only, too."""

from __future__ import annotations

from pathlib import Path

from archive.evaluation import Outcome
from archive.kernel import Kernel
from fitness.measuring import MeasuringEvaluator
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings
from fitness.supply import CaseSupply
from fitness.targets import open_target

TINY = Path(__file__).resolve().parent.parent / "data" / "problems" / "tiny_norm"
CHEAT = Path(__file__).resolve().parent / "evaluator" / "judges_by_a_sample.cpp"
SETS = 16


def test_a_shortcut_chosen_by_a_sample_is_caught_by_most_sets_of_cases_and_the_honest_kernel_by_none() -> None:
    settings = EvaluationSettings(repetitions=4, call_timeout=1.0, memory=256 << 20)
    evaluator = MeasuringEvaluator(Problem.load(TINY), open_target("cpp", settings), settings)
    try:
        cheat, honest = evaluator.prepare(Kernel("cpp", CHEAT.read_text())), evaluator.prepare(evaluator.seeds()[0])
        caught = 0
        for _ in range(SETS):
            evaluator.station.supply = CaseSupply(evaluator.problem)
            caught += evaluator.measure(cheat).outcome is Outcome.WRONG
            assert evaluator.measure(honest).outcome is Outcome.OK
    finally:
        evaluator.close()
    assert caught >= SETS * 5 // 8
