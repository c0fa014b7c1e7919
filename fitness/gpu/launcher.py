"""The launcher: the referee's own hands in an untrusted context. Runs in a child of the zygote, in the sandbox; standard library only.

It launches kernels that were built elsewhere, exactly as their plan says (`fitness.gpu.plan`): which function, which grid, which buffer or
number each parameter is. No host code of a kernel's author runs here, so what the kernels of a plan do on the device is all that can happen
between the gate and the mark, and no other kernel can be launched. Requests:
  open   {gate: bool} + [page, gate image]               → {"ok": true, "gate": bool, "why": text}
  load   {} + [archive]                                  → {"ok": true}
  attach {slot, buffers: [{role, offset, length}]} + one descriptor a buffer → {"ok": true}
  bind   {workspace} + [descriptor] or []                → {"ok": true}
  batch  {case, slots: [...], serial | null}             → {"armed": true} where there is a serial, then {"done": true}
  unload {}                                              → {"ok": true}
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import socket
import tarfile
from typing import Any

from fitness.gpu import driver, wire
from fitness.gpu.gate import Gate

__all__ = ["Loaded", "serve"]


_MAX_DYNAMIC_SHARED, _NON_PORTABLE_CLUSTER = 8, 14
_SHARED_WITHOUT_ASKING = 48 << 10
_COOPERATIVE, _CLUSTER, _CLUSTER_POLICY, _SPREAD = 2, 4, 5, 1


class _Call:
    """One launch with its parameters in place."""

    __slots__ = ("_function", "_grid", "_pointers", "_values")

    def __init__(self, function: driver.Function, grid: driver.Extents, values: list[bytes]) -> None:
        self._function, self._grid = function, grid
        self._values = [ctypes.create_string_buffer(value, max(8, len(value))) for value in values]
        self._pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in self._values))

    def queue(self, on: int) -> None:
        driver.launch(self._function, self._grid, self._pointers, on)


class _Memset:
    __slots__ = ("_address", "_byte", "_bytes")

    def __init__(self, address: int, nbytes: int, byte: int) -> None:
        self._address, self._bytes, self._byte = address, nbytes, byte

    def queue(self, on: int) -> None:
        driver.fill_later(self._address, self._bytes, self._byte, on)


class _Copy:
    __slots__ = ("_bytes", "_from", "_to")

    def __init__(self, to: int, of: int, nbytes: int) -> None:
        self._to, self._from, self._bytes = to, of, nbytes

    def queue(self, on: int) -> None:
        driver.copy_later(self._to, self._from, self._bytes, on)


def _function(module: int, kernel: dict[str, Any]) -> driver.Function:
    """A kernel of a plan: as a CUDA file launches it, or as Triton does."""
    if "block" in kernel:
        x, y, z = kernel["block"]
        attributes = [(number, words) for number, words in kernel["attributes"]]
        settings = [(number, value) for number, value in kernel["settings"]]
        return driver.function(module, kernel["name"], (x, y, z), kernel["shared"], attributes=attributes, settings=settings)
    attributes = [(_COOPERATIVE, [1])] if kernel["cooperative"] else []
    if kernel["clusters"] != 1:
        attributes += [(_CLUSTER, [kernel["clusters"], 1, 1]), (_CLUSTER_POLICY, [_SPREAD])]
    settings = [(_MAX_DYNAMIC_SHARED, kernel["shared"])] if kernel["shared"] > _SHARED_WITHOUT_ASKING else []
    if kernel["clusters"] > 8:
        settings.append((_NON_PORTABLE_CLUSTER, 1))
    return driver.function(module, kernel["name"], (kernel["threads"], 1, 1), kernel["shared"], attributes=attributes, settings=settings)


def _bytes_of(kind: str, what: list[Any], addresses: list[int]) -> bytes:
    """A parameter as the kernel reads it."""
    if kind == "pieces":
        return b"".join(_bytes_of(inner, rest, addresses) for inner, *rest in what[0])
    if kind == "pointer":
        index, offset = what
        return int(addresses[index] + offset).to_bytes(8, "little")
    return bytes.fromhex(what[0])


class Loaded:
    """The modules of one archive and what its plan needs beside them."""

    def __init__(self, archive: bytes) -> None:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            content = {member.name: tar.extractfile(member).read() for member in tar.getmembers() if member.isfile()}  # type: ignore[union-attr]
        self.plan = json.loads(content["plan.json"])
        self.modules: dict[int, int] = {}
        self.functions: list[driver.Function] = []
        self.scratch = 0
        for index, kernel in enumerate(self.plan["kernels"]):
            image = kernel.get("image", index)
            if image not in self.modules:
                self.modules[image] = driver.load_module(content[f"{image}.cubin"])
            self.functions.append(_function(self.modules[image], kernel))
        most = max((self._scratch_bytes(each) for case in self.plan["cases"] for each in case["launches"]), default=0)
        if most:
            self.scratch = driver.plain(most)
            driver.filled(self.scratch, most, 0)
        self.calls: dict[tuple[int, int], list[_Call | _Memset | _Copy]] = {}

    def _scratch_bytes(self, each: dict[str, Any]) -> int:
        if "kernel" not in each:
            return 0
        x, y, z = each["grid"]
        kernel = self.plan["kernels"][each["kernel"]]
        return int(x * y * z * kernel.get("clusters", 1) * kernel["scratch"])

    def of(self, case: int, slot: int, addresses: list[int]) -> list[_Call | _Memset | _Copy]:
        """What one call queues. addresses: of the buffers in ABI order, then of the workspace (0 without one)."""
        made = self.calls.get((case, slot))
        if made is None:
            made = [self._call(each, addresses) for each in self.plan["cases"][case]["launches"] if min(each.get("grid", [1])) > 0]
            self.calls[case, slot] = made
        return made

    def _call(self, each: dict[str, Any], addresses: list[int]) -> _Call | _Memset | _Copy:
        if "memset" in each:
            index, offset = each["memset"]
            return _Memset(addresses[index] + offset, each["bytes"], each["byte"])
        if "copy" in each:
            (index, offset), (source, place) = each["copy"], each["from"]
            return _Copy(addresses[index] + offset, addresses[source] + place, each["bytes"])
        values = [_bytes_of(kind, what, addresses) for kind, *what in each["arguments"]]
        values += [self.scratch.to_bytes(8, "little"), bytes(8)]  # Triton's global and profiling scratch; ignored by kernels without
        x, y, z = each["grid"]
        clusters = self.plan["kernels"][each["kernel"]].get("clusters", 1)
        return _Call(self.functions[each["kernel"]], (x * clusters, y, z), values)

    def close(self) -> None:
        for module in self.modules.values():
            driver.unload_module(module)
        if self.scratch:
            driver.forget(self.scratch)


class _Session:
    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._slots: dict[int, list[int]] = {}
        self._loaded: Loaded | None = None
        self._workspace: driver.Mapping | None = None
        self._workspace_address = 0
        self._stream = 0
        self._gate: Gate | None = None

    def run(self) -> None:
        wire.send(self._channel, {"hello": True})
        while True:
            message, fds = wire.receive(self._channel)
            try:
                answer = getattr(self, "_" + message["op"])(message, fds)
            except BaseException as error:
                wire.send(self._channel, {"error": f"{type(error).__name__}: {error}"[:3000], "kind": type(error).__name__})
                continue
            finally:
                for fd in fds:
                    os.close(fd)
            wire.send(self._channel, answer)

    def _open(self, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        driver.context()
        self._stream = driver.stream()
        why = ""
        if message["gate"]:
            try:
                self._gate = Gate(fds[0], _content(fds[1]))
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
        return {"ok": True, "gate": self._gate is not None, "why": why}

    def _load(self, _message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        self._loaded = Loaded(_content(fds[0]))
        return {"ok": True}

    def _attach(self, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        mapped = [driver.import_(fd, buffer["length"]).address for buffer, fd in zip(message["buffers"], fds, strict=True)]
        self._slots[message["slot"]] = [address + buffer["offset"] for address, buffer in zip(mapped, message["buffers"], strict=True)]
        return {"ok": True}

    def _bind(self, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        self._unbind()
        if fds:
            self._workspace = driver.import_(fds[0], message["length"])
            self._workspace_address = self._workspace.address + message["offset"]
        if self._loaded is not None:
            self._loaded.calls.clear()
        return {"ok": True}

    def _unbind(self) -> None:
        if self._workspace is not None:
            driver.unmap(self._workspace)
        self._workspace, self._workspace_address = None, 0

    def _batch(self, message: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
        assert self._loaded is not None
        case, serial, on = message["case"], message["serial"], self._stream
        calls = [self._loaded.of(case, slot, [*self._slots[slot], self._workspace_address]) for slot in message["slots"]]
        if serial is not None:
            assert self._gate is not None
            self._gate.queue(serial, on)
        for launches in calls:
            for each in launches:
                each.queue(on)
        if serial is not None:
            assert self._gate is not None
            self._gate.mark(serial, on)
            wire.send(self._channel, {"armed": True})
        driver.synchronize(on)
        return {"done": True}

    def _unload(self, _message: dict[str, Any], _fds: list[int]) -> dict[str, Any]:
        self._unbind()
        if self._loaded is not None:
            self._loaded.close()
        self._loaded = None
        return {"ok": True}


def _content(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        file.seek(0)
        return file.read()


def serve(channel: socket.socket, _home: str, _message: dict[str, Any]) -> None:
    """The whole life of a launcher."""
    os.environ["CUDA_MODULE_LOADING"] = "EAGER"  # nothing may have to be loaded behind a closed gate
    with contextlib.suppress(wire.Closed):
        _Session(channel).run()
