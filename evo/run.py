"""A run: a folder with a config and a lineage, that can be searched, interrupted, killed, resumed and certified."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from archive.kernel import Kernel
from archive.lineage import Lineage
from evo.conclusion import conclude, drawn
from evo.config import Config
from evo.errors import UserError
from evo.executors import open_executor
from evo.executors.base import Executor
from evo.executors.local import default_builders
from evo.history import open_history
from evo.interrupts import interrupts
from evo.llm.studio import needs_models, specs
from evo.loops import drive, outside_a_loop
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

EMPTY: Mapping[str, Kernel] = MappingProxyType({})


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
        return outside_a_loop(lambda: self._search(observer, picture, certify))

    def certify(self, numbers: Sequence[int], observer: Observer | None = None) -> dict[int, Certificate]:
        """Certifies candidates afresh and keeps the certificates in the lineage.

        Raises:
            UserError: there is no such candidate, or it has no kernel; and as `search`.
        """

        def work() -> dict[int, Certificate]:
            with self._opened(observer, answers_only=True) as session, interrupts(session.stop):
                try:
                    return drive(session.executor, session.certify(numbers))
                except KeyError as error:
                    raise UserError(
                        f"There is no candidate {error.args[0]} with a kernel in this run.",
                        file=self._folder.database,
                        remedy="See `evo show`.",
                    ) from error

        return outside_a_loop(work)

    def begin(self, observer: Observer | None = None) -> None:
        """Evaluates the seeds, and nothing else: what a run needs before people are asked. Raises as `search`."""
        outside_a_loop(lambda: self._answers((), "", observer))

    def tell(self, answers: Sequence[Answer], by: str = "person", observer: Observer | None = None) -> list[Answered]:
        """Evaluates answers to proposals (`evo.llm.answering`), in their order. Raises as `search`."""
        return outside_a_loop(lambda: self._answers(answers, by, observer))

    def ask(self, count: int, out: Path, template: str = "llm_universal") -> list[Path]:
        """Writes new proposals for people below `out` (`evo.llm.asking`); returns their folders. Raises as `search`."""
        from evo.llm.asking import ask

        lineage = open_history(self._folder, self.config)
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
            return drive(session.executor, work(session))

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
                drive(session.executor, session.search(certify=certify), loop=session.asks_models)
            assert session.stopped is not None
            summary = conclude(session, self._folder)
            session.lineage.end_session(session.stopped.value)
            if picture and summary.best is not None:
                # Before the writer closes: a reader that closes last would leave SQLite's two side files behind.
                summary = drawn(summary)
        self._folder.write(self._folder.summary, summary.dump())
        return summary

    @contextlib.contextmanager
    def _opened(self, observer: Observer | None, *, answers_only: bool = False) -> Iterator[Session]:
        """A session with lineage and executor open, both closed at the end whatever happens."""
        fresh = not self._begun
        lineage: Lineage | None = None
        executor: Executor | None = None
        try:
            lineage = open_history(self._folder, self.config)
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
                drive(executor, executor.close())
            if lineage is not None:
                lineage.close()
