"""Searches of a comparison that are measured on this machine, many at once on one device.

Every search goes its own way in a thread of its own, one kernel after the other, and knows all earlier answers before it asks for
the next; while one is measured, those of the others are built. Each kernel is measured once, and less long when it is clearly slower
than the best of its search: no contests, second looks or certificates, which would spend on the archive of one search what is meant
for the comparison of all. A program that an earlier search measured and that is not half as fast as this search's best is not measured
again: it is charged what it cost then. Strategies take turns, so that a machine that drifts favours none.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path

from archive.evaluation import Environment, Evaluation
from archive.kernel import Kernel
from archive.space import Space
from evo.compare.outcome import Outcome, key_of, read_outcome
from evo.compare.schedule import Task
from evo.config import Config, parse_config
from evo.errors import UserError
from evo.executors import devices_of
from evo.executors.apart import Apart
from evo.interrupts import interrupts
from evo.reading import DATABASE, open_run
from evo.run import Run
from fitness.opening import open_evaluator
from fitness.protocol import Bar, Certificate, Duel, Evaluator, Prepared

__all__ = ["measure_together"]

LOOK = 0.5
"""Seconds between two looks at whether Ctrl-C was pressed, while no run ends."""
NOT_HALF = math.log(2)
"""ln by which a known program has to be slower than a search's best to be believed as it is."""


def measure_together(tasks: Sequence[Task], out: Path) -> Generator[tuple[Task, Outcome], None, None]:
    """Runs of one problem with their outcomes, in whatever order they end; those that were interrupted are resumed in `out/measured/`.

    Raises:
        KeyboardInterrupt: it was asked to stop; every run can be resumed.
        UserError: a run cannot go on.
    """
    config = parse_config(dict(tasks[0].config))
    folder = out / "measured"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{tasks[0].problem}.log").open("ab") as log:
        arguments = (config.problem, config.target.name, config.settings())
        devices = devices_of(config.target.name, config.executor.devices)
        evaluator = Apart(open_evaluator, arguments, builders=config.executor.builders, devices=devices, log=log, deterministic=True)
        try:
            yield from _Searches(evaluator, out).finished(tasks)
        finally:
            evaluator.close()


class _Searches:
    """Searches that share an evaluator."""

    def __init__(self, evaluator: Apart, out: Path) -> None:
        self._evaluator = evaluator
        self._out = out
        self._runs: dict[str, Run] = {}
        self._programs: dict[str, Evaluation] = {}
        """What was measured last of each program, by its artifact."""
        self._asked = threading.Event()

    def finished(self, tasks: Sequence[Task]) -> Generator[tuple[Task, Outcome], None, None]:
        cores = self._evaluator.spare_cores
        at_once = min(len(tasks), self._evaluator.window)
        with interrupts(self._asked.set), ThreadPoolExecutor(at_once, "evo-search", os.sched_setaffinity, (0, cores)) as pool:
            waiting: dict[Future[Outcome], Task] = {pool.submit(self._search, task): task for task in tasks}
            try:
                while waiting:
                    done, _ = wait(waiting, timeout=LOOK, return_when=FIRST_COMPLETED)
                    for future in done:
                        task = waiting.pop(future)
                        yield task, future.result()
                    if self._asked.is_set():
                        raise KeyboardInterrupt
            finally:
                self._asked.set()
                pool.shutdown(wait=False, cancel_futures=True)
                while not all(future.done() for future in waiting):
                    for run in list(self._runs.values()):  # one that is being opened does not hear it yet
                        run.stop()
                    wait(waiting, timeout=LOOK / 5)

    def _search(self, task: Task) -> Outcome:
        begun = time.monotonic()
        path = task.folder(self._out)
        run = _opened(path, parse_config(dict(task.config)), lambda *_: _Lent(self._evaluator, self._programs))
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._runs[task.identity] = run
        try:
            summary = run.search(picture=False, certify=False)
        finally:
            del self._runs[task.identity]
        if summary.stopped_by == "interrupted":
            raise KeyboardInterrupt
        if summary.stopped_by == "infrastructure":
            raise UserError(
                f"The run {task.name} could not go on.", file=path, found=summary.message, remedy="See `evo doctor`, then continue."
            )
        remeasured = remeasure(path, self._evaluator) if task.remeasure_elites else None
        return read_outcome(task, path, summary.stopped_by, remeasured, time.monotonic() - begun)


def _opened(path: Path, config: Config, lent: Callable[..., Evaluator]) -> Run:
    if (path / DATABASE).exists():
        return Run.open(path, evaluator_factory=lent)
    if path.exists():  # killed before it had begun
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    return Run.create(config, path, evaluator_factory=lent)


def remeasure(folder: Path, evaluator: Evaluator) -> dict[str, float]:
    """Objective by cell of a finished run's elites, each measured once afresh; those that fail are left out."""
    fresh: dict[str, float] = {}
    with open_run(folder) as reader:
        elites = reader.lineage.select("SELECT cell, candidate FROM elites WHERE run = ?", (reader.record.id,))
        kernels = {key_of(row["cell"]): reader.candidate(row["candidate"]).kernel for row in elites}
    for cell, kernel in kernels.items():
        evaluation = None if kernel is None else evaluator.measure(evaluator.prepare(kernel))
        if evaluation is not None and evaluation.objective is not None:
            fresh[cell] = evaluation.objective
    return fresh


class _Lent:
    """The shared evaluator as one search holds it: what it measures races against the search's best, and closing it closes nothing.

    programs: what all searches found out, by artifact.
    """

    def __init__(self, evaluator: Evaluator, programs: dict[str, Evaluation]) -> None:
        self._evaluator = evaluator
        self._programs = programs
        self._best: Bar | None = None
        self.inline = evaluator.inline
        self.deterministic = evaluator.deterministic

    def environment(self) -> Environment:
        return self._evaluator.environment()

    def seeds(self) -> Sequence[Kernel]:
        return self._evaluator.seeds()

    def space(self, kernel: Kernel) -> Space:
        return self._evaluator.space(kernel)

    def prepare(self, kernel: Kernel) -> Prepared:
        return self._evaluator.prepare(kernel)

    def measure(self, prepared: Prepared, bar: Bar | None = None) -> Evaluation:
        best, known = self._best, self._programs.get(prepared.artifact)
        if known is not None and known.objective is not None and best is not None and known.objective < best.objective - NOT_HALF:
            profile, cost = {**known.profile, **prepared.profile}, {**known.cost, **prepared.cost}
            return replace(known, kernel_id=prepared.kernel.id, profile=profile, cost=cost)
        evaluation = self._evaluator.measure(prepared, best)
        if prepared.artifact and evaluation.ok:
            self._programs[prepared.artifact] = evaluation
        value, interval = evaluation.objective, evaluation.interval
        if value is not None and interval is not None and (best is None or value > best.objective):
            self._best = Bar(evaluation.kernel_id, value, interval, evaluation.samples)
        return evaluation

    def duel(self, challenger: Prepared, incumbent: Prepared) -> Duel:
        return self._evaluator.duel(challenger, incumbent)

    def certify(self, prepared: Prepared, seed: Prepared | None = None) -> Certificate:
        return self._evaluator.certify(prepared, seed)

    def close(self) -> None:
        """The evaluator is another's."""
