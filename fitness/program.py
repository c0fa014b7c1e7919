"""What a runner loads: a built native library, or a function of a Python file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Kind", "Program"]

Kind = Literal["native", "python", "null", "plan", "triton", "cuda", "torch", "module"]


@dataclass(frozen=True, slots=True)
class Program:
    """A loadable program and the name of its entry point. Picklable.

    - `native`: `path` is a shared library that exports `extern "C" void ENTRY(in…, out…, void* workspace, int64_t sizes…)` and,
      optionally, `extern "C" size_t workspace(int64_t sizes…)` in bytes. Its content is copied when it is loaded; the sandbox never
      sees the path.
      Nothing else that it exports is called, no `prepare(weights…)` either: weights are as fresh in every call as all other arguments,
      and what is computed of them is computed within the clock.
    - `python`: `path` is a Python file with `def ENTRY(in…, out…)` on NumPy arrays that are views of the shared memory. Baselines are
      such programs; they are the problem author's own and may read files that the sandbox shows.
    - `plan`: machine code and the launches of it that make up a call, for `fitness.gpu.launcher`; no host code of the kernel's author.
    - `triton`, `cuda`: a GPU kernel as its target built it, host code included; `torch`: a function of a Python file on torch tensors that
      returns its outputs (`entry` is `FUNCTION:MODE`). Loaded by `fitness.gpu.runner` alone.
    - `module`: a Python file in the shape of others (`ModelNew`, `custom_kernel`), host code included; see `fitness.gpu.module`.
    - `null`: the empty call, by which the cost of the protocol itself is measured.
    """

    kind: Kind
    path: Path = Path()
    entry: str = "kernel"
    setting: str = ""
    """JSON for `fitness.gpu.module`, of a `module` and of a `torch` baseline that is one; empty for all others."""
