"""An evaluator that measures in a process of its own and may be asked from any number of threads.

It is a `LocalExecutor` behind the synchronous face of `fitness.protocol.Evaluator`: for work that is no search (recording a
space), and for many searches that share one device, each in its own thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import IO, Any, TypeVar

from archive.evaluation import Environment, Evaluation
from archive.kernel import Kernel
from archive.space import Space
from evo.executors.local import LocalExecutor
from fitness.protocol import Bar, Certificate, Duel, Evaluator, Prepared

__all__ = ["Apart"]

T = TypeVar("T")


class Apart:
    """Implements `fitness.protocol.Evaluator`. Thread-safe. Calls raise `evo.executors.base.ExecutorError` when the worker fails.

    Args:
        factory: picklable; makes the evaluator when called with `arguments`: one here, which builds, and one in each worker.
        builders: builds at once; None takes the cores that are not measured on.
        devices: as `LocalExecutor`'s.
        log: file that receives what workers print.
        deterministic: what it says of itself; True spares a search bars, contests and second looks, so that each kernel is measured once.

    Raises:
        what `factory` raises about the user's files and tools; `ExecutorError` when a worker cannot be started.
    """

    inline = False

    def __init__(
        self,
        factory: Callable[..., Evaluator],
        arguments: tuple[Any, ...] = (),
        *,
        builders: int | None = None,
        devices: Sequence[str] = ("",),
        log: IO[Any] | None = None,
        deterministic: bool = False,
    ) -> None:
        self.deterministic = deterministic
        self._evaluator = factory(*arguments)
        self._executor = LocalExecutor(self._evaluator, factory, arguments, builders=builders, devices=devices, log=log)
        self.builders = self._executor.builders
        self.window = self._executor.window
        """Kernels worth having in flight."""
        self.spare_cores = self._executor.spare_cores
        """Cores that nothing is measured on: for the threads that ask."""
        self._loop = asyncio.new_event_loop()
        # One thread for good: a worker is killed by the kernel when the thread that started it ends.
        self._thread = threading.Thread(target=self._loop.run_forever, name="evo-apart", daemon=True)
        self._thread.start()
        try:
            self._ask(self._executor.start())
            self._environment = self._ask(self._executor.environment())
        except BaseException:
            self.close()
            raise

    def _ask(self, call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def environment(self) -> Environment:
        return self._environment

    def seeds(self) -> Sequence[Kernel]:
        return self._evaluator.seeds()

    def space(self, kernel: Kernel) -> Space:
        return self._evaluator.space(kernel)

    def prepare(self, kernel: Kernel) -> Prepared:
        return self._ask(self._executor.prepare(kernel))

    def measure(self, prepared: Prepared, bar: Bar | None = None) -> Evaluation:
        return self._ask(self._executor.measure(prepared, bar))

    def duel(self, challenger: Prepared, incumbent: Prepared) -> Duel:
        return self._ask(self._executor.duel(challenger, incumbent))

    def certify(self, prepared: Prepared, seed: Prepared | None = None) -> Certificate:
        return self._ask(self._executor.certify(prepared, seed))

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self._ask(self._executor.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
