"""The process that holds a device: it builds its own evaluator and answers one request at a time.

The contract, as the parent sees it over the connection:

    parent sends  Order(factory and arguments, path, cores)     worker answers  Ready(environment) or Failed
    parent sends  Request(method, arguments)          worker answers  Done(value) or Failed
    parent closes its end, or dies                    worker exits, and its evaluator's processes with it

Beside the connection there is a page of memory (`Waiting`), by which the parent tells, also while the worker measures, whether
somebody else waits for a device: `evaluator.idle`, where the evaluator asks for that.

`Failed` carries an error of the evaluator, never a verdict about a kernel. The worker ignores Ctrl-C, which is the
parent's to handle, ends on SIGTERM after closing its evaluator, and is killed by the kernel when the parent dies.
"""

from __future__ import annotations

import copyreg
import ctypes
import mmap
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from types import FrameType, MappingProxyType
from typing import Any

from archive.evaluation import Environment
from evo.errors import UserError, as_user_error

__all__ = ["Done", "Failed", "Order", "Ready", "Request", "Waiting", "main"]

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Order:
    """The first message: what evaluator to build."""

    factory: bytes
    """Pickled (factory, arguments): unpickled only after `path` is in force."""
    path: tuple[str, ...]
    """The parent's `sys.path`."""
    cores: tuple[int, ...]
    """Where the worker may run; the parent that starts it may have withdrawn from some of them."""


@dataclass(frozen=True, slots=True)
class Ready:
    environment: Environment


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    """prepare, measure, duel or certify."""
    arguments: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Done:
    value: Any


@dataclass(frozen=True, slots=True)
class Failed:
    """An exception in the worker, as text; with `user` when it is the user's to put right."""

    text: str
    user: Mapping[str, Any] | None = None

    def error(self, otherwise: Callable[[str], Exception]) -> Exception:
        """The exception to raise in the parent."""
        return otherwise(self.text) if self.user is None else UserError(**self.user)


def read_only(facts: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    """A read-only mapping; the class itself has no name that pickle could find."""
    return MappingProxyType(facts)


def _reduce(mapping: MappingProxyType[Any, Any]) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    return read_only, (dict(mapping),)


copyreg.pickle(MappingProxyType, _reduce)  # frozen facts default to an empty read-only mapping


class Waiting:
    """How many requests wait for a device, up to 255, in one byte of shared memory: the parent writes, workers read."""

    def __init__(self, descriptor: int | None = None) -> None:
        """Made anew, or mapped from the descriptor that a parent passed on, which is closed."""
        made = os.memfd_create("evo-waiting", os.MFD_CLOEXEC) if descriptor is None else descriptor
        if descriptor is None:
            os.ftruncate(made, mmap.PAGESIZE)
        self._map = mmap.mmap(made, mmap.PAGESIZE)
        self.descriptor = made
        if descriptor is not None:
            os.close(made)

    def tell(self, waiting: int) -> None:
        self._map[0] = max(0, min(waiting, 255))

    def nobody(self) -> bool:
        return self._map[0] == 0

    def close(self) -> None:
        """The parent's side; workers go on with their own mapping."""
        os.close(self.descriptor)
        self._map.close()


def main(descriptor: int, parent: int, waiting: int) -> None:
    """Serves the parent process `parent` over the inherited socket `descriptor` until it closes."""
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    connection = Connection(descriptor)
    evaluator: Any = None
    try:
        order: Order = connection.recv()
        sys.path[:] = order.path
        os.sched_setaffinity(0, order.cores)
        try:
            factory, arguments = pickle.loads(order.factory)
            evaluator = factory(*arguments)
            if hasattr(evaluator, "idle"):
                evaluator.idle = Waiting(waiting).nobody
            connection.send(Ready(evaluator.environment()))
            warm = getattr(evaluator, "warm", None)
            if warm is not None:  # while the first kernel is built
                warm()
        except Exception as error:
            connection.send(_failed(error))
            return
        while True:
            request: Request = connection.recv()
            try:
                answer = ForkingPickler.dumps(Done(getattr(evaluator, request.method)(*request.arguments)))
            except Exception as error:
                answer = ForkingPickler.dumps(_failed(error))
            connection.send_bytes(answer)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone or done
    finally:
        if evaluator is not None:
            evaluator.close()


def _failed(error: Exception) -> Failed:
    user = as_user_error(error)
    text = f"{type(error).__name__}: {error}\n{''.join(traceback.format_exception(error))}"
    if user is None:
        return Failed(text)
    parts = {name: getattr(user, name) for name in ("file", "line", "key", "found", "expected", "remedy")}
    return Failed(text, {"what": user.what, **parts})


def die_with(parent: int) -> None:
    """Asks the kernel to kill this process when its parent dies, and ends it at once if that has happened already."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _leave(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(0)
