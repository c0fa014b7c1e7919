"""The runs that a comparison consists of, each with an identity, so that what is finished is never run again.

A run's identity is a hash of all it depends on: its resolved config, the problem's content, the text of the modules that the
strategy is made of, and the release of `evo`. Adding seeds, strategies or problems to a comparison, or editing one strategy, runs
just what is new.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from evo.compare.config import CompareConfig, ProblemEntry, StrategyEntry
from evo.strategies.registry import create_strategy, strategy_class

__all__ = ["BARREN", "Task", "schedule"]

BARREN = 1000
"""Proposals in a row without a new kernel after which a run has nothing left to find; repeats are free in a comparison."""


@dataclass(frozen=True, slots=True)
class Task:
    """One run; picklable."""

    problem: str
    """The problem's label."""
    strategy: str
    """The strategy's label."""
    seed: int
    recorded: bool
    config: Mapping[str, Any]
    """Plain values of the run's config."""
    identity: str
    remeasure_elites: bool = False

    @property
    def name(self) -> str:
        return f"{self.problem}-{self.strategy}-{self.seed}"

    def folder(self, out: Path) -> Path:
        """Of a measured run, in the comparison's folder."""
        return out / "measured" / f"{self.name}-{self.identity[:8]}"


def schedule(config: CompareConfig) -> list[Task]:
    """Every run of a comparison; in order of seeds, so that an interrupted one has as many seeds everywhere.

    Raises:
        UserError: a strategy, parameter, problem or recording that there is not.
    """
    from evo import __version__

    for entry in config.contestants:
        create_strategy(entry.name, entry.parameters, entry.operators)
    contents = {problem.label: content(problem) for problem in config.problems}
    tasks = []
    for seed in config.seed_list:
        for problem in config.problems:
            for entry in config.contestants:
                plain = run_config(config, problem, entry, seed)
                known = {**plain, "executor": None, "problem": contents[problem.label]}
                depends = [known, strategy_text(entry.name), __version__, config.remeasure_elites]
                identity = hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:20]
                tasks.append(
                    Task(
                        problem.label,
                        entry.shown,
                        seed,
                        problem.recorded,
                        plain,
                        identity,
                        config.remeasure_elites and not problem.recorded,
                    )
                )
    return tasks


def run_config(config: CompareConfig, problem: ProblemEntry, entry: StrategyEntry, seed: int) -> dict[str, Any]:
    """The config of one run as plain values."""
    budget: dict[str, Any] = {"evaluations": config.budget.evaluations, "dollars": config.budget.dollars, "barren": BARREN}
    budget["device_seconds"] = config.budget.seconds
    return {
        "name": "compare",
        "problem": problem.problem,
        "target": problem.toolchain.model_dump(mode="json"),
        "seed": seed,
        "deterministic": config.deterministic,
        "budget": budget,
        "strategy": {"name": entry.name, **entry.parameters},
        "operators": entry.operators,
        "archive": (problem.archive or config.archive).model_dump(mode="json"),
        "evaluation": problem.evaluation.model_dump(mode="json"),
        "executor": {"name": "inline", **({} if problem.recorded else config.executor.model_dump(mode="json"))},
    }


def content(problem: ProblemEntry) -> str:
    """What a problem is, whatever it is called and wherever it lies."""
    if problem.recorded:
        from fitness.targets.recordings import load_recording

        return load_recording(problem.problem).digest
    from fitness.problem import Problem

    loaded = Problem.load(problem.problem)
    return f"{loaded.version} {loaded.seed_kernel(problem.toolchain.name).id}"


@cache
def strategy_text(name: str) -> str:
    """Hash of the source that a strategy's class is in, and of the modules beside it that it uses."""
    digest = hashlib.sha256()
    for module in sorted(neighbours(strategy_class(name).__module__)):
        with contextlib.suppress(OSError, TypeError):  # made in an interpreter session: known by its name alone
            digest.update(f"{module}\0{inspect.getsource(sys.modules[module])}\0".encode())
    return digest.hexdigest()[:20]


def neighbours(module: str) -> set[str]:
    """The module and the modules of its own package whose functions and classes it uses, through others too."""
    package = module.rpartition(".")[0] + "."
    found, left = {module}, [module]
    while left:
        for value in vars(sys.modules[left.pop()]).values():
            other = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            if isinstance(other, str) and package != "." and other.startswith(package) and other in sys.modules and other not in found:
                found.add(other)
                left.append(other)
    return found
