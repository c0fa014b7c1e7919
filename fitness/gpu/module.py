"""A candidate in the shape of others: a class `ModelNew` or a function `custom_kernel`, called on shared memory.

It returns its outputs; copying them into the destinations is part of the call. Used where candidates run (a GPU's runner, a child that
verifies without one), so it imports nothing but torch and travels into the sandbox as it is. A *setting* says how a callable is made:
  {"style": "module" | "function", "entry": name, "seed": int, "init": tree, "data": {sizes: tree}, "modules": {name: text}}
A *tree* is JSON: ["t", i] an input, ["o", i] an output's buffer, ["c", value], ["l" | "u", [trees]] a list or tuple, ["d", [[key, tree]]].
"""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Wrapped", "encoded", "loaded", "rebuilt", "serve", "sizes_key", "summary", "tensors_in"]


def sizes_key(sizes: Sequence[int]) -> str:
    return ",".join(map(str, sizes))


def encoded(value: Any, tensors: list[Any]) -> Any:
    """The tree of a value; its tensors are appended to `tensors`. Raises TypeError for what no tree can hold."""
    import torch

    if isinstance(value, torch.Tensor):
        tensors.append(value)
        return ["t", len(tensors) - 1]
    if value is None or isinstance(value, (bool, int, float, str)):
        return ["c", value]
    if isinstance(value, dict) and all(isinstance(key, (str, int)) for key in value):
        return ["d", [[key, encoded(each, tensors)] for key, each in value.items()]]
    if isinstance(value, (list, tuple)):
        return ["l" if isinstance(value, list) else "u", [encoded(each, tensors) for each in value]]
    raise TypeError(f"a {type(value).__name__}, which is neither a tensor nor a number, text, list, tuple or dict of such")


def rebuilt(tree: Any, inputs: Sequence[Any], outputs: Sequence[Any] = ()) -> Any:
    """The value of a tree."""
    kind, content = tree
    if kind in ("t", "o"):
        return (inputs if kind == "t" else outputs)[content]
    if kind == "c":
        return content
    if kind == "d":
        return {key: rebuilt(each, inputs, outputs) for key, each in content}
    made = [rebuilt(each, inputs, outputs) for each in content]
    return made if kind == "l" else tuple(made)


def tensors_in(value: Any) -> list[Any]:
    """The tensors of a result, in order. Raises TypeError where there is something else in it."""
    import torch

    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [each for part in value for each in tensors_in(part)]
    if isinstance(value, dict):
        return [each for part in value.values() for each in tensors_in(part)]
    if value is None:
        return []
    raise TypeError(f"the result holds a {type(value).__name__}; tensors are expected")


def loaded(file: Path, setting: dict[str, Any], device: str, compiled: dict[str, Any] | None = None) -> Wrapped:
    """A candidate's file, run and wrapped; the modules that a task lends to it can be imported by it."""
    import types

    from fitness.gpu import compiling

    for name, text in setting.get("modules", {}).items():
        lent = sys.modules[name] = types.ModuleType(name)
        exec(compile(text, f"<{name}>", "exec"), lent.__dict__)
    return Wrapped(compiling.load_source(file), setting, device, compiled)


def _seeded(seed: int) -> None:
    import torch

    random.seed(seed)
    with contextlib.suppress(ImportError):
        import numpy

        numpy.random.seed(seed % (1 << 32))
    torch.manual_seed(seed)


