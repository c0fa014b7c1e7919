"""Searches on recorded spaces with nothing but what is in this repository, and the choice of settings by leaving kernels out."""

from __future__ import annotations

import math
import re
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import yaml

from fitness.targets.recordings import load_recording

__all__ = ["Objective", "Result", "Space", "left_out", "measure", "parse_contestant", "split_contestants", "summary"]

Search = Callable[[Any, Any, int], None]


class Done(BaseException):
    """The budget is spent."""


class Space:
    """A recorded space. `kernel` is its name without the device behind `__`: spaces of one kernel are left out together."""

    def __init__(self, path: Path) -> None:
        recording = load_recording(path)
        self.stem = path.name.partition(".")[0]
        self.kernel = self.stem.partition("__")[0]
        self.names = recording.names
        self.configs = [row.values for row in recording.rows]
        self.values = [sorted(set(column)) for column in zip(*self.configs, strict=True)]
        self.table = {row.values: None if row.seconds is None else 1e3 * row.seconds for row in recording.rows}
        self.best = min(time for time in self.table.values() if time is not None)


class Objective:
    """Milliseconds by configuration, None for a failure. Repeats are free; raises `Done` when `budget` configurations are known."""

    def __init__(self, space: Space, budget: int) -> None:
        self.space, self.budget = space, budget
        self.seen: set[tuple[Any, ...]] = set()
        self.curve: list[float] = []
        """Best milliseconds after each evaluation."""

    def __call__(self, values: tuple[Any, ...]) -> float | None:
        time = self.space.table[values]
        if values not in self.seen:
            self.seen.add(values)
            best = self.curve[-1] if self.curve else math.inf
            self.curve.append(min(best, math.inf if time is None else time))
            if len(self.seen) >= self.budget:
                raise Done
        return time


@dataclass(frozen=True, slots=True)
class Result:
    """One search: best/found after each number of evaluations (0 while nothing worked)."""

    contestant: str
    space: str
    kernel: str
    seed: int
    shares: Mapping[int, float] = field(default_factory=dict)


def split_contestants(text: str) -> list[str]:
    """Those between commas; a comma within brackets is a list's."""
    return re.split(r",(?![^\[]*\])", text)


def parse_contestant(text: str) -> tuple[str, dict[str, Any]]:
    """`STRATEGY` or `STRATEGY:key=value+key=value` as name and parameters, values read as YAML; `settings.KEY` goes into `settings`."""
    name, _, rest = text.removeprefix("evo:").partition(":")
    parameters: dict[str, Any] = {}
    for part in filter(None, rest.split("+")):
        key, equals, value = part.partition("=")
        if not equals:
            raise SystemExit(f"autotune_evo: --contestants: found {text!r}, expected STRATEGY:key=value+key=value")
        inner = parameters.setdefault("settings", {}) if key.startswith("settings.") else parameters
        inner[key.removeprefix("settings.")] = yaml.safe_load(value)
    return name, parameters


def measure(
    spaces: Sequence[Space], searches: Mapping[str, Search], seeds: Iterable[int], budget: int, at: Sequence[int]
) -> Iterator[Result]:
    """Every search on every space with every seed."""
    for seed in seeds:
        for space in spaces:
            for name, search in searches.items():
                objective = Objective(space, min(budget, len(space.configs)))
                with suppress(Done):
                    search(space, objective, seed)
                found = {count: objective.curve[min(count, len(objective.curve)) - 1] for count in at if count <= budget}
                yield Result(name, space.stem, space.kernel, seed, {count: space.best / time for count, time in found.items()})


def summary(results: Sequence[Result]) -> dict[str, dict[int, tuple[float, float]]]:
    """By contestant and number of evaluations: the mean over spaces and its standard error (over seeds; the spaces are fixed)."""
    made: dict[str, dict[int, tuple[float, float]]] = {}
    for name in dict.fromkeys(result.contestant for result in results):
        own = [result for result in results if result.contestant == name]
        made[name] = {}
        for count in own[0].shares:
            by_space = [[r.shares[count] for r in own if r.space == space] for space in dict.fromkeys(r.space for r in own)]
            error = sum(statistics.variance(one) / len(one) for one in by_space if len(one) > 1) ** 0.5 / len(by_space)
            made[name][count] = statistics.mean(map(statistics.mean, by_space)), error
    return made


def left_out(results: Sequence[Result]) -> tuple[dict[str, str], dict[int, tuple[float, float]]]:
    """Leave-one-kernel-out: for each kernel the contestant that is best on the spaces of all others (mean of best/found over
    spaces and numbers of evaluations), and what these choices find on the kernels that they were made without.

    Returns:
        the choice by kernel; by number of evaluations (mean over kernels of what was chosen without each, and that of the one choice
        that is best with everything in sight).

    Raises:
        ValueError: fewer than two kernels.
    """
    kernels = list(dict.fromkeys(result.kernel for result in results))
    if len(kernels) < 2:
        raise ValueError(f"to leave a kernel out takes two; found {', '.join(kernels) or 'none'}")
    chosen = {kernel: _best([result for result in results if result.kernel != kernel]) for kernel in kernels}
    every = _best(results)
    figures = {}
    for count in results[0].shares:
        blind = [_mean(results, chosen[kernel], kernel, count) for kernel in kernels]
        figures[count] = statistics.mean(blind), statistics.mean(_mean(results, every, kernel, count) for kernel in kernels)
    return chosen, figures


def _best(results: Sequence[Result]) -> str:
    means = {name: statistics.mean(mean for mean, _ in by_count.values()) for name, by_count in summary(results).items()}
    return max(means, key=lambda name: means[name])


def _mean(results: Sequence[Result], contestant: str, kernel: str, count: int) -> float:
    return statistics.mean(r.shares[count] for r in results if r.contestant == contestant and r.kernel == kernel)
