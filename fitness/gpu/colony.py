"""The colony: a GPU zygote in the sandbox, as seen from outside, and the children it forks for builds and runs."""

from __future__ import annotations

import array
import contextlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from fitness.failure import RefereeError
from fitness.gpu import wire
from fitness.sandbox import Sandbox
from fitness.sandbox.bundle import GPU_ZYGOTE, python_command
from fitness.sandbox.view import environment
from fitness.targets.base import TargetError

__all__ = ["Child", "Colony", "device_nodes", "packages_folder"]

START_LIMIT = 120.0


def device_nodes() -> list[str]:
    """The NVIDIA driver's device nodes on this machine."""
    return sorted(str(path) for path in Path("/dev").glob("nvidia*") if not path.is_dir())


def packages_folder() -> str:
    """The folder that torch and triton are installed in; neither is imported. Raises `TargetError`."""
    for name in ("torch", "triton"):
        if importlib.util.find_spec(name) is None:
            raise TargetError(f"target: found no {name} in this Python ({sys.executable}). Install it: pip install 'evo-kernels[gpu]'.")
    spec = importlib.util.find_spec("triton")
    assert spec is not None and spec.submodule_search_locations
    return str(Path(next(iter(spec.submodule_search_locations))).resolve().parent)


class Child:
    """A forked child, by its channel. Not thread-safe."""

    def __init__(self, colony: Colony, number: int, channel: socket.socket, output: int) -> None:
        self._colony = colony
        self.number = number
        self.channel = channel
        self._output = output
        self.pid = 0
        """Of a runner, in this process's view; 0 until it said hello."""

    def greet(self, seconds: float) -> None:
        """Takes in the hello, with the process number by the kernel's word. Raises as `ask`."""
        self.channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.channel.settimeout(seconds)
        try:
            _data, ancillary, _flags, _address = self.channel.recvmsg(4, socket.CMSG_SPACE(12), socket.MSG_PEEK)
        except OSError as error:
            raise wire.Closed from error
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                self.pid = int.from_bytes(payload[:4], sys.byteorder)
        self.channel.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        self.answer(seconds)

    def ask(self, message: dict[str, Any], fds: list[int], seconds: float) -> dict[str, Any]:
        """The answer. Raises `wire.Closed` when it died, TimeoutError when it did not answer in time."""
        self.channel.settimeout(seconds)
        wire.send(self.channel, message, fds)
        return self.answer(seconds)[0]

    def answer(self, seconds: float) -> tuple[dict[str, Any], list[int]]:
        self.channel.settimeout(seconds)
        return wire.receive(self.channel)

    def freeze(self) -> None:
        if self.pid > 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        if self.pid > 0:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGCONT)

    def said(self) -> str:
        """The last of what it printed: quoted in diagnostics, believed nowhere."""
        try:
            return os.read(self._output, 1 << 16)[-2000:].decode(errors="replace").strip()
        except OSError:
            return ""

    def close(self) -> None:
        """Ends it and everything it started. Idempotent."""
        if self._output >= 0:
            self._colony.kill(self.number)
            self.channel.close()
            os.close(self._output)
            self._output = -1


class Colony:
    """Starts on first use; thread-safe.

    sandbox: None runs it unconfined, for baselines, which are the problem author's own. device: whether runners will use one.
    interpret: whether Triton is imported as an interpreter, for children that do `interpret`.
    Raises `RefereeError` when no zygote can be had.
    """

    def __init__(self, sandbox: Sandbox | None, *, device: bool, interpret: bool = False) -> None:
        self._sandbox = sandbox
        self._interpret = interpret
        self._device = device
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._next = 0
        self.versions: dict[str, str] = {}

    def start(self) -> None:
        with self._lock:
            self._start()

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._close()
        folder = packages_folder()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = python_command(GPU_ZYGOTE, f"main({theirs.fileno()}, {[folder]!r}, {self._device!r})")
        variables = environment(4) | {"LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""), "CUDA_MODULE_LOADING": "LAZY"}
        if self._interpret:
            variables["TRITON_INTERPRET"] = "1"  # its own functions are interpreted only if it is set before they are imported
        for name in ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
            if name in os.environ:
                variables[name] = os.environ[name]
        if self._sandbox is not None:
            command = self._sandbox.command(command, read=[folder], devices=device_nodes() if self._device else [])
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=variables,
                cwd="/",
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        finally:
            theirs.close()
        self._socket = ours
        ours.settimeout(START_LIMIT)
        try:
            ready = json.loads(ours.recv(1 << 16) or b"{}")
        except OSError:
            ready = {}
        if not ready.get("ready"):
            self._fail()
        self.versions = {"torch": ready["torch"], "triton": ready["triton"]}

    def _fail(self) -> None:
        assert self._process is not None and self._process.stderr is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(2.0)
        os.set_blocking(self._process.stderr.fileno(), False)
        said = (self._process.stderr.read() or b"").decode(errors="replace").strip()[-1500:]
        level = "none" if self._sandbox is None else self._sandbox.level
        self._close()
        raise RefereeError(f"the GPU zygote did not start in sandbox {level!r}: {said or 'no message'}. Run `evo doctor`.")

    def child(self, work: str, limits: dict[str, int] | None = None) -> Child:
        """Forks a child that does `work`: build or run."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        output_read, output_write = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(output_write, False)  # a flood is dropped, it blocks nobody
        os.set_blocking(output_read, False)
        with self._lock:
            self._start()
            assert self._socket is not None
            self._drain()
            self._next += 1
            number = self._next
            fds = array.array("i", [theirs.fileno(), output_write])
            message = {"child": number, "work": work, "limits": limits or {}}
            self._socket.settimeout(START_LIMIT)
            self._socket.sendmsg([json.dumps(message).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
        theirs.close()
        os.close(output_write)
        return Child(self, number, ours, output_read)

    def kill(self, number: int) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._socket is not None:
                self._socket.settimeout(10.0)
                self._socket.send(json.dumps({"kill": number}).encode())

    def _drain(self) -> None:
        """Takes in what the zygote reported, lest it fills the socket."""
        assert self._socket is not None
        self._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while self._socket.recv(1 << 16):
                pass

    def close(self) -> None:
        """Ends the zygote and everything it forked. Idempotent."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(2.0)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stderr is not None:
                process.stderr.close()
