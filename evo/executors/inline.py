"""The executor for evaluators that return at once: everything happens in the caller's thread, nothing suspends."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import TypeVar

from archive.evaluation import Environment, Evaluation
from archive.kernel import Kernel
from archive.space import Space
from evo.errors import as_user_error
from evo.executors.base import Executor, ExecutorError
from fitness.protocol import Bar, Certificate, Duel, Evaluator, Prepared

__all__ = ["InlineExecutor"]

T = TypeVar("T")


class InlineExecutor(Executor):
    """Calls the evaluator directly.

    Args:
        evaluator: is closed with this executor.
    """

    inline = True
    window = 1

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator: Evaluator | None = evaluator
        self.deterministic = evaluator.deterministic

    async def start(self) -> None:
        self.evaluator  # noqa: B018 - raises when closed

    @property
    def evaluator(self) -> Evaluator:
        if self._evaluator is None:
            raise ExecutorError("the executor is closed")
        return self._evaluator

    async def environment(self) -> Environment:
        return self._guard(self.evaluator.environment)

    def seeds(self) -> Sequence[Kernel]:
        return self.evaluator.seeds()

    def space(self, kernel: Kernel) -> Space:
        return self.evaluator.space(kernel)

    async def prepare(self, kernel: Kernel) -> Prepared:
        return self._guard(lambda: self.evaluator.prepare(kernel))

    async def measure(self, prepared: Prepared, bar: Bar | None = None) -> Evaluation:
        return self._guard(lambda: self.evaluator.measure(prepared, bar))

    async def duel(self, challenger: Prepared, incumbent: Prepared) -> Duel:
        return self._guard(lambda: self.evaluator.duel(challenger, incumbent))

    async def certify(self, prepared: Prepared, seed: Prepared | None = None) -> Certificate:
        return self._guard(lambda: self.evaluator.certify(prepared, seed))

    async def close(self) -> None:
        evaluator, self._evaluator = self._evaluator, None
        if evaluator is not None:
            evaluator.close()

    def _guard(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except ExecutorError:
            raise
        except Exception as error:
            if as_user_error(error) is not None:
                raise
            raise ExecutorError(f"the evaluator raised {type(error).__name__}: {error}\n{traceback.format_exc()}") from error
