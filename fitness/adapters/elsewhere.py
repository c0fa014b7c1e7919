"""Runs code that names `cuda` on another device: factories, `.cuda()`, `.to("cuda")` and generators go where they are told."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["elsewhere"]


@contextlib.contextmanager
def elsewhere(device: str) -> Iterator[None]:
    """What is to be made on a GPU is made on `device`; nothing is changed where that is one."""
    if device == "cuda":
        yield
        return
    import torch
    from torch.overrides import TorchFunctionMode

    def moved(value: Any) -> Any:
        named = isinstance(value, (str, torch.device)) and str(value).split(":")[0] == "cuda"
        return torch.device(device) if named else value

    class Redirecting(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if getattr(function, "__name__", "") == "cuda":
                return args[0]
            kwargs = dict(kwargs or {})
            if "device" in kwargs:
                kwargs["device"] = moved(kwargs["device"])
            return function(*(moved(each) for each in args), **kwargs)

    genuine = torch.Generator
    torch.Generator = lambda device="cpu": genuine(moved(device))
    try:
        with Redirecting():
            yield
    finally:
        torch.Generator = genuine
