"""The nursery: a zygote in the sandbox, and a small pool of runners it has forked ahead of time.

One nursery per flavour of zygote: `native` is bare, `numpy` has NumPy imported, any other the package it is named after as well. The
pool is replenished in the background, by the zygote, off the measuring core.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from fitness.call import Terms
from fitness.failure import RefereeError
from fitness.packages import PackageMissing, places
from fitness.sandbox import Sandbox, cgroup
from fitness.sandbox.bundle import ZYGOTE, python_command
from fitness.sandbox.view import environment

__all__ = ["Ending", "Nursery", "Seat", "preloaded"]

START_LIMIT = 60.0
FAMILY = 3
"""Runners that may hold their full memory at once: two in a duel, and one that is just being taken down."""
BESIDE = 1 << 30
"""Bytes that a zygote and its waiting runners may hold, the files they have read included."""
PROCESSES = 512
"""Of a family at once, threads included: far beyond what the watchdog lets any one runner have."""
OUTPUT_PIPE = 1 << 16


def preloaded(flavour: str) -> tuple[str, ...]:
    """What a flavour of zygote has imported before it forks."""
    return () if flavour == "native" else tuple(dict.fromkeys(("numpy", flavour)))


@dataclass(frozen=True, slots=True)
class Ending:
    """How a runner's process ended, by the zygote's wait4. peak: bytes resident at most, shared memory included."""

    status: int
    peak: int


@dataclass(eq=False)
class Seat:
    """The referee's ends of a runner's descriptors, and its process number as we see it (by SCM_CREDENTIALS)."""

    number: int
    control: socket.socket
    go: int
    done: int
    output: int
    pid: int = 0
    listener: int = -1
    """The seccomp listener, sent before anything untrusted was loaded; -1 where the kernel has none."""

    def close(self) -> None:
        self.control.close()
        for fd in (self.go, self.done, self.output, self.listener):
            if fd >= 0:
                os.close(fd)


class Nursery:
    """Starts on first use. Raises `RefereeError` when no zygote can be had."""

    def __init__(self, sandbox: Sandbox, flavour: str, *, terms: Terms, limits: dict[str, int], size: int) -> None:
        self._sandbox = sandbox
        self._flavour = flavour
        self._terms = terms
        self._limits = limits
        self._size = size
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._seats: list[Seat] = []
        self._endings: dict[int, Ending] = {}
        self._group: cgroup.Group | None = None
        self._next = 0
        self.seccomp = False
        self.listener = False

    def start(self) -> None:
        """Starts the zygote and orders the first runners. Does nothing while it is alive."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            known = places(preloaded(self._flavour))
        except PackageMissing as missing:
            raise RefereeError(str(missing)) from missing
        call = f"main({theirs.fileno()}, {list(preloaded(self._flavour))!r}, {known!r}, {list(self._terms.others)!r})"
        command = self._sandbox.command(python_command(ZYGOTE, call), read=list(known.values()), filtered=False)
        try:
            self._group = self._new_group()
            self._process = subprocess.Popen(
                cgroup.entering(self._group, command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=environment(self._terms.threads),
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise RefereeError(f"the {self._flavour} zygote cannot be started in sandbox {self._sandbox.level!r}: {error}") from error
        finally:
            theirs.close()
        self._socket = ours
        ours.settimeout(START_LIMIT)
        ready = self._receive()
        if ready is None or not ready.get("ready"):
            self._fail("did not start")
        assert ready is not None
        self.seccomp, self.listener = bool(ready["seccomp"]), bool(ready["listener"])
        self.replenish()

    def _new_group(self) -> cgroup.Group | None:
        """The control group of the whole family, where there are any: it bounds what limits on single processes do not add up."""
        place = cgroup.place()
        if place is None:
            return None
        return cgroup.Group(place, memory=FAMILY * self._terms.memory + BESIDE, processes=PROCESSES + 16 * self._terms.threads)

    def _fail(self, what: str) -> None:
        said = ""
        if self._process is not None and self._process.stderr is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2.0)
            os.set_blocking(self._process.stderr.fileno(), False)
            said = (self._process.stderr.read() or b"").decode(errors="replace").strip()[-500:]
        self.close()
        raise RefereeError(
            f"the {self._flavour} zygote {what} in sandbox {self._sandbox.level!r}: {said or 'no message'}. "
            "Run `evo doctor`; EVO_SANDBOX=LEVEL chooses another sandbox."
        )

    def replenish(self) -> None:
        """Orders runners until the pool is full; returns at once, they are made in the background. A dead zygote is left to `take`."""
        with contextlib.suppress(RefereeError):
            while len(self._seats) < self._size:
                self._seats.append(self._order())

    def _order(self) -> Seat:
        assert self._socket is not None
        self._next += 1
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        go_read, go_write = os.pipe2(os.O_CLOEXEC)
        done_read, done_write = os.pipe2(os.O_CLOEXEC)
        output_read, output_write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output_write, False)  # a flood is dropped, it cannot block anybody
        os.set_blocking(output_read, False)
        os.set_blocking(done_read, False)
        config = {
            "fork": self._next,
            "limits": self._limits,
            "seccomp": self.seccomp,
            "listener": self.listener,
            "threads": self._terms.threads,
            "memory": self._terms.memory,
            "files": self._flavour != "native",
        }
        fds = array.array("i", [theirs.fileno(), go_read, done_write, output_write])
        seat = Seat(self._next, ours, go_write, done_read, output_read)
        try:
            self._socket.sendmsg([json.dumps(config).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        except OSError:
            seat.close()
            self._fail("died")
        finally:
            theirs.close()
            for fd in (go_read, done_write, output_write):
                os.close(fd)
        return seat

    def take(self) -> Seat:
        """A fresh runner that waits for its program. A zygote that has died is replaced."""
        for _attempt in range(3):
            self.start()
            self._drain()
            if not self._seats:
                self._seats.append(self._order())
            seat = self._seats.pop(0)
            seat.control.settimeout(START_LIMIT)
            try:
                data, ancillary, _flags, _address = seat.control.recvmsg(4096, socket.CMSG_SPACE(12) + socket.CMSG_SPACE(4))
            except OSError:
                data, ancillary = b"", []
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                    seat.pid = int.from_bytes(payload[:4], sys.byteorder)
                elif level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    seat.listener = int.from_bytes(payload[:4], sys.byteorder)
                    os.set_inheritable(seat.listener, False)
            if data and seat.pid > 0:
                return seat
            seat.close()
            self.close()
        raise RefereeError("forked runners do not answer; is the machine out of memory or processes?")

    def ending(self, number: int, patience: float = 2.0) -> Ending | None:
        """How runner `number` ended, waiting for the zygote's report; None when there is none."""
        deadline = time.monotonic() + patience
        while number not in self._endings:
            left = deadline - time.monotonic()
            if left <= 0 or self._socket is None:
                return None
            self._socket.settimeout(left)
            if self._receive() is None:
                return None
        return self._endings.pop(number)

    def _drain(self) -> None:
        """Takes in the endings reported so far, lest they fill the socket and stop the zygote."""
        assert self._socket is not None
        self._socket.setblocking(False)
        while self._receive() is not None:
            pass

    def _receive(self) -> dict[str, Any] | None:
        """One message from the zygote; endings are noted. None at its end or after the socket's timeout."""
        assert self._socket is not None
        try:
            data = self._socket.recv(1 << 16)
        except OSError:
            return None
        if not data:
            return None
        message: dict[str, Any] = json.loads(data)
        if "ended" in message:
            if len(self._endings) > 1000:
                self._endings.clear()
            self._endings[message["ended"]] = Ending(message["status"], message["peak"] << 10)
        return message

    def close(self) -> None:
        """Ends the zygote and everything it forked. Idempotent."""
        for seat in self._seats:
            seat.close()
        self._seats.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(1.0)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stderr is not None:
                process.stderr.close()
        group, self._group = self._group, None
        if group is not None:
            group.close()
