"""Runs a Triton file in Triton's own interpreter, on the CPU, in a child of the zygote: right or wrong without a device, never a time."""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
from pathlib import Path
from typing import Any

from fitness.gpu import compiling, wire

__all__ = ["serve"]


def serve(channel: socket.socket, home: str, _message: dict[str, Any]) -> None:
    """First {source}, then any number of cases {sizes, arguments: [{role, dtype, shape}]} + inputs; answers each with its outputs."""
    _repair()
    request, _ = wire.receive(channel)
    file = Path(home) / "kernel.py"
    file.write_text(request["source"])
    module: Any = None
    with contextlib.suppress(wire.Closed):
        while True:
            message, fds = wire.receive(channel)
            try:
                module = module or compiling.load_source(file)
                outputs = _run(module, message, fds)
            except BaseException as error:
                wire.send(channel, {"error": f"{type(error).__name__}: {error}"[:3000]})
                return
            blobs = [wire.blob(output) for output in outputs]
            wire.send(channel, {"ok": True}, blobs)
            for fd in (*fds, *blobs):
                os.close(fd)


def _repair() -> None:
    """Triton's interpreter holds bfloat16 as its bit patterns, and its `tl.dot` multiplies those as integers."""
    import numpy as np  # the zygote has no packages on its path yet when it loads this file
    import triton.language as tl
    from triton.runtime import interpreter

    builder: Any = interpreter.InterpreterBuilder
    dot = builder.create_dot

    def exact(operand: Any) -> Any:
        if operand.dtype.scalar != tl.bfloat16:
            return operand
        bits = operand.data.astype(np.uint32) << 16
        return interpreter.TensorHandle(bits.view(np.float32), tl.float32)

    def create_dot(self: Any, a: Any, b: Any, *rest: Any) -> Any:
        return dot(self, exact(a), exact(b), *rest)

    builder.create_dot = create_dot


def _run(module: Any, message: dict[str, Any], fds: list[int]) -> list[bytes]:
    import torch

    given = iter(fds)
    tensors, outputs = [], []
    for argument in message["arguments"]:
        dtype = getattr(torch, argument["dtype"])
        if argument["role"] == "input":
            fd = next(given)
            memory = mmap.mmap(fd, os.fstat(fd).st_size, access=mmap.ACCESS_COPY)
            tensors.append(torch.frombuffer(memory, dtype=dtype).reshape(argument["shape"]).clone())
        else:
            poison = float("nan") if dtype.is_floating_point else 90
            tensors.append(torch.full(argument["shape"], poison, dtype=dtype))
            outputs.append(tensors[-1])
    needed = int(module.workspace(*message["sizes"])) if hasattr(module, "workspace") else 0
    module.launch(*tensors, torch.full((needed,), 90, dtype=torch.uint8) if needed else None)
    return [output.contiguous().view(torch.uint8).numpy().tobytes() for output in outputs]
