"""A GPU runner as the referee holds it: what it is asked, for how long it is waited for, and what its end means."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archive.evaluation import Diagnostic, Outcome
from fitness.failure import RunnerFailure
from fitness.gpu import wire
from fitness.gpu.clock import Claim, Clock
from fitness.gpu.colony import Child
from fitness.gpu.slots import GpuSlot
from fitness.program import Program

__all__ = ["LIMITS", "Batch", "GpuRunner", "still_the_same"]

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
_ILLEGAL = ("illegal memory access", "misaligned address", "invalid program counter", "out-of-range shared or local address")


@dataclass(frozen=True, slots=True)
class Batch:
    """seconds: from the go to the end of the snapshot, which read `words` at `addresses` (a table for each width in bytes; none where
    the mark ended it)."""

    seconds: float
    addresses: tuple[Any, ...] = ()
    words: tuple[Any, ...] = ()


class GpuRunner:
    """One program in its own process. Stopped whenever no method of it is running. Methods may raise `RunnerFailure`."""

    def __init__(self, child: Child, program: Program) -> None:
        self._child = child
        self._program = program
        self._attached: dict[int, tuple[int, GpuSlot]] = {}
        self._has_workspace = False
        self._clock: Clock | None = None

    @property
    def gated(self) -> bool:
        """Whether its batches can be timed behind the gate."""
        return self._clock is not None

    def load(self, image: bytes | None = None, memory: int | None = None) -> None:
        """image: the gate, for programs that may be timed by it. memory: bytes that it may have of torch's allocator."""
        try:
            self._child.greet(LOAD_TIMEOUT)
        except (wire.Closed, TimeoutError) as error:
            raise self._ended("load", error) from error
        entry, _, mode = self._program.entry.partition(":")
        fds = [wire.blob(Path(self._program.path).read_bytes())]
        clock = None if image is None else Clock()
        if clock is not None and image is not None:
            fds += [os.dup(clock.page_fd), wire.blob(image)]
        try:
            message: dict[str, Any] = {
                "op": "load",
                "kind": self._program.kind,
                "entry": entry,
                "mode": mode,
                "gate": clock is not None,
                "memory": memory,
            }
            message["setting"] = self._program.setting
            answer = self._ask(message, fds, LOAD_TIMEOUT, "load")
        finally:
            for fd in fds:
                os.close(fd)
        self._has_workspace = answer.get("workspace") is True
        self._clock = clock if answer.get("gate") is True else None
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
        message: dict[str, Any] = {"op": "batch", "slots": [self._attached[id(slot)][0] for slot in slots], "deliver": deliver}
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

    def timed(self, slots: Sequence[GpuSlot], timeout: float) -> Batch:
        """One batch behind the gate. Raises `Expired` where the program cannot be queued behind one."""
        assert self._clock is not None
        self._child.thaw()
        batch = self._gated({"op": "batch", "slots": [self._attached[id(slot)][0] for slot in slots], "deliver": False}, timeout)
        self._child.freeze()
        return batch

    def _gated(self, message: dict[str, Any], timeout: float) -> Batch:
        assert self._clock is not None
        try:
            return Batch(self._clock.batch(self._child, message, timeout))
        except TimeoutError as error:
            raise self._late(message["op"], timeout, "time") from error
        except wire.Closed as error:
            raise self._ended("time", error) from error
        except Claim as claim:
            self.kill()
            raise _claimed(claim.answer, "time") from claim

    def _late(self, what: str, timeout: float, stage: str) -> RunnerFailure:
        self.kill()
        text = f"The {what} did not end within {timeout:g} s and was killed. Look for an endless loop or a much too slow kernel."
        return RunnerFailure(Outcome.TIMEOUT, Diagnostic(stage, "call_timeout", text, {"limit_seconds": timeout}))

    def _ask(self, message: dict[str, Any], fds: list[int], timeout: float, stage: str) -> dict[str, Any]:
        try:
            answer = self._child.ask(message, fds, timeout)
        except TimeoutError as error:
            raise self._late(message["op"], timeout, stage) from error
        except wire.Closed as error:
            raise self._ended(stage, error) from error
        if "error" in answer:
            self.kill()
            raise _claimed(answer, stage)
        return answer

    def _ended(self, stage: str, error: Exception) -> RunnerFailure:
        said = self._child.said()
        self.kill()
        if isinstance(error, TimeoutError):
            return RunnerFailure(Outcome.INFRASTRUCTURE_ERROR, Diagnostic(stage, "runner_lost", f"The runner did not start. {said}"))
        message = f"The runner's process ended.{' It printed: ' + said[-400:] if said else ''}"
        return RunnerFailure(Outcome.CRASH, Diagnostic(stage, "died", message, {"output": said}))

    def close(self) -> None:
        """Ends the process. Idempotent."""
        self.kill()

    def kill(self) -> None:
        """Ends the process, whatever it is doing. Idempotent."""
        self._child.close()
        if self._clock is not None:
            self._clock.close()


def _claimed(answer: dict[str, Any], stage: str) -> RunnerFailure:
    """A failure by the runner's own word: against itself, so it is believed."""
    text, kind = str(answer["error"]), str(answer.get("kind", ""))
    outcome, reason = _KINDS.get(kind, (Outcome.CRASH, "exception"))
    if any(known in text for known in _ILLEGAL):
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
