"""The executor of one machine: builds in a few threads (compilers are processes of their own), timing in one worker process.

The worker (`evo.executors.worker`) builds its own evaluator, so that nothing in this process can disturb the device it
holds, and so that it can be thrown away: one that dies or hangs is replaced, and the call it was on raises `ExecutorError`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import IO, Any, TypeVar

from archive.evaluation import Environment, Evaluation
from archive.kernel import Kernel
from archive.space import Space
from evo.errors import as_user_error
from evo.executors.base import Executor, ExecutorError
from evo.executors.worker import Done, Failed, Order, Ready, Request, Waiting
from fitness.protocol import Bar, Certificate, Duel, Evaluator, Prepared

__all__ = ["LocalExecutor", "default_builders"]

T = TypeVar("T")

BOOT = "import sys; sys.path[:] = {path!r}; from evo.executors.worker import main; main({descriptor}, {parent}, {waiting})"
GRACE = 3.0
"""Seconds a worker has to close its evaluator when asked to end."""


class LocalExecutor(Executor):
    """Devices of this machine, each measured on by a worker of its own.

    Args:
        evaluator: knows seeds and spaces and builds, in this process; is closed with this executor.
        factory: picklable callable that makes an equal evaluator in the worker, where it measures, when called with `arguments`.
        arguments: picklable.
        builders: builds at once; None takes the cores this process may use less the measured one.
        patience: seconds a single measurement, duel or opening may take before the worker counts as hung.
        certify_patience: the same for a certification.
        devices: of each worker what CUDA_VISIBLE_DEVICES says to it; empty leaves that as it is here.
        log: file that receives what the worker writes to its output and error streams; None leaves it on this process's.
    """

    inline = False

    def __init__(
        self,
        evaluator: Evaluator,
        factory: Callable[..., Evaluator],
        arguments: tuple[Any, ...] = (),
        *,
        builders: int | None = None,
        patience: float = 600.0,
        certify_patience: float = 3600.0,
        devices: Sequence[str] = ("",),
        log: IO[Any] | None = None,
    ) -> None:
        self._factory = factory
        self._arguments = arguments
        self.builders = builders or default_builders()
        self.window = self.builders + 2 * len(devices)  # one on each device, one ready to follow it, the rest building
        self._patience = patience
        self._certify_patience = certify_patience
        self._log = log
        self._evaluator: Evaluator | None = evaluator
        self.deterministic = evaluator.deterministic
        self._devices = tuple(devices)
        self._workers: list[_Worker | None] = [None] * len(devices)
        self._idle = list(range(len(devices)))
        self._turns = asyncio.Semaphore(len(devices))
        self._asked_for = 0
        self._waiting = Waiting()
        self._cores = frozenset(os.sched_getaffinity(0))
        # Search and compilers (which inherit it) keep off the core that times, where there is another.
        self._others: frozenset[int] = self._cores - getattr(evaluator, "held_cores", frozenset()) or self._cores
        self._builds = ThreadPoolExecutor(
            self.builders, thread_name_prefix="evo-build", initializer=os.sched_setaffinity, initargs=(0, self._others)
        )
        self._device = ThreadPoolExecutor(len(devices), thread_name_prefix="evo-device")
        self._closed = False

    @property
    def spare_cores(self) -> frozenset[int]:
        """The cores that nothing is measured on; all of them where there are no others."""
        return self._others

    async def start(self) -> None:
        await asyncio.gather(*(self._ready(number) for number in range(len(self._devices))))
        if self._others != self._cores:
            self.evaluator.environment()  # while this process may still use what the worker may: both must tell the same facts
            os.sched_setaffinity(0, self._others)

    @property
    def evaluator(self) -> Evaluator:
        if self._evaluator is None:
            raise ExecutorError("the executor is closed")
        return self._evaluator

    @property
    def worker_pid(self) -> int | None:
        """Process id of the (first) live worker."""
        return next((worker.process.pid for worker in self._workers if worker is not None), None)

    async def environment(self) -> Environment:
        return (await self._ready(0)).ready.environment

    def seeds(self) -> Sequence[Kernel]:
        return self.evaluator.seeds()

    def space(self, kernel: Kernel) -> Space:
        return self.evaluator.space(kernel)

    async def prepare(self, kernel: Kernel) -> Prepared:
        evaluator = self.evaluator
        try:
            return await asyncio.get_running_loop().run_in_executor(self._builds, evaluator.prepare, kernel)
        except Exception as error:
            if as_user_error(error) is not None:
                raise
            raise ExecutorError(f"the evaluator raised {type(error).__name__}: {error}\n{traceback.format_exc()}") from error

    async def measure(self, prepared: Prepared, bar: Bar | None = None) -> Evaluation:
        return await self._ask(Evaluation, Request("measure", (prepared, bar)), self._patience)

    async def duel(self, challenger: Prepared, incumbent: Prepared) -> Duel:
        return await self._ask(Duel, Request("duel", (challenger, incumbent)), self._patience)

    async def certify(self, prepared: Prepared, seed: Prepared | None = None) -> Certificate:
        return await self._ask(Certificate, Request("certify", (prepared, seed)), self._certify_patience)

    async def close(self) -> None:
        if not self._closed:
            self._waiting.close()
        self._closed = True
        os.sched_setaffinity(0, self._cores)
        workers, self._workers = self._workers, [None] * len(self._devices)
        evaluator, self._evaluator = self._evaluator, None
        for worker in workers:
            if worker is not None:
                worker.end()
        if evaluator is not None:
            evaluator.close()
        self._builds.shutdown(wait=False, cancel_futures=True)
        self._device.shutdown(wait=False, cancel_futures=True)

    async def _ready(self, number: int) -> _Worker:
        """The live worker of one device, started anew if there is none."""
        if self._closed:
            raise ExecutorError("the executor is closed")
        worker = self._workers[number]
        if worker is None:
            # Started in this thread, not in a pool's: the kernel kills the worker when the *thread* that started it ends.
            worker = _Worker(self._factory, self._arguments, self._cores, self._log, self._devices[number], self._waiting.descriptor)
            self._workers[number] = worker
            try:
                await asyncio.get_running_loop().run_in_executor(self._device, worker.open, self._patience)
            except BaseException:
                self._workers[number] = None
                worker.end(grace=0)
                raise
        return worker

    async def _ask(self, kind: type[T], request: Request, patience: float) -> T:
        self._ask_for(+1)
        try:
            async with self._turns:
                number = self._idle.pop()
                try:
                    answer = await self._asked(number, request, patience)
                finally:
                    self._idle.append(number)
        finally:
            self._ask_for(-1)
        if not isinstance(answer, kind):
            raise ExecutorError(f"the worker answered {type(answer).__name__} to {request.method}")
        return answer

    def _ask_for(self, more: int) -> None:
        self._asked_for += more
        if not self._closed:
            self._waiting.tell(self._asked_for - len(self._devices))

    async def _asked(self, number: int, request: Request, patience: float) -> object:
        worker = await self._ready(number)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._device, worker.call, request, patience)
        except ExecutorError:
            if self._workers[number] is worker:
                self._workers[number] = None
            worker.end(grace=0)
            raise


class _Worker:
    """A worker process and the connection to it."""

    def __init__(
        self,
        factory: Callable[..., Evaluator],
        arguments: tuple[Any, ...],
        cores: Collection[int],
        log: IO[Any] | None,
        device: str,
        waiting: int,
    ) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            path = [entry or os.getcwd() for entry in sys.path]
            program = BOOT.format(path=path, descriptor=theirs.fileno(), parent=os.getpid(), waiting=waiting)
            self.process = subprocess.Popen(
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno(), waiting],
                env=os.environ | ({"CUDA_VISIBLE_DEVICES": device} if device else {}),
                start_new_session=True,  # Ctrl-C at the terminal reaches the parent only; the group can be killed as one
            )
            self._connection = Connection(os.dup(ours.fileno()))
        self._order = Order(pickle.dumps((factory, arguments)), tuple(path), tuple(cores))
        self._lock = threading.Lock()
        self._exchanging = threading.Lock()
        """A cancelled call goes on to its end before the next one is made."""

    def open(self, patience: float) -> None:
        """Waits for the worker's evaluator. Raises `ExecutorError`, or `UserError` for what the user can put right."""
        answer = self._exchange(self._order, patience)
        if isinstance(answer, Failed):
            raise answer.error(lambda text: ExecutorError(f"the worker could not open its evaluator: {text}"))
        if not isinstance(answer, Ready):
            raise ExecutorError(f"the worker answered {type(answer).__name__} when it was opened")
        self.ready = answer

    def call(self, request: Request, patience: float) -> object:
        """The evaluator's answer. Raises `ExecutorError` for a worker that died, hung for `patience` seconds, or whose evaluator raised."""
        answer = self._exchange(request, patience)
        if isinstance(answer, Failed):
            raise answer.error(lambda text: ExecutorError(f"the evaluator raised in {request.method}: {text}"))
        return answer.value if isinstance(answer, Done) else answer

    def _exchange(self, message: Order | Request, patience: float) -> object:
        try:
            with self._exchanging:
                self._connection.send(message)
                if not self._connection.poll(patience):
                    raise ExecutorError(f"the worker (process {self.process.pid}) did not answer within {patience:g} s")
                return self._connection.recv()
        except (EOFError, OSError) as error:
            raise ExecutorError(f"the worker (process {self.process.pid}) died: {self._fate()}") from error

    def _fate(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self.process.wait(timeout=GRACE)
            return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        return "its connection is closed"

    def end(self, grace: float = GRACE) -> None:
        """Ends the process and whatever is left of its group. A call in progress in another thread raises `ExecutorError`."""
        with self._lock:
            if self.process.returncode is None and grace > 0:
                self.process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(timeout=grace)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def default_builders() -> int:
    """Builds at once: the cores this process may use, less the measured one, at least one."""
    return max(1, len(os.sched_getaffinity(0)) - 1)
