"""Planned kernels as the referee holds them: loaded into launchers that are ready beforehand and serve several kernels in turn.

A launcher (`fitness.gpu.launcher`) runs no host code of a kernel's author, so what one kernel could leave behind for the next is only what
its device code wrote: outputs and workspaces are poisoned, inputs and guards compared, before and after every call. It is thrown away after
LIVES kernels and at the first that fails; a kernel that crashes in a used launcher is tried again in a fresh one before it is blamed
(`fitness.gpu.evaluator`), and certifications take a fresh launcher for every process.
"""

from __future__ import annotations

import contextlib
import json
import os
import tarfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from archive.evaluation import Diagnostic, Outcome
from fitness.failure import RunnerFailure
from fitness.gpu import driver, wire
from fitness.gpu.clock import Clock
from fitness.gpu.colony import Child, Colony
from fitness.gpu.handle import LOAD_TIMEOUT, Batch, GpuRunner
from fitness.gpu.slots import GpuSlot
from fitness.program import Program

__all__ = ["LIVES", "LauncherPool", "PlannedRunner"]

LIVES = 4
"""Kernels that one launcher serves at most: with one, making launchers is what a search waits for (experiments/results/h200_second.md)."""
SPARES = 4
"""Launchers that are made ahead."""


class Launcher:
    """A launcher's process: an open context, a gate, and the slots it has mapped."""

    def __init__(self, child: Child, image: bytes) -> None:
        self.child = child
        self.attached: dict[int, tuple[int, GpuSlot]] = {}
        self.served = 0
        self.clock: Clock | None = Clock()
        self.no_gate = ""
        child.greet(LOAD_TIMEOUT)
        fds = [os.dup(self.clock.page_fd), wire.blob(image)]
        try:
            answer = child.ask({"op": "open", "gate": True}, fds, LOAD_TIMEOUT)
        finally:
            for fd in fds:
                os.close(fd)
        if "error" in answer:
            raise wire.Closed(str(answer["error"]))
        if not answer.get("gate"):
            self.no_gate = str(answer.get("why", ""))
            self.clock = None

    def attach(self, slots: Sequence[GpuSlot]) -> None:
        """Maps slots ahead of their use. Raises `wire.Closed`, TimeoutError, `driver.CudaError`."""
        driver.context()  # of this thread
        for slot in slots:
            facts, fds = slot.exported()
            number = len(self.attached)
            try:
                answer = self.child.ask({"op": "attach", "slot": number, "buffers": facts}, fds, LOAD_TIMEOUT)
            finally:
                for fd in fds:
                    os.close(fd)
            if "error" in answer:
                raise wire.Closed(str(answer["error"]))
            self.attached[id(slot)] = (number, slot)

    def close(self) -> None:
        self.child.close()
        if self.clock is not None:
            self.clock.close()


class LauncherPool:
    """Launchers made ahead in the background, with all slots mapped that there are by then. Thread-safe.

    slots: gives those slots.
    """

    def __init__(self, colony: Colony, image: bytes, limits: dict[str, int], slots: Callable[[], Sequence[GpuSlot]]) -> None:
        self._colony, self._image, self._limits, self._slots = colony, image, limits, slots
        self._lock = threading.Lock()
        self._used: list[Launcher] = []
        self._coming: list[Future[Launcher]] = []
        self._closed = False
        self._replenish()

    def take(self, *, fresh: bool) -> Launcher:
        """A launcher, a used one unless `fresh`. Raises `RunnerFailure` when none can be had."""
        with self._lock:
            if self._used and not fresh:
                return self._used.pop()
            coming = self._coming.pop(0)
        self._replenish()
        try:
            return coming.result(LOAD_TIMEOUT)
        except Exception as error:
            message = f"A launcher could not be started: {type(error).__name__}: {error}"
            raise RunnerFailure(Outcome.INFRASTRUCTURE_ERROR, Diagnostic("load", "runner_lost", message)) from error

    def give_back(self, launcher: Launcher) -> None:
        """For the next kernel, as long as it has lives left."""
        with self._lock:
            if launcher.served < LIVES and not self._closed:
                self._used.append(launcher)
                return
        launcher.close()

    def _replenish(self) -> None:
        with self._lock:
            wanted = 0 if self._closed else max(0, SPARES - len(self._coming))
            for _ in range(wanted):
                future: Future[Launcher] = Future()
                self._coming.append(future)
                threading.Thread(target=self._make, args=(future,), daemon=True).start()

    def _make(self, future: Future[Launcher]) -> None:
        try:
            child = self._colony.child("launch", self._limits)
        except Exception as error:
            future.set_exception(error)
            return
        try:
            launcher = Launcher(child, self._image)
            launcher.attach(self._slots())
        except Exception as error:
            error.add_note(child.said())
            child.close()
            future.set_exception(error)
            return
        future.set_result(launcher)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            used, self._used = self._used, []
            coming, self._coming = self._coming, []
        for launcher in used:
            launcher.close()
        for future in coming:
            with contextlib.suppress(Exception):
                future.result(LOAD_TIMEOUT).close()


