"""The GPU referee: starts runners, reveals one batch at a time, holds the clock.

A batch is: slots filled and poisoned (runner stopped) → clock starts, runner continued and told → runner says done → the referee gathers
secretly sampled output words with a kernel of its own and waits for it → clock stops → runner stopped. `done` stops nothing: work that
a runner left behind is waited for by the gather, or its absence shows in the sampled words, which must equal what is checked later.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archive.evaluation import Diagnostic, Outcome
from fitness.failure import RefereeError, RunnerFailure
from fitness.gpu import wire
from fitness.gpu.colony import Child, Colony
from fitness.gpu.slots import GpuSlot
from fitness.program import Program
from fitness.sandbox import Sandbox

__all__ = ["Batch", "GpuReferee", "GpuRunner"]

SAMPLED = 4096
"""Output words of a batch that the snapshot takes, whatever the batch's size, so that the snapshot's cost is no part of a slope."""
LOAD_TIMEOUT = 60.0
COMPILING = 600.0
"""Seconds the first call of a compiled baseline may take on a shape."""
LIMITS = {"CORE": 0, "FSIZE": 1 << 30, "NOFILE": 4096, "NPROC": 4096}
_KINDS = {
    "_Denied": (Outcome.REJECTED, "library_call"),
    "OutOfResources": (Outcome.OUT_OF_MEMORY, "shared_memory"),
    "OutOfMemoryError": (Outcome.OUT_OF_MEMORY, "device_memory"),
    "MemoryError": (Outcome.OUT_OF_MEMORY, "memory_limit"),
    "CompilationError": (Outcome.BUILD_ERROR, "compile_error"),
}


@dataclass(frozen=True, slots=True)
class Batch:
    """seconds: from the go to the end of the snapshot, which read `words` at `addresses` (a table for each width in bytes)."""

    seconds: float
    addresses: tuple[Any, ...]
    words: tuple[Any, ...]


class GpuRunner:
    """One program in its own process. Stopped whenever no method of it is running. Methods may raise `RunnerFailure`."""

    def __init__(self, child: Child, program: Program) -> None:
        self._child = child
        self._program = program
        self._attached: dict[int, tuple[int, GpuSlot]] = {}
        self._has_workspace = False

    def load(self) -> None:
        try:
            self._child.greet(LOAD_TIMEOUT)
        except (wire.Closed, TimeoutError) as error:
            raise self._ended("load", error) from error
        entry, _, mode = self._program.entry.partition(":")
        fd = wire.blob(Path(self._program.path).read_bytes())
        try:
            answer = self._ask({"op": "load", "kind": self._program.kind, "entry": entry, "mode": mode}, [fd], LOAD_TIMEOUT, "load")
        finally:
            os.close(fd)
        self._has_workspace = answer.get("workspace") is True
        self._child.freeze()

    def workspace_bytes(self, sizes: Sequence[int], limit: int) -> int:
        """Bytes of workspace the program asks for."""
        if not self._has_workspace:
            return 0
        self._child.thaw()
        needed = self._ask({"op": "size", "sizes": list(sizes)}, [], LOAD_TIMEOUT, "load").get("workspace")
        self._child.freeze()
        if not isinstance(needed, int) or not 0 <= needed <= limit:
            message = f"workspace() asked for {needed!r} bytes; at most {limit} are given."
            raise RunnerFailure(Outcome.OUT_OF_MEMORY, Diagnostic("load", "memory_limit", message))
        return needed

    def attach(self, slot: GpuSlot, workspace: GpuSlot | None = None) -> None:
        """Maps a slot into the runner."""
        if id(slot) in self._attached:
            return
        facts, fds = slot.exported()
        if workspace is not None:
            more, others = workspace.exported()
            facts, fds = facts + more, fds + others
        number = len(self._attached)
        self._child.thaw()
        try:
            self._ask({"op": "attach", "slot": number, "sizes": list(slot.sizes.values()), "buffers": facts}, fds, LOAD_TIMEOUT, "load")
        finally:
            for fd in fds:
                os.close(fd)
        self._child.freeze()
        self._attached[id(slot)] = (number, slot)

    def batch(self, slots: Sequence[GpuSlot], timeout: float, *, stage: str = "verify", deliver: bool = False) -> Batch:
        """One revealed batch of calls on filled and poisoned slots. timeout: seconds for all of it."""
        import torch

        addresses, words, prepared = _sampling(slots)
        message = {"op": "batch", "slots": [self._attached[id(slot)][0] for slot in slots], "deliver": deliver}
        torch.cuda.synchronize()
        start = time.perf_counter()
        self._child.thaw()
        self._ask(message, [], timeout, stage)
        for launch in prepared:
            launch()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        self._child.freeze()
        return Batch(seconds, addresses, words)

    def _ask(self, message: dict[str, Any], fds: list[int], timeout: float, stage: str) -> dict[str, Any]:
        try:
            answer = self._child.ask(message, fds, timeout)
        except TimeoutError as error:
            self.close()
            what = f"The {message['op']} did not end within {timeout:g} s and was killed."
            text = f"{what} Look for an endless loop or a much too slow kernel."
            diagnostic = Diagnostic(stage, "call_timeout", text, {"limit_seconds": timeout})
            raise RunnerFailure(Outcome.TIMEOUT, diagnostic) from error
        except wire.Closed as error:
            raise self._ended(stage, error) from error
        if "error" in answer:
            self.close()
            raise _claimed(answer, stage)
        return answer

    def _ended(self, stage: str, error: Exception) -> RunnerFailure:
        said = self._child.said()
        self.close()
        if isinstance(error, TimeoutError):
            return RunnerFailure(Outcome.INFRASTRUCTURE_ERROR, Diagnostic(stage, "runner_lost", f"The runner did not start. {said}"))
        message = f"The runner's process ended.{' It printed: ' + said[-400:] if said else ''}"
        return RunnerFailure(Outcome.CRASH, Diagnostic(stage, "died", message, {"output": said}))

    def close(self) -> None:
        """Kills the process. Idempotent."""
        self._child.close()


def _claimed(answer: dict[str, Any], stage: str) -> RunnerFailure:
    """A failure by the runner's own word: against itself, so it is believed."""
    text, kind = str(answer["error"]), str(answer.get("kind", ""))
    outcome, reason = _KINDS.get(kind, (Outcome.CRASH, "exception"))
    if "illegal memory access" in text or "misaligned address" in text:
        reason = "illegal_access"
    elif "out of memory" in text and outcome is Outcome.CRASH:
        outcome, reason = Outcome.OUT_OF_MEMORY, "device_memory"
    message = f"The kernel failed: {text}"
    return RunnerFailure(outcome, Diagnostic(stage, reason, message, {"trace": str(answer.get("trace", ""))[-2000:]}))


