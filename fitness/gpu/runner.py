"""The GPU runner: loads one untrusted program and calls it on shared device memory when told to. Runs in a child of the zygote.

Nothing it says is a verdict: an error is a claim against itself, `done` only lets the referee take its snapshot. Requests:
  load   {kind, entry, mode, gate, setting} + [artifact] (+ [page, gate image]) → {"ok": true, "gate": bool}
  size   {sizes}                                         → {"workspace": bytes}
  attach {slot, sizes, buffers: [{role, dtype, shape, offset, length}]} + one descriptor a buffer → {"ok": true}
  batch  {slots: [...], deliver, serial?}                → {"armed": true} where there is a serial, then {"done": true}
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import socket
import traceback
from pathlib import Path
from typing import Any

from fitness.gpu import compiling, driver, module, wire
from fitness.gpu.gate import Gate

__all__ = ["serve"]


class _Denied(Exception):
    """A kernel called torch for the work."""


def _denial() -> Any:
    """A dispatch mode under which every torch operator raises: views and metadata are no operators, arithmetic is."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Denial(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, function: Any, _types: Any, _args: Any = (), _kwargs: Any = None) -> Any:
            raise _Denied(f"torch operator {function} was called; a kernel computes in the kernels it launches")

    return Denial()


class _Program:
    """What was loaded, as a function of a slot."""

    def __init__(self, message: dict[str, Any], fd: int, home: Path) -> None:
        self.kind: str = message["kind"]
        self.mode: str = message.get("mode", "")
        self.workspace: Any = None
        self.wrapped: module.Wrapped | None = None
        with open(fd, "rb", closefd=False) as file:
            content = file.read()
        if self.kind == "triton":
            source = compiling.load_source(compiling.unpack(content, home))
            self.function: Any = source.launch
            self.workspace = getattr(source, "workspace", None)
        elif self.kind == "cuda":
            (home / "kernel.so").write_bytes(content)
            library = ctypes.CDLL(str(home / "kernel.so"))
            self.function = library.kernel
            self.function.restype = None
            with contextlib.suppress(AttributeError):
                self.workspace = library.workspace
                self.workspace.restype = ctypes.c_size_t
        elif message.get("setting"):
            (home / "module.py").write_bytes(content)
            self.wrapped = module.loaded(home / "module.py", json.loads(message["setting"]), "cuda", _options(self.mode))
        else:
            (home / "baseline.py").write_bytes(content)
            self.function = _torch_function(getattr(compiling.load_source(home / "baseline.py"), message["entry"]), self.mode)

    def scratch_bytes(self, sizes: list[int]) -> int:
        if self.workspace is None:
            return 0
        arguments = [ctypes.c_int64(size) for size in sizes] if self.kind == "cuda" else sizes
        return int(self.workspace(*arguments))


def _torch_function(function: Any, mode: str) -> Any:
    import torch

    options = _options(mode)
    return function if options is None else torch.compile(function, **options)


def _options(mode: str) -> dict[str, Any] | None:
    """Of torch.compile; None for code that is called as it is."""
    if mode in ("", "eager"):
        return None
    import torch

    torch._dynamo.config.cache_size_limit = 64
    return {"dynamic": False} | ({"mode": "max-autotune-no-cudagraphs"} if mode == "max_autotune" else {})


class _Session:
    def __init__(self, channel: socket.socket, home: str) -> None:
        self._channel = channel
        self._home = Path(home)
        self._program: _Program | None = None
        self._calls: dict[int, tuple[list[Any], list[Any], Any, list[int]]] = {}
        self._kept: list[Any] = []
        self._gate: Gate | None = None

    def run(self) -> None:
        wire.send(self._channel, {"hello": True})
        while True:
            message, fds = wire.receive(self._channel)
            try:
                answer = getattr(self, "_" + message["op"])(message, fds)
            except BaseException as error:
                text = "".join(traceback.format_exception(error))[-4000:]
                kind = type(error).__name__
                wire.send(self._channel, {"error": f"{kind}: {error}"[:3000], "kind": kind, "trace": text})
                continue
            finally:
                for fd in fds:
                    os.close(fd)
            wire.send(self._channel, answer)

    def _load(self, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        import torch

        torch.cuda.init()
        torch.zeros(1, device="cuda")
        if message.get("memory"):
            total = torch.cuda.get_device_properties(0).total_memory
            torch.cuda.set_per_process_memory_fraction(min(1.0, message["memory"] / total))
        self._program = _Program(message, fds[0], self._home)
        why = ""
        if message.get("gate"):
            try:
                with open(fds[2], "rb", closefd=False) as file:
                    self._gate = Gate(fds[1], file.read())
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
        return {"ok": True, "workspace": self._program.workspace is not None, "gate": self._gate is not None, "why": why}

    def _size(self, message: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
        assert self._program is not None
        return {"workspace": self._program.scratch_bytes(message["sizes"])}

    def _attach(self, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        inputs: list[Any] = []
        outputs: list[Any] = []
        scratch = None
        for buffer, fd in zip(message["buffers"], fds, strict=True):
            mapping = driver.import_(fd, buffer["length"])
            self._kept.append(mapping)
            view = driver.tensor(mapping.address + buffer["offset"], tuple(buffer["shape"]), buffer["dtype"])
            if buffer["role"] == "workspace":
                scratch = view
            else:
                (inputs if buffer["role"] == "input" else outputs).append(view)
        self._calls[message["slot"]] = (inputs, outputs, scratch, message["sizes"])
        return {"ok": True}

    def _batch(self, message: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
        import torch

        program = self._program
        assert program is not None
        calls = [self._calls[slot] for slot in message["slots"]]
        serial, on = message.get("serial"), int(torch.cuda.current_stream().cuda_stream)
        if serial is not None:
            assert self._gate is not None
            self._gate.queue(serial, on)
        self._call(program, calls, message["deliver"])
        if serial is not None:
            assert self._gate is not None
            self._gate.mark(serial, on)
            wire.send(self._channel, {"armed": True})
        torch.cuda.synchronize()
        return {"done": True}

    @staticmethod
    def _call(program: _Program, calls: list[tuple[list[Any], list[Any], Any, list[int]]], deliver: bool) -> None:
        import torch

        if program.wrapped is not None:
            with torch.no_grad():
                for inputs, outputs, _scratch, sizes in calls:
                    program.wrapped(inputs, outputs, sizes)
        elif program.kind == "torch":
            with torch.no_grad():
                for inputs, outputs, _scratch, _sizes in calls:
                    results = program.function(*inputs)
                    if deliver:
                        given = results if isinstance(results, (tuple, list)) else (results,)
                        for destination, result in zip(outputs, given, strict=True):
                            destination.copy_(result)
        elif program.kind == "triton":
            function = program.function
            with _denial():
                for inputs, outputs, scratch, _sizes in calls:
                    function(*inputs, *outputs, scratch)
        else:
            stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
            for inputs, outputs, scratch, sizes in calls:
                pointers = [ctypes.c_void_p(each.data_ptr()) for each in (*inputs, *outputs)]
                place = ctypes.c_void_p(None if scratch is None else scratch.data_ptr())
                program.function(*pointers, place, *(ctypes.c_int64(size) for size in sizes), stream)


def serve(channel: socket.socket, home: str, _message: dict[str, Any]) -> None:
    """The whole life of a runner."""
    with contextlib.suppress(wire.Closed):
        _Session(channel, home).run()
