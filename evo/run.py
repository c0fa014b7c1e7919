"""A run: a folder with a config and a lineage, that can be searched, interrupted, killed, resumed and certified."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
import math
import shlex
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from archive.kernel import Kernel
from archive.lineage import Lineage
from archive.reading import Reading
from evo.config import Config
from evo.errors import UserError
from evo.executors import open_executor
from evo.executors.base import Executor
from evo.executors.local import default_builders
from evo.interrupts import interrupts
from evo.llm.studio import needs_models, specs
from evo.progress import Observer
from evo.reporter import Reporter
from evo.rundir import RunDir
from evo.session import Session
from evo.strategies.opening import open_strategy
from evo.summary import Summary
from fitness.opening import open_evaluator
from fitness.protocol import Certificate, Evaluator
from operators.base import operator_class

if TYPE_CHECKING:
    from evo.llm.answering import Answer, Answered

__all__ = ["Run"]

T = TypeVar("T")

MAY_CHANGE = ("name", "budget", "executor", "llm")
"""Sections of a run's config that may be edited between sessions."""
EMPTY: Mapping[str, Kernel] = MappingProxyType({})
GROUP_MS = 100.0
"""How long transactions of an inline run may wait for each other; such an evaluation is cheaper to repeat than to sync."""


class Run:
    """Use `Run.create(config)` or `Run.open(path)`, then `search()`.

    Attributes:
        path: the run's folder.
        config: resolved.
    """

    def __init__(self, folder: RunDir, config: Config, factory: Callable[..., Evaluator], arguments: tuple[Any, ...] | None) -> None:
        """Use `create` or `open`."""
        self._folder = folder
        self.path = folder.path
        self.config = config
        self._factory = factory
        self._arguments = (config.problem, config.target.name, config.settings()) if arguments is None else arguments
        self._session: Session | None = None
        self._begun = folder.database.exists()

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @classmethod
    def create(
        cls,
        config: Config,
        out: Path | str | None = None,
        *,
        evaluator_factory: Callable[..., Evaluator] = open_evaluator,
        evaluator_arguments: tuple[Any, ...] | None = None,
        answers_only: bool = False,
        seeds: Mapping[str, Kernel] = EMPTY,
    ) -> Run:
        """A new run in `out`, or in a new folder under `runs/`.

        Args:
            seeds: kernels to start from beside the problem's own, by a name for their files.
            answers_only: it will be answered by people, so no model has to be given.
            evaluator_factory: picklable; called with `evaluator_arguments`, by default the config's problem, target and settings.

        Raises:
            UserError: unknown strategy, parameter or operator; the folder is not empty or cannot be made.
        """
        open_strategy(config)
        for operator in config.operators or ():
            operator_class(operator)
        if needs_models(config) and not answers_only:
            specs(config.llm)
        if config.executor.builders is None:  # a run in order depends on how many builds overlap: fixed for all its resumes
            config = config.model_copy(update={"executor": config.executor.model_copy(update={"builders": default_builders()})})
        folder = RunDir.create(config, None if out is None else Path(out))
        if seeds:
            folder.write_seeds(seeds)
        return cls(folder, config, evaluator_factory, evaluator_arguments)

    @classmethod
    def open(
        cls,
        path: Path | str,
        *,
        evaluator_factory: Callable[..., Evaluator] = open_evaluator,
        evaluator_arguments: tuple[Any, ...] | None = None,
    ) -> Run:
        """The run in folder `path`, to be resumed.

        Raises:
            UserError: it is not a run's folder.
        """
        folder, config = RunDir.open(Path(path))
        return cls(folder, config, evaluator_factory, evaluator_arguments)

    def search(self, observer: Observer | None = None, *, picture: bool = True, certify: bool = True) -> Summary:
        """Searches until the budget is spent, something else ends it, or Ctrl-C; then certifies the best and says what came of it.

        A run with a history is resumed: what was in flight is evaluated again, nothing else is.

        Args:
            observer: told a few times a second how it goes, in this thread.
            picture: whether to draw `picture.png`.
            certify: whether the best is measured afresh at the end; `certify` can do that later.

        Raises:
            UserError, or a lower floor's error that `as_user_error` knows: the seed does not pass, the problem or a tool is
                missing, another process works on the run, the disk is full. A run that had not begun leaves no folder.
        """
        return _outside_a_loop(lambda: self._search(observer, picture, certify))

    def certify(self, numbers: Sequence[int], observer: Observer | None = None) -> dict[int, Certificate]:
        """Certifies candidates afresh and keeps the certificates in the lineage.

        Raises:
            UserError: there is no such candidate, or it has no kernel; and as `search`.
        """

        def work() -> dict[int, Certificate]:
            with self._opened(observer, answers_only=True) as session, interrupts(session.stop):
                try:
                    return _drive(session.executor, session.certify(numbers))
                except KeyError as error:
                    raise UserError(
                        f"There is no candidate {error.args[0]} with a kernel in this run.",
                        file=self._folder.database,
                        remedy="See `evo show`.",
                    ) from error

        return _outside_a_loop(work)

    def begin(self, observer: Observer | None = None) -> None:
        """Evaluates the seeds, and nothing else: what a run needs before people are asked. Raises as `search`."""
        _outside_a_loop(lambda: self._answers((), "", observer))

    def tell(self, answers: Sequence[Answer], by: str = "person", observer: Observer | None = None) -> list[Answered]:
        """Evaluates answers to proposals (`evo.llm.answering`), in their order. Raises as `search`."""
        return _outside_a_loop(lambda: self._answers(answers, by, observer))

    def ask(self, count: int, out: Path, template: str = "llm_universal") -> list[Path]:
        """Writes new proposals for people below `out` (`evo.llm.asking`); returns their folders. Raises as `search`."""
        from evo.llm.asking import ask

        lineage = self._open_lineage()
        try:
            return ask(self.config, lineage, self.path, count, out, template)
        finally:
            lineage.close()

    def _answers(self, answers: Sequence[Answer], by: str, observer: Observer | None) -> list[Answered]:
        from evo.llm.answering import Answering

        async def work(session: Session) -> list[Answered]:
            await session.begin()
            taker = Answering(session.lineage, session.state, session.engine, by)
            return [await taker.take(answer) for answer in answers]

        with self._opened(observer, answers_only=True) as session, interrupts(session.stop):
            return _drive(session.executor, work(session))

    @contextlib.contextmanager
    def evaluator(self) -> Iterator[Evaluator]:
        """The run's evaluator, opened in this process, closed at the end."""
        evaluator = self._factory(*self._arguments)
        try:
            yield evaluator
        finally:
            evaluator.close()

    def stop(self) -> None:
        """Ends `search` soon, cleanly, as Ctrl-C does. Safe from another thread and in a signal handler."""
        if self._session is not None:
            self._session.stop()

    def _search(self, observer: Observer | None, picture: bool, certify: bool) -> Summary:
        with self._opened(observer) as session:
            with interrupts(session.stop):
                _drive(session.executor, session.search(certify=certify), loop=session.asks_models)
            assert session.stopped is not None
            summary = self._conclude(session)
            session.lineage.end_session(session.stopped.value)
            if picture and summary.best is not None:
                # Before the writer closes: a reader that closes last would leave SQLite's two side files behind.
                summary = self._draw(summary)
        self._folder.write(self._folder.summary, summary.dump())
        return summary

    @contextlib.contextmanager
    def _opened(self, observer: Observer | None, *, answers_only: bool = False) -> Iterator[Session]:
        """A session with lineage and executor open, both closed at the end whatever happens."""
        fresh = not self._begun
        lineage: Lineage | None = None
        executor: Executor | None = None
        try:
            lineage = self._open_lineage()
            with self._folder.log.open("ab") as log:
                executor = open_executor(self.config, self._factory, self._arguments, log=log)
                self._session = Session(
                    self.config, lineage, executor, Reporter(self.name, observer), further_seeds=self._folder.read_seeds,
                    answers_only=answers_only,
                )  # fmt: skip
                yield self._session
                self._begun = True
        except BaseException:
            if fresh and (self._session is None or not self._session.worth_keeping):
                if lineage is not None:
                    lineage.close()
                self._folder.remove()
            raise
        finally:
            self._session = None
            if executor is not None:
                _drive(executor, executor.close())
            if lineage is not None:
                lineage.close()

    def _open_lineage(self) -> Lineage:
        """Open for this process alone, with a session begun.

        Raises:
            UserError: the config was changed in a way that contradicts the history.
            LineageError: another process has it, it is of a newer schema, or it cannot be written.
        """
        group = GROUP_MS if self.config.executor.name == "inline" or self.config.target.name == "tabular" else 0.0
        if not self._folder.database.exists():
            lineage = Lineage.create(self._folder.database, group_ms=group)
        else:
            lineage = Lineage.open(self._folder.database, group_ms=group)
        try:
            if lineage.run == 0:  # new, or killed before its first transaction
                config = self.config
                lineage.start_run(
                    config.model_dump_json(),
                    config.seed,
                    config.problem,
                    config.target.name,
                    strategy=config.strategy.name,
                    version=_version(),
                )
            else:
                self._check_unchanged(lineage)
                lineage.start_session()
        except BaseException:
            lineage.close()
            raise
        return lineage

    def _check_unchanged(self, lineage: Reading) -> None:
        then = json.loads(lineage.run_record().config_json)
        now = self.config.model_dump(mode="json")
        for key in now:
            if key not in MAY_CHANGE and then.get(key) != now[key]:
                raise UserError(
                    f"`{key}` was changed since the run was started.",
                    file=self._folder.config,
                    key=key,
                    found=json.dumps(now[key]),
                    expected=json.dumps(then.get(key)),
                    remedy="Change it back, or start a new run; only budget and executor may change between sessions.",
                )

    def _conclude(self, session: Session) -> Summary:
        """Writes the best kernel's source and sums the run up."""
        state, winner, stopped = session.state, session.winner, session.stopped
        assert stopped is not None
        source = None
        if winner is not None:
            source = self._folder.best(winner.kernel.language)
            self._folder.write(source, winner.kernel.source)
        message = ""
        trouble = session.engine.trips.trouble
        if stopped.value == "infrastructure" and trouble is not None:
            message = (
                f"The evaluator kept failing: {trouble}\nNothing was held against the kernels. `evo doctor` says what this machine lacks."
            )
        elif stopped.value == "models" and session.studio is not None and session.studio.desk is not None:
            message = f"The models kept failing: {session.studio.desk.failure}. Check the endpoint, then resume."
        elif winner is not None and session.certificate is not None and not session.certificate.ok:
            message = "None of the best kernels passed certification: believe the search's figures only after looking into why."
        speedup = None if winner is None else winner.speedup
        bounds = None if winner is None else [math.exp(bound) for bound in winner.interval]
        return Summary(
            run=self.name,
            path=self.path,
            stopped_by=stopped.value,
            evaluations=state.budget.spent.evaluations,
            proposals=state.finished,
            outcomes=dict(state.outcomes),
            duplicates=state.duplicates,
            best=None if winner is None else winner.number,
            kernel_id="" if winner is None else winner.kernel.id,
            speedup=speedup,
            interval=None if bounds is None else (bounds[0], bounds[1]),
            certificate=session.certificate,
            source=source,
            coverage=state.archive.coverage,
            cells=len(state.archive),
            seconds=state.budget.spent.seconds,
            message=message,
            resume="" if stopped.final else f"evo resume {shlex.quote(str(self.path))}",
        )

    def _draw(self, summary: Summary) -> Summary:
        """The picture, when it can be drawn: a run that found something has not failed because nobody could draw it."""
        try:
            from evo.plots import run_picture

            return replace(summary, picture=run_picture(self.path))
        except Exception as error:
            note = f"The picture could not be drawn: {type(error).__name__}: {error}"
            return replace(summary, message=f"{summary.message}\n{note}".strip())


def _drive(executor: Executor, work: Coroutine[Any, Any, T], *, loop: bool = False) -> T:
    """Runs a coroutine to its end: step by step where the executor is inline, so that nothing in it suspends, else in an event loop."""
    if loop or not executor.inline:
        return asyncio.run(work)
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    work.close()
    raise RuntimeError("an inline executor suspended")


def _outside_a_loop(work: Callable[[], T]) -> T:
    """Runs `work` here, or in a thread of its own where this one has an event loop already (a notebook)."""
    try:
        asyncio.get_running_loop()
        occupied = True
    except RuntimeError:
        occupied = False
    if not occupied:
        return work()
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="evo-run") as pool:
        return pool.submit(work).result()


def _version() -> str:
    from evo import __version__

    return __version__
