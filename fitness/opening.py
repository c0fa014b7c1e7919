"""Opens the evaluator for a problem and a target named in a config."""

from __future__ import annotations

from fitness.protocol import EvaluationSettings, Evaluator

__all__ = ["open_evaluator"]


def open_evaluator(problem: str, target: str, settings: EvaluationSettings) -> Evaluator:
    """The evaluator of `problem` (a name, a folder, or a recorded space's file for target `tabular`) on `target`.

    Raises `fitness.problem.ProblemError`, `fitness.targets.base.TargetError` or what a missing compiler raises.
    """
    if target == "tabular":
        from fitness.targets.tabular import TabularEvaluator

        return TabularEvaluator(problem)
    from fitness.measuring import MeasuringEvaluator
    from fitness.problem import Problem
    from fitness.targets import open_target
    from fitness.targets.registry import GPU

    loaded = Problem.load(problem)
    if target in GPU:
        from fitness.gpu.evaluator import GpuEvaluator

        return GpuEvaluator(loaded, open_target(target, settings), settings)
    return MeasuringEvaluator(loaded, open_target(target, settings), settings)
