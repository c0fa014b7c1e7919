"""Opens the evaluator for a problem and a target named in a config."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fitness.protocol import EvaluationSettings, Evaluator

if TYPE_CHECKING:
    from fitness.problem import Problem
    from fitness.targets.module import ModuleTarget

__all__ = ["foreign_target", "open_evaluator", "open_loaded"]


def open_evaluator(problem: str, target: str, settings: EvaluationSettings) -> Evaluator:
    """The evaluator of `problem` (a name, a folder, or a recorded space's file for target `tabular`) on `target`.

    Raises `fitness.problem.ProblemError`, `fitness.targets.base.TargetError` or what a missing compiler raises.
    """
    if target == "tabular":
        from fitness.targets.tabular import TabularEvaluator

        return TabularEvaluator(problem)
    from fitness.problem import Problem

    return open_loaded(Problem.load(problem), target, settings)


def open_loaded(loaded: Problem, target: str, settings: EvaluationSettings) -> Evaluator:
    """The evaluator that measures a loaded problem, perhaps with other shapes than its file says. Raises as `open_evaluator`."""
    from fitness.measuring import MeasuringEvaluator
    from fitness.targets import open_target
    from fitness.targets.registry import GPU

    if target in GPU:
        from fitness.gpu.evaluator import GpuEvaluator

        if loaded.foreign is not None:
            return GpuEvaluator(loaded, foreign_target(loaded, target, settings), settings)

        return GpuEvaluator(loaded, open_target(target, settings), settings)
    if loaded.foreign is not None:
        foreign_target(loaded, target, settings)
    return MeasuringEvaluator(loaded, open_target(target, settings), settings)


def foreign_target(problem: Problem, target: str, settings: EvaluationSettings) -> ModuleTarget:
    """The target of a problem of others, whose candidates are Python files. Raises `TargetError`."""
    from fitness.targets.base import TargetError
    from fitness.targets.module import ModuleTarget

    if target != ModuleTarget.name:
        entry = "" if problem.foreign is None else problem.foreign.entry
        raise TargetError(
            f"{problem.name} is a problem of others; its candidates are Python files that define `{entry}`",
            key="target", found=target, expected=ModuleTarget.name, remedy=f"--set target={ModuleTarget.name}.",
        )  # fmt: skip
    return ModuleTarget(problem, settings)
