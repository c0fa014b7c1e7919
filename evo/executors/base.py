"""What an executor is: where kernels are built and measured, behind one asynchronous face.

The engine awaits `prepare` for several kernels at once and `measure`, `duel` and `certify` on at most `devices` at a time;
the executor queues what exceeds its slots. Nothing here knows of archives, strategies or budgets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from archive.evaluation import Environment, Evaluation
from archive.kernel import Kernel
from archive.space import Space
from fitness.protocol import Bar, Certificate, Duel, Prepared

__all__ = ["Executor", "ExecutorError"]


class ExecutorError(Exception):
    """The executor failed, not the kernel: a worker died or hung, a connection broke. The same call may be tried again."""


class Executor(ABC):
    """Runs one evaluator somewhere. Use: `await start()`, any calls, `await close()`."""

    inline: bool
    """True when every coroutine here returns without ever suspending: the engine then needs no event loop."""
    deterministic: bool
    """The evaluator's: measuring twice gives the same number."""
    window: int
    """Candidates worth having in flight: enough to keep every build slot and every device busy."""

    @abstractmethod
    async def start(self) -> None:
        """Opens the evaluator. Raises the evaluator's own errors about the user's files and tools, or `ExecutorError`."""

    @abstractmethod
    async def environment(self) -> Environment:
        """Where measurements are made."""

    @abstractmethod
    def seeds(self) -> Sequence[Kernel]:
        """As `Evaluator.seeds`."""

    @abstractmethod
    def space(self, kernel: Kernel) -> Space:
        """As `Evaluator.space`; called in the engine's thread, so it is cheap."""

    @abstractmethod
    async def prepare(self, kernel: Kernel) -> Prepared:
        """As `Evaluator.prepare`. Raises `ExecutorError` when the evaluator itself failed."""

    @abstractmethod
    async def measure(self, prepared: Prepared, bar: Bar | None = None) -> Evaluation:
        """As `Evaluator.measure`. Raises `ExecutorError`."""

    @abstractmethod
    async def duel(self, challenger: Prepared, incumbent: Prepared) -> Duel:
        """As `Evaluator.duel`. Raises `ExecutorError`."""

    @abstractmethod
    async def certify(self, prepared: Prepared, seed: Prepared | None = None) -> Certificate:
        """As `Evaluator.certify`. Raises `ExecutorError`."""

    @abstractmethod
    async def close(self) -> None:
        """Ends every process and thread, also in the middle of a call (which then raises). Idempotent."""
