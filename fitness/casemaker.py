"""A process that makes cases ahead, off the measuring core: drawing and computing references for large shapes takes a tenth of a
second each, which the first evaluations of a search would otherwise wait for.

It is a fork of the referee's own process and as trusted. Cases come back as anonymous files with a description; whatever it has not
made when it is needed, or never makes because it died, the referee makes itself.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import mmap
import os
import pickle
import signal
import socket
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitness.inputs import Case, adopted_case, make_case
from fitness.problem import Problem
from fitness.supply import Wanted

__all__ = ["CaseMaker"]

ALIGNMENT = 64
_PR_SET_PDEATHSIG = 1
Layout = list[tuple[str, tuple[int, ...], int]]
"""dtype, shape and offset in bytes of each array."""


class CaseMaker:
    """Makes the cases `wanted` one after another on `cores`. Linux only; `close` ends it."""

    def __init__(self, problem: Problem, wanted: Sequence[Wanted], cores: Collection[int]) -> None:
        self._problem = problem
        self._wanted = wanted
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            try:
                _alone(theirs, parent, cores)
                self._make(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self._socket = ours
        self.done = False
        """Whether all that there will ever be has been collected."""

    def _make(self, to: socket.socket) -> None:
        for position, wanted in enumerate(self._wanted):
            case = make_case(self._problem, wanted.sizes, wanted.distribution)
            arrays = (*case.inputs, *case.expected, *case.half_rms)
            layout: Layout = []
            length = 0
            for each in arrays:
                layout.append((each.dtype.str, each.shape, length))
                length += -(-each.nbytes // ALIGNMENT) * ALIGNMENT
            fd = os.memfd_create("evo-case", os.MFD_CLOEXEC)
            os.ftruncate(fd, max(length, 1))
            with mmap.mmap(fd, max(length, 1)) as memory:
                for each, (dtype, shape, offset) in zip(arrays, layout, strict=True):
                    _view(memory, dtype, shape, offset)[...] = each
            message = pickle.dumps((position, layout, case.rms))
            to.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
            os.close(fd)

    def collect(self) -> Iterator[tuple[Wanted, Case]]:
        """What has been made since the last look; does not wait."""
        while not self.done:
            fds = array.array("i")
            try:
                data, ancillary, _flags, _address = self._socket.recvmsg(1 << 16, socket.CMSG_SPACE(4), socket.MSG_DONTWAIT)
            except OSError:
                return
            for _level, _kind, payload in ancillary:
                fds.frombytes(payload)
            if not data or not fds:
                self.done = True
                self.close()
                return
            position, layout, rms = pickle.loads(data)
            wanted = self._wanted[position]
            yield wanted, self._adopted(fds[0], layout, rms, wanted)

    def _adopted(self, fd: int, layout: Layout, rms: tuple[float, ...], wanted: Wanted) -> Case:
        try:
            flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
            memory = mmap.mmap(fd, os.fstat(fd).st_size, flags=flags, prot=mmap.PROT_READ)
        finally:
            os.close(fd)
        arrays = [_view(memory, *each) for each in layout]
        first, last = len(self._problem.inputs), len(self._problem.inputs) + len(self._problem.outputs)
        inputs, expected, half_rms = arrays[:first], arrays[first:last], arrays[last:]
        return adopted_case(self._problem, wanted.sizes, wanted.distribution, inputs, expected, half_rms, rms)

    def close(self) -> None:
        """Idempotent."""
        if self._pid > 0:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
            self._pid = -1
            self._socket.close()


def _alone(kept: socket.socket, parent: int, cores: Collection[int]) -> None:
    """Makes a fork its own: dies with its parent, holds none of its descriptors, stays off the measuring core and out of the way."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.closerange(3, kept.fileno())
    os.closerange(kept.fileno() + 1, 4096)
    os.sched_setaffinity(0, cores)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, 5)


def _view(memory: mmap.mmap, dtype: str, shape: tuple[int, ...], offset: int) -> NDArray[Any]:
    count = int(np.prod(shape, dtype=np.int64))
    return np.frombuffer(memory, dtype=np.dtype(dtype), count=count, offset=offset).reshape(shape)
