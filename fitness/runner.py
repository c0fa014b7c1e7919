"""The runner: the child that loads one untrusted program and calls it when told to. Runs inside the sandbox; standard library only.

Nothing here is trusted once the program is loaded: it shares the program's address space. What it says is a request (how much workspace)
or stops the clock (`done`); every verdict is the referee's own. Descriptors: 3 control socket, 4 `go` pipe, 5 `done` pipe.

It says hello, with its seccomp listener, before it is given anything. Control messages are JSON objects whose "id" the answer repeats:
  load   {kind, entry, arguments, sizes, …} + [program]   → {"ok": "loaded", "workspace": bool}
  size   {sizes: [int, …]}                                → {"workspace": bytes}
  attach {slots: [{slot, sizes, buffers: [...]}, …]} + one descriptor a buffer → {"addresses": [...]}
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import traceback
from collections.abc import Callable
from typing import Any

from fitness import fault, pages
from fitness.sandbox import seccomp

__all__ = ["BROKEN", "CONTROL", "DONE", "GO", "RAISED", "WORD", "serve"]

CONTROL, GO, DONE = 3, 4, 5
BROKEN = 70
"""Exit status of a runner whose own code failed, which it does only when the program has tampered with it."""
RAISED = 71
"""Exit status of a runner whose (Python) program let an exception escape."""
WORD = 16
"""Bytes of a `go` word: 8 of nonce, then the slot's number; a `done` word repeats the nonce."""
MOAT = 1 << 20
"""Bytes of inaccessible address space on either side of a buffer, at the least; a multiple of every page size."""
ROOM = 2 * MOAT + pages.HUGE
"""Bytes of address space that a buffer takes beside its own."""
MOST_DESCRIPTORS = 60
"""That come with one message, unless a single slot has more."""


class _Program:
    """The loaded program: makes a call of no arguments out of an attached slot."""

    def __init__(self, message: dict[str, Any], fd: int) -> None:
        self.kind: str = message["kind"]
        self._arguments: int = message["arguments"]
        self._sizes: int = message["sizes"]
        self.workspace: Any = None
        entry: str = message["entry"]
        self._function: Any
        if self.kind == "native":
            library = ctypes.CDLL(f"/proc/self/fd/{fd}")
            self._function = self._typed(getattr(library, entry))
            with contextlib.suppress(AttributeError):
                self.workspace = library.workspace
                self.workspace.restype = ctypes.c_size_t
                self.workspace.argtypes = [ctypes.c_int64] * self._sizes
        elif self.kind == "null" and entry != "native":
            self.kind, self._function = "python", _nothing
        elif self.kind == "null":
            self._function = self._typed(ctypes.CDLL(None).abs)  # returns at once whatever the other registers hold
        else:
            with open(fd, "rb", closefd=False) as file:
                source = file.read()
            namespace: dict[str, Any] = {"__name__": "evo_program", "__file__": message["file"]}
            exec(compile(source, message["file"], "exec"), namespace)
            self._function = namespace[entry]

    def _typed(self, function: Any) -> Any:
        function.restype = None
        function.argtypes = [ctypes.c_void_p] * (self._arguments + 1) + [ctypes.c_int64] * self._sizes
        return function

    def bind(self, message: dict[str, Any], addresses: list[int]) -> tuple[Any, tuple[Any, ...]]:
        """(function, its arguments) for the buffers at these addresses."""
        buffers = message["buffers"]
        payloads = [address + buffer["offset"] for address, buffer in zip(addresses, buffers, strict=True)]
        if self.kind == "python":
            return self._function, tuple(_view(p, b) for p, b in zip(payloads, buffers, strict=True) if b["role"] != "workspace")
        pointers: list[Any] = [ctypes.c_void_p(p) for p in payloads]
        if len(pointers) == self._arguments:
            pointers.append(ctypes.c_void_p(None))
        return self._function, (*pointers, *(ctypes.c_int64(size) for size in message["sizes"]))


def _nothing(*_arrays: Any) -> None:
    """The empty Python program."""


def _view(address: int, buffer: dict[str, Any]) -> Any:
    import numpy as np

    memory = (ctypes.c_uint8 * buffer["nbytes"]).from_address(address)
    view = np.frombuffer(memory, dtype=np.uint8).view(buffer["dtype"]).reshape(buffer["shape"])
    view.flags.writeable = buffer["role"] == "output"
    return view


