"""One process's work on a run: open, replay, search, certify, and write down what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import cache

from archive.base import Archive, Elite
from archive.candidate import Draft, Proposal
from archive.descriptors import default_descriptors, parse_descriptors
from archive.evaluation import Outcome
from archive.grid import GridArchive
from archive.kernel import Kernel
from archive.lineage import Lineage
from archive.stats import SITTING_NOISE
from evo.budget import Budget, StopReason
from evo.certificates import load_certificate, store_certificate
from evo.config import Config
from evo.engine import Engine, EngineSettings
from evo.errors import UserError
from evo.executors.base import Executor, ExecutorError
from evo.llm.studio import learner, needs_models, open_studio
from evo.progress import Stage
from evo.replay import replay
from evo.reporter import Reporter
from evo.seeds import check_descriptors, check_seeds
from evo.state import State
from evo.strategies.opening import open_strategy
from fitness.protocol import Certificate
from operators.base import operator
from operators.llm.studio import Studio

__all__ = ["Session"]

SEEDS_ENDED = (
    "SELECT max(c.seconds) AS seconds FROM candidates c JOIN proposals p ON p.run = c.run AND p.number = c.number "
    "WHERE c.run = ? AND p.operator = 'seed'"
)
CONTENDERS = 3
"""How many of the best are certified in turn until one passes."""


class Session:
    """Use: `await search()`, then read `state`, `stopped`, `winner` and `certificate`; or `await certify(numbers)`.

    Args:
        lineage: open for writing, its run started.
        executor: not started yet; `close` is the caller's.
        answers_only: nobody is asked: seeds and answers that came from elsewhere are evaluated, no more.
        further_seeds: kernels of a language that the search starts from beside the problem's own.
    """

    state: State
    engine: Engine
    seeds: Sequence[Kernel]
    """The problem's own, and further ones."""

    def __init__(
        self, config: Config, lineage: Lineage, executor: Executor, reporter: Reporter, *, answers_only: bool = False,
        further_seeds: Callable[[str], Sequence[Kernel]] = lambda language: (),
    ) -> None:  # fmt: skip
        self.config = config
        self.lineage = lineage
        self.executor = executor
        self.reporter = reporter
        self.stopped: StopReason | None = None
        self.winner: Elite | None = None
        self.certificate: Certificate | None = None
        self.studio: Studio | None = None
        self.asks_models = needs_models(config) and not answers_only
        self._further_seeds = further_seeds
        self._interrupted = False
        self._opened = lineage.seconds

    def stop(self) -> None:
        """Ends the session soon, cleanly. Safe in a signal handler."""
        self._interrupted = True
        if hasattr(self, "engine"):
            self.engine.stop(StopReason.INTERRUPTED)

    async def search(self, *, certify: bool = True) -> None:
        """The whole session, with the certification at its end unless told otherwise.

        Raises:
            UserError: the seeds do not work, or the config does not fit the run.
        """
        await self._open()
        self.reporter.enter(Stage.SEARCH)
        if self._interrupted:
            self.engine.stop(StopReason.INTERRUPTED)
        self.stopped = await self.engine.search()
        self.lineage.flush()
        if len(self.state.view.seeds) >= len(self.executor.seeds()):
            check_seeds(self.state.view.seeds)
        self.winner = self.state.archive.best
        if certify and self.stopped.final and self.winner is not None:
            self.reporter.enter(Stage.CERTIFY)
            await self._certify_best()
            if self._interrupted:
                self.stopped = StopReason.INTERRUPTED
        self.reporter.enter(Stage.DONE)

    async def begin(self) -> None:
        """Evaluates the seeds that were not, and nothing else. Raises UserError when none works."""
        await self._open()
        self.reporter.enter(Stage.SEARCH)
        done = {candidate.number for candidate in self.state.view.seeds}
        seeds = [(number, kernel) for number, kernel in enumerate(self.seeds) if number not in done]
        await self.engine.evaluate([(Proposal(number, "seed"), Draft(kernel)) for number, kernel in seeds])
        check_seeds(self.state.view.seeds)

    @property
    def worth_keeping(self) -> bool:
        """Whether anything was found out that a resume could build on."""
        return hasattr(self, "state") and any(seed.ok for seed in self.state.view.seeds)

    async def certify(self, numbers: Sequence[int]) -> dict[int, Certificate]:
        """Certifies finished candidates of the run, whatever was certified before. Raises KeyError for an unknown one."""
        await self._open()
        self.reporter.enter(Stage.CERTIFY)
        try:
            return {number: await self._certify(number) for number in numbers}
        except ExecutorError as error:
            first = str(error).partition("\n")[0]
            what = "The certification could not be made; it says nothing about the kernel."
            raise UserError(what, found=first, remedy="Run `evo doctor`, then repeat it.") from error

    async def _open(self) -> None:
        self.reporter.enter(Stage.OPEN)
        try:
            await self.executor.start()
        except ExecutorError as error:
            first = str(error).partition("\n")[0]
            raise UserError(
                "The evaluator cannot be started.", found=first, remedy="Run `evo doctor` to see what this machine lacks."
            ) from error
        environment = await self.executor.environment()
        self.lineage.environment(environment)
        seeds = list(self.executor.seeds())
        seeds += [kernel for kernel in self._further_seeds(seeds[0].language) if kernel not in seeds]
        self.seeds = seeds
        archive = self._archive(seeds[0])
        if self.lineage.run_record().config_json and not self.lineage.select("SELECT 1 FROM candidates LIMIT 1"):
            check_descriptors(self.config.archive.descriptors, await self.executor.prepare(seeds[0]))
        strategy = open_strategy(self.config)
        budget = Budget(self.config.budget, noise=0.0 if self.executor.deterministic else SITTING_NOISE)
        self.state = self.reporter.state = State(archive, strategy, budget, self.executor.space)
        if self.asks_models:
            self.studio = open_studio(self.config, self.lineage, environment.facts, seeds[0])
            assert self.studio.desk is not None
            await self.studio.desk.check()
            self.state.learn = learner(self.studio, self.state.view)
        self.reporter.enter(Stage.REPLAY)
        replay(self.lineage, self.state)
        (seeds_ended,) = self.lineage.select(SEEDS_ENDED, (self.lineage.run,))
        self.engine = Engine(
            EngineSettings(self.config.seed, self.config.deterministic, self.config.evaluation.remeasure),
            self.state,
            self.lineage,
            self.executor,
            operators=cache(operator),
            seeds=seeds,
            unfinished=self.lineage.in_flight(),
            setup=(seeds_ended["seconds"] or 0.0) + self.lineage.seconds - self._opened,
            watch=self.reporter.watch,
            studio=self.studio,
        )
        self.reporter.clock = lambda: self.lineage.seconds
        self.reporter.in_flight = lambda: self.engine.in_flight

    def _archive(self, seed: Kernel) -> Archive:
        entries = self.config.archive.descriptors
        descriptors = (
            parse_descriptors(list(entries)) if entries else default_descriptors(self.config.target.name, self.executor.space(seed))
        )
        return GridArchive(descriptors, deterministic=self.executor.deterministic)

    async def _certify_best(self) -> None:
        """Certifies the best until one passes; a kernel with a good certificate in this run is not certified again."""
        ranked = sorted(self.state.archive.elites(), key=lambda elite: (-elite.objective, elite.number))
        for elite in ranked[:CONTENDERS]:
            certificate = load_certificate(self.lineage, elite.kernel.id)
            if certificate is None:
                try:
                    certificate = await self._interruptible(elite.number)
                except ExecutorError as error:
                    self.reporter.watch(f"candidate {elite.number} could not be certified: {str(error).partition(chr(10))[0]}")
                    return
            if certificate is None:
                return
            if certificate.ok:
                self.winner, self.certificate = elite, certificate
                return
            why = certificate.diagnostics[0].message if certificate.diagnostics else "no reason given"
            self.reporter.watch(f"candidate {elite.number} failed its certification: {why}")
            self.certificate = self.certificate or certificate

    async def _interruptible(self, number: int) -> Certificate | None:
        """A certificate; None when the user did not wait for it."""
        if self.executor.inline:
            return await self._certify(number)
        task = asyncio.ensure_future(self._certify(number))
        while not task.done():
            await asyncio.wait({task}, timeout=0.2)
            self.reporter.watch("")
            if self._interrupted and not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                return None
        return task.result()

    async def _certify(self, number: int) -> Certificate:
        kernel = self.state.view.candidate(number).kernel
        if kernel is None:
            raise KeyError(number)
        prepared = await self.executor.prepare(kernel)
        if prepared.failed is not None and prepared.failed.outcome is Outcome.INFRASTRUCTURE_ERROR:
            raise ExecutorError(prepared.failed.diagnostics[0].message)
        if prepared.failed is not None:
            certificate = Certificate(kernel.id, False, diagnostics=prepared.failed.diagnostics)
        else:
            plain = next((seed.kernel for seed in self.state.view.seeds if seed.ok and seed.kernel is not None), None)
            seed = None if plain is None else await self.executor.prepare(plain)
            certificate = await self.executor.certify(prepared, seed if seed is not None and seed.failed is None else None)
        store_certificate(self.lineage, number, certificate)
        return certificate