class PlannedRunner(GpuRunner):
    """One planned kernel in a launcher."""

    def __init__(self, pool: LauncherPool, program: Program, *, fresh: bool) -> None:
        self._pool = pool
        self._launcher = pool.take(fresh=fresh)
        super().__init__(self._launcher.child, program)
        self.secondhand = self._launcher.served > 0
        self._launcher.served += 1
        self._attached = self._launcher.attached
        self._clock = self._launcher.clock
        self._bound: GpuSlot | None = None
        self._healthy = False
        with tarfile.open(program.path) as tar:
            member = tar.extractfile("plan.json")
            assert member is not None
            self._cases = {tuple(case["sizes"]): (number, case["workspace"]) for number, case in enumerate(json.load(member)["cases"])}
        fd = wire.blob(Path(program.path).read_bytes())
        try:
            self._ask({"op": "load"}, [fd], LOAD_TIMEOUT, "load")
        finally:
            os.close(fd)
        self._healthy = True

    def _case(self, sizes: Sequence[int]) -> tuple[int, int]:
        """(number of the plan's case, bytes of workspace)."""
        found = self._cases.get(tuple(sizes))
        if found is None:
            message = f"The kernel was built for sizes {sorted(self._cases)}, and is to be called with {tuple(sizes)}."
            raise RunnerFailure(Outcome.INFRASTRUCTURE_ERROR, Diagnostic("load", "not_built_for_shape", message))
        return found

    def workspace_bytes(self, sizes: Sequence[int], limit: int) -> int:
        needed = self._case(sizes)[1]
        if not 0 <= needed <= limit:
            message = f"workspace() asked for {needed} bytes; at most {limit} are given."
            raise RunnerFailure(Outcome.OUT_OF_MEMORY, Diagnostic("load", "memory_limit", message))
        return needed

    def attach(self, slot: GpuSlot, workspace: GpuSlot | None = None) -> None:
        """Maps a slot into the launcher, for good, and the workspace, until another one is wanted."""
        if id(slot) not in self._attached:
            number = len(self._attached)
            facts, fds = slot.exported()
            self._mapped({"op": "attach", "slot": number, "buffers": facts}, fds)
            self._attached[id(slot)] = (number, slot)
        if workspace is not self._bound:
            facts, fds = ([{}], []) if workspace is None else workspace.exported()
            self._mapped({"op": "bind", **facts[0]}, fds)
            self._bound = workspace

    def _mapped(self, message: dict[str, Any], fds: list[int]) -> None:
        try:
            self._ask(message, fds, LOAD_TIMEOUT, "load")
        finally:
            for fd in fds:
                os.close(fd)

    def _message(self, slots: Sequence[GpuSlot]) -> dict[str, Any]:
        case = self._case(list(slots[0].sizes.values()))[0]
        return {"op": "batch", "case": case, "slots": [self._attached[id(slot)][0] for slot in slots], "serial": None}

    def batch(self, slots: Sequence[GpuSlot], timeout: float, *, stage: str = "verify", deliver: bool = False) -> Batch:
        """Without the gate: what takes part is not timed, or cannot be timed better here."""
        import torch

        torch.cuda.synchronize()
        start = time.perf_counter()
        self._ask(self._message(slots), [], timeout, stage)
        return Batch(time.perf_counter() - start)

    def timed(self, slots: Sequence[GpuSlot], timeout: float) -> Batch:
        import torch

        torch.cuda.synchronize()
        return self._gated(self._message(slots), timeout)

    def close(self) -> None:
        """Gives the launcher back. Idempotent."""
        if self._healthy:
            with contextlib.suppress(RunnerFailure):
                self._ask({"op": "unload"}, [], LOAD_TIMEOUT, "load")
                self._healthy = False
                self._pool.give_back(self._launcher)

    def kill(self) -> None:
        """Ends the launcher with its kernel, which failed or did what it may not."""
        self._healthy = False
        self._launcher.close()
