"""Does the runs of a comparison: recorded problems on every core, then measured ones (`evo.compare.measured`); each finished run is
written down.

A run on a recorded space is done in a temporary folder (in memory where there is one) and forgotten but for its outcome. A
measured run keeps its folder in `out/measured/` and is resumed there after a crash.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from evo.compare.outcome import Outcome, read_outcome
from evo.compare.schedule import Task
from evo.errors import UserError
from evo.interrupts import interrupts
from evo.journal import Journal

__all__ = ["Advance", "cores", "run_all", "run_task"]

FORMAT = {"format": "evo compare 1"}
LOOK = 0.5
"""Seconds between two looks at whether Ctrl-C was pressed, while no run ends."""
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@dataclass(frozen=True, slots=True)
class Advance:
    """How far a comparison is."""

    done: int
    total: int
    kept: int
    """Of those done, how many an earlier sitting had finished."""
    seconds: float
    """Of this sitting."""
    running: str = ""
    """What is being done or was done last."""

    @property
    def seconds_left(self) -> float | None:
        fresh = self.done - self.kept
        return None if fresh == 0 else self.seconds / fresh * (self.total - self.done)


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def run_all(tasks: Sequence[Task], out: Path, *, jobs: int, observer: Callable[[Advance], None] = lambda advance: None) -> list[Outcome]:
    """Every task's outcome, in the tasks' order; those in the journal are not run again.

    Raises:
        UserError: another process is at this comparison, a worker was killed, or what a run raises.
    """
    begun = time.monotonic()
    with Journal(out / "runs.jsonl", FORMAT) as journal:
        known = {row["run"]: row for row in journal.rows}
        wanted = {task.identity: task for task in tasks}  # two labels of one strategy share their runs
        outcomes = {identity: Outcome.from_row(known[identity], task) for identity, task in wanted.items() if identity in known}
        kept = len(outcomes)
        todo = [task for identity, task in wanted.items() if identity not in outcomes]
        observer(Advance(kept, len(wanted), kept, 0.0))
        with contextlib.closing(finished(todo, out, jobs)) as ending:
            for task, outcome in ending:
                journal.append(outcome.row(task.identity))
                outcomes[task.identity] = outcome
                observer(Advance(len(outcomes), len(wanted), kept, time.monotonic() - begun, task.name))
    return [replace(outcomes[task.identity], problem=task.problem, strategy=task.strategy, seed=task.seed) for task in tasks]


def finished(todo: Sequence[Task], out: Path, jobs: int) -> Generator[tuple[Task, Outcome], None, None]:
    """Tasks with their outcomes, in whatever order they end."""
    recorded = [task for task in todo if task.recorded]
    if jobs == 1 or len(recorded) < 2:
        for task in recorded:
            yield task, run_task(task)
    else:
        yield from in_parallel(recorded, jobs)
    for problem in dict.fromkeys(task.problem for task in todo if not task.recorded):
        from evo.compare.measured import measure_together

        yield from measure_together([task for task in todo if task.problem == problem], out)


def in_parallel(tasks: Sequence[Task], jobs: int) -> Generator[tuple[Task, Outcome], None, None]:
    # A fresh interpreter each: nothing of this process's threads, locks or signal handlers is inherited.
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=get_context("spawn"), initializer=begin_worker, initargs=(os.getpid(),))
    upcoming = iter(tasks)
    waiting: dict[Future[Outcome], Task] = {}
    asked = threading.Event()
    try:
        # Ctrl-C is looked for here: where it happens to strike, it would leave locks of the pool held, which then never ends.
        with interrupts(asked.set):
            while True:
                while len(waiting) < 3 * jobs and (task := next(upcoming, None)) is not None:
                    with one_thread_each(), deaf():  # the first one starts the workers
                        waiting[pool.submit(run_task, task)] = task
                if not waiting:
                    return
                done, _ = wait(waiting, timeout=LOOK, return_when=FIRST_COMPLETED)
                for future in done:
                    task = waiting.pop(future)
                    yield task, future.result()
                if asked.is_set():
                    raise KeyboardInterrupt
    except BrokenProcessPool as error:
        raise UserError(
            "A worker process of the comparison was killed.", found=str(error), expected="enough memory",
            remedy="Run the same command again: finished runs are kept. Fewer `jobs` need less memory.",
        ) from error  # fmt: skip
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Processes that start meanwhile do linear algebra in one thread: they are as many as there are cores, and more threads than
    cores wait for each other by spinning, which makes a small product ten times as dear."""
    kept = {name: os.environ.get(name) for name in BLAS_THREADS}
    os.environ.update(dict.fromkeys(BLAS_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Processes that start meanwhile never hear Ctrl-C, not even before their first line: one that it ends while it takes a task from
    the pool's queue would keep the queue's lock for ever. This process hears it afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker(parent: int) -> None:
    """A worker dies with its parent, however that dies."""
    from evo.executors.worker import die_with

    die_with(parent)


def run_task(task: Task) -> Outcome:
    """One run on a recorded space, from its beginning to its outcome."""
    from evo.config import parse_config
    from evo.run import Run

    begun = time.process_time()
    with tempfile.TemporaryDirectory(prefix="evo-compare-", dir=in_memory()) as folder:
        path = Path(folder) / "run"
        run = Run.create(parse_config(dict(task.config)), path, evaluator_factory=recorded_space)
        summary = run.search(picture=False)
        if summary.stopped_by == "interrupted":  # half a run is none
            raise KeyboardInterrupt
        return read_outcome(task, path, summary.stopped_by, None, time.process_time() - begun)


@lru_cache(maxsize=8)
def _space(problem: str) -> Any:
    from fitness.targets.tabular import TabularEvaluator

    return TabularEvaluator(problem)


def recorded_space(problem: str, _target: str, _settings: object) -> Any:
    """The evaluator of a recorded space, read once in each process; it holds nothing, so that runs may share it."""
    return _space(problem)


def in_memory() -> str | None:
    """A folder in memory where there is one: the lineage of a recorded run need not survive a power cut."""
    shared = Path("/dev/shm")
    return str(shared) if os.access(shared, os.W_OK) else None