class Wrapped:
    """A loaded candidate. `compiled`: options of torch.compile for a baseline, None to call it as it is.

    Parameters are made on `device` under the setting's seed, as those of the reference were. Raises what the candidate raises.
    """

    def __init__(self, module: Any, setting: dict[str, Any], device: str, compiled: dict[str, Any] | None = None) -> None:
        import torch

        torch.backends.cudnn.allow_tf32 = False  # single precision means it, for candidates and baselines alike
        entry = getattr(module, setting["entry"], None)
        if entry is None:
            raise AttributeError(f"the file defines no `{setting['entry']}`")
        self._trees: dict[str, Any] = setting["data"]
        self._spread = setting["style"] == "module"
        self.parameters: list[list[Any]] = []
        if self._spread:
            _seeded(setting["seed"])
            with torch.device(device):
                entry = entry(*rebuilt(setting["init"], ()))
            if any(value.device.type != device for value in entry.state_dict().values()):
                entry = entry.to(device)
            self.parameters = summary(entry)
        self._function: Callable[..., Any] = entry if compiled is None else torch.compile(entry, **compiled)

    def __call__(self, inputs: Sequence[Any], outputs: Sequence[Any], sizes: Sequence[int]) -> None:
        """One call: computes, and copies what was returned into the destinations."""
        data = rebuilt(self._trees[sizes_key(sizes)], inputs, outputs)
        results = tensors_in(self._function(*data) if self._spread else self._function(data))
        if len(results) != len(outputs):
            raise ValueError(f"{len(results)} tensors were returned; {len(outputs)} are expected")
        for number, (destination, result) in enumerate(zip(outputs, results, strict=True)):
            if result is destination:
                continue
            if type(result).__name__ not in ("Tensor", "Parameter"):
                raise TypeError(f"result {number} is a {type(result).__name__}; a plain tensor is expected")
            if result.shape != destination.shape or result.dtype != destination.dtype:
                raise ValueError(
                    f"result {number} is {result.dtype}{list(result.shape)}; {destination.dtype}{list(destination.shape)} is expected"
                )
            destination.copy_(result)


def summary(module: Any) -> list[list[Any]]:
    """[name, shape, sum of magnitudes] of every parameter and buffer: enough to see that two modules were not made alike."""
    import torch

    with torch.no_grad():
        return [
            [name, list(value.shape), float(value.double().abs().sum())] for name, value in module.state_dict().items() if value.numel()
        ][:2000]


def serve(channel: socket.socket, home: str, _message: dict[str, Any]) -> None:
    """A child that verifies on the CPU. First {source, setting}; then cases {sizes, arguments} + a descriptor each, inputs first.

    Inputs lie at the same addresses in every call, with other contents: what is kept by address is wrong the next time.
    """
    import torch

    from fitness.gpu import wire

    request, _ = wire.receive(channel)
    file = Path(home) / "kernel.py"
    file.write_text(request["source"])
    wrapped: Wrapped | None = None
    places: dict[str, list[Any]] = {}
    with contextlib.suppress(wire.Closed), torch.no_grad():
        while True:
            message, fds = wire.receive(channel)
            try:
                wrapped = wrapped or loaded(file, request["setting"], "cpu")
                views = [_view(fd, argument) for fd, argument in zip(fds, message["arguments"], strict=True)]
                inputs = [view for view, argument in zip(views, message["arguments"], strict=True) if argument["role"] == "input"]
                outputs = views[len(inputs) :]
                mine = places.setdefault(sizes_key(message["sizes"]), [torch.empty_like(view) for view in inputs])
                for place, view in zip(mine, inputs, strict=True):
                    place.copy_(view)
                wrapped(mine, outputs, message["sizes"])
                for place, view in zip(mine, inputs, strict=True):
                    view.copy_(place)  # the parent sees what the call did to its inputs
            except BaseException as error:
                wire.send(channel, {"error": f"{type(error).__name__}: {error}"[:3000]})
                return
            finally:
                for fd in fds:
                    os.close(fd)
            wire.send(channel, {"ok": True, "parameters": wrapped.parameters})


def _view(fd: int, argument: dict[str, Any]) -> Any:
    import torch

    memory = mmap.mmap(fd, os.fstat(fd).st_size)
    dtype = getattr(torch, argument["dtype"])
    count = 1
    for extent in argument["shape"]:
        count *= extent
    return torch.frombuffer(memory, dtype=dtype, count=count).reshape(argument["shape"])