class _Session:
    """One program, its slots, and the loop that calls it."""

    def __init__(self, control: socket.socket, config: dict[str, Any]) -> None:
        self._control = control
        self._config = config
        pages.loaded()
        self._program: _Program | None = None
        self._calls: dict[int, tuple[Callable[..., Any], tuple[Any, ...]]] = {}

    def prepare(self) -> None:
        """What can be done before there is a program: exercise the loop once, so that its pages are this process' own; then the filter."""
        null = _Program({"kind": "null", "entry": "native", "arguments": 2, "sizes": 1}, -1)
        buffers = [{"offset": 0, "role": "input"}, {"offset": 0, "role": "output"}]
        function, arguments = null.bind(json.loads(json.dumps({"buffers": buffers, "sizes": [1]})), [0, 0])
        function(*arguments)
        fault.install()
        listener = self._confine()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))] if listener >= 0 else []
        self._control.sendmsg([b'{"hello": true}'], rights)
        if listener >= 0:
            os.close(listener)

    def _confine(self) -> int:
        """From here on the process may only do what `seccomp.runner_rules` lists. Returns the listener's descriptor or -1."""
        config = self._config
        if not config["seccomp"]:
            return -1
        notify = config["listener"]
        files = seccomp.ALLOW if config["files"] or not notify else seccomp.NOTIFY
        rules = seccomp.runner_rules(
            pid=os.getpid(),
            threads=config["threads"],
            memory=config["memory"],
            written=(1, 2, DONE),
            control=CONTROL,
            files=files,
            refine=not notify,
        )
        return seccomp.install(seccomp.assemble(rules, seccomp.NOTIFY if notify else seccomp.KILL), listener=notify)

    def run(self) -> None:
        message, fds = self._receive()
        try:
            self._program = _Program(message, fds[0] if fds else -1)
        except BaseException as error:  # the program's own import may raise anything; the text helps whoever repairs it
            self._send({"id": message["id"], "error": "".join(traceback.format_exception_only(error)).strip()[:2000]})
            os.read(GO, 1)  # to be killed: an exit could be noticed before the message
            return
        for fd in fds:
            os.close(fd)
        if self._config["seccomp"] and not self._config["listener"] and not self._config["files"]:
            seccomp.install(seccomp.assemble(seccomp.loaded_rules(), seccomp.ALLOW), listener=False)
        self._send({"id": message["id"], "ok": "loaded", "workspace": self._program.workspace is not None})
        self._serve()

    def _serve(self) -> None:
        """Waits for `go` and for control messages; one `go` word names the slot to call with (all ones: read the control socket)."""
        read, write, calls = os.read, os.write, self._calls
        while True:
            word = read(GO, WORD)
            if len(word) < WORD:
                return
            number = int.from_bytes(word[8:], "little")
            if number == 0xFFFFFFFFFFFFFFFF:
                self._answer()
                continue
            function, arguments = calls[number]
            try:
                function(*arguments)
            except BaseException as error:
                self._raised(error)
            write(DONE, word[:8])

    def _raised(self, error: BaseException) -> None:
        """A Python program let an exception escape."""
        with contextlib.suppress(BaseException):
            write = f"{type(error).__name__}: {error}"
            os.write(2, write[:2000].encode())
        os._exit(RAISED)

    def _answer(self) -> None:
        message, fds = self._receive()
        assert self._program is not None
        if message["op"] == "size":
            sizes = [ctypes.c_int64(size) for size in message["sizes"]]
            needed = 0 if self._program.workspace is None else int(self._program.workspace(*sizes))
            self._send({"id": message["id"], "workspace": needed})
        elif message["op"] == "attach":
            self._send({"id": message["id"], "addresses": self._attach(message["slots"], fds)})

    def _attach(self, slots: list[dict[str, Any]], fds: list[int]) -> list[int]:
        """Maps the slots' buffers; returns the payloads' addresses."""
        assert self._program is not None
        payloads = []
        left = iter(fds)
        for slot in slots:
            buffers = slot["buffers"]
            addresses = [pages.Mapping(next(left), b["length"], writable=b["role"] != "input", moat=MOAT).address for b in buffers]
            self._calls[slot["slot"]] = self._program.bind(slot, addresses)
            payloads += [address + buffer["offset"] for address, buffer in zip(addresses, buffers, strict=True)]
        for fd in fds:
            os.close(fd)
        return payloads

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        data, ancillary, _flags, _address = self._control.recvmsg(1 << 16, socket.CMSG_SPACE(64 * 4))
        if not data:
            os._exit(0)
        fds = array.array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        return json.loads(data), list(fds)

    def _send(self, message: dict[str, Any]) -> None:
        self._control.send(json.dumps(message).encode())


def _limit(config: dict[str, Any]) -> None:
    for name, value in config["limits"].items():
        which = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(which)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))


def serve(config: dict[str, Any]) -> None:
    """The whole life of a runner, in a freshly forked child whose descriptors are in place. Never returns."""
    _limit(config)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    control = socket.socket(fileno=CONTROL)
    session = _Session(control, config)
    session.prepare()
    try:
        session.run()
    except BaseException as error:
        with contextlib.suppress(BaseException):
            os.write(2, f"runner: {type(error).__name__}: {error}"[:500].encode())
        os._exit(BROKEN)  # at once: tidying up would make calls that are refused
    os._exit(0)