def _sampling(slots: Sequence[GpuSlot]) -> tuple[tuple[Any, ...], tuple[Any, ...], list[Any]]:
    """Secret addresses among all outputs of a batch, room for their words, and the launches that gather them."""
    import torch

    from fitness.gpu import kernels

    buffers = [buffer for slot in slots for buffer in slot.output_buffers]
    rng = np.random.default_rng(int.from_bytes(os.urandom(16), "little"))
    addresses: dict[int, list[NDArray[np.int64]]] = {}
    for number, buffer in enumerate(buffers):
        width, share = buffer.payload.element_size(), SAMPLED // len(buffers) + (number < SAMPLED % len(buffers))
        places = buffer.address + width * rng.integers(0, buffer.payload.numel(), share)
        addresses.setdefault(min(width, 4), []).append(places)
    tables, words, launches = [], [], []
    for width, found in addresses.items():
        table = torch.from_numpy(np.concatenate(found)).to("cuda")
        out = torch.empty(table.numel(), dtype=torch.int32, device="cuda")
        tables.append((width, table))
        words.append(out)

        def launch(table: Any = table, out: Any = out, width: int = width) -> None:
            kernels.gather[(-(-table.numel() // 256),)](table, out, table.numel(), BYTES=width, BLOCK=256)

        launches.append(launch)
    return tuple(tables), tuple(words), launches


def still_the_same(batch: Batch) -> Any:
    """A device scalar: whether the sampled words are what they were when the clock stopped."""
    import torch

    from fitness.gpu import kernels

    parts = []
    for (width, table), then in zip(batch.addresses, batch.words, strict=True):
        now = torch.empty_like(then)
        kernels.gather[(-(-table.numel() // 256),)](table, now, table.numel(), BYTES=width, BLOCK=256)
        parts.append((now == then).all())
    return torch.stack(parts).all() if parts else torch.ones((), dtype=torch.bool, device="cuda")


def _started(colony: Colony) -> None:
    with contextlib.suppress(RefereeError):  # said again, and heard, when a runner is asked for
        colony.start()


class GpuReferee:
    """Owner of one device's clock. Use from one thread. Raises `fitness.failure.RefereeError`."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._hostile = Colony(sandbox, device=True)
        self._own = Colony(None, device=True)
        for colony in (self._hostile, self._own):  # both at once, while the station measures its ceilings
            threading.Thread(target=_started, args=(colony,), daemon=True).start()

    def load(self, program: Program) -> GpuRunner:
        """Loads the program in a fresh runner. Raises `RunnerFailure` (stage `load`)."""
        colony = self._own if program.kind == "torch" else self._hostile
        runner = GpuRunner(colony.child("run", {} if program.kind == "torch" else LIMITS), program)
        try:
            runner.load()
        except BaseException:
            runner.close()
            raise
        return runner

    def close(self) -> None:
        self._hostile.close()
        self._own.close()


