"""Shared memory for the calls of one shape: one anonymous file per argument, owned by the referee.

Layout of a buffer's mapping, in the referee and in a runner alike (bytes)::

    | guard: one page + stagger | payload (256-byte aligned) | guard: rest of the page + one page |

In a runner an unmapped page lies on either side of it. The stagger keeps arguments from sharing their address modulo 4096, which
would cost every kernel store-to-load aliasing stalls. A runner can map an input only for reading: the file is sealed against new
writable mappings (F_SEAL_FUTURE_WRITE), and the descriptor handed out is read-only.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from archive.evaluation import Diagnostic
from fitness.fingerprint import Fingerprint
from fitness.native import library
from fitness.pages import HUGE, collapse
from fitness.problem import Problem, Sizes

__all__ = ["Buffer", "Slot"]

PAGE = mmap.PAGESIZE
ALIGNMENT = 256
STAGGER = 3 * ALIGNMENT
F_SEAL_FUTURE_WRITE = 0x0010
MADV_POPULATE_WRITE = 23

Role = Literal["input", "output", "workspace"]


class Buffer:
    """One argument's memory: `array` is the referee's own view of the payload."""

    def __init__(self, name: str, role: Role, dtype: str, shape: Sequence[int], *, position: int = 0) -> None:
        self.name = name
        self.role: Role = role
        self.dtype = dtype
        self.shape = tuple(shape)
        self.nbytes = int(np.prod(self.shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        self.offset = PAGE + position * STAGGER % PAGE
        self.length = (self.offset + self.nbytes + PAGE - 1) // PAGE * PAGE + PAGE
        writable_fd = os.memfd_create(f"evo-{role}", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(writable_fd, self.length)
            self._map = mmap.mmap(writable_fd, self.length, flags=mmap.MAP_SHARED, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            if self.length >= HUGE and not collapse(writable_fd, self.length):
                self._map.madvise(mmap.MADV_HUGEPAGE)
            with contextlib.suppress(OSError):  # kernels before 5.14 fault page by page as the buffer is poisoned
                self._map.madvise(MADV_POPULATE_WRITE)
            seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
            if role == "input":
                seals |= F_SEAL_FUTURE_WRITE
            fcntl.fcntl(writable_fd, fcntl.F_ADD_SEALS, seals | fcntl.F_SEAL_SEAL)
            mode = os.O_RDONLY if role == "input" else os.O_RDWR
            self.fd = os.open(f"/proc/self/fd/{writable_fd}", mode | os.O_CLOEXEC)
        finally:
            os.close(writable_fd)
        whole: NDArray[np.uint8] = np.frombuffer(self._map, dtype=np.uint8)
        self._whole = whole
        end = self.offset + self.nbytes
        self._payload = whole[self.offset : end]
        self.array: NDArray[Any] = self._payload.view(np.dtype(dtype)).reshape(self.shape)
        pattern = np.frombuffer(os.urandom(64) * (1 + 2 * PAGE // 64), dtype=np.uint8)
        zones = (whole[: self.offset], whole[end:])
        self._guards = tuple((zone, pattern[: zone.size].copy(), pattern[: zone.size].tobytes()) for zone in zones)
        for zone, expected, _ in self._guards:
            zone[:] = expected
        self.fingerprint = Fingerprint(self._payload)

    def poison(self) -> None:
        """Fills the payload with NaNs (integers: a rare pattern), past the caches: nothing of an earlier call is left."""
        library().poison(self.array)
        self.fingerprint.drop()

    def broken_guard(self) -> tuple[str, int] | None:
        """("before" | "after", distance in bytes of the nearest overwritten guard byte from the payload), or None."""
        for side, (zone, expected, content) in zip(("before", "after"), self._guards, strict=True):
            if zone.tobytes() != content:
                wrong = np.flatnonzero(zone != expected)
                distance = zone.size - int(wrong[-1]) if side == "before" else int(wrong[0]) + 1
                zone[:] = expected
                return side, distance
        return None

    def close(self) -> None:
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        # NumPy views keep the mapping alive; it goes with the last of them.
        self._guards = ()
        del self._whole, self._payload, self.array, self._map, self.fingerprint


class Slot:
    """The arguments of one call on one shape.

    `inputs` and `outputs` are the referee's own views, in ABI order. They may be read and written only while no runner that has the
    slot attached is running, which is always the case between two calls of `Runner.call`.
    """

    def __init__(self, problem: Problem, sizes: Sizes, *, workspace: int = 0) -> None:
        self.sizes: dict[str, int] = {name: int(sizes[name]) for name in problem.sizes}
        self.signature = tuple((a.name, a.dtype, a.shape(self.sizes)) for a in (*problem.inputs, *problem.outputs))
        self._inputs = [Buffer(a.name, "input", a.dtype, a.shape(self.sizes), position=i) for i, a in enumerate(problem.inputs)]
        first = len(self._inputs)
        self._outputs = [Buffer(a.name, "output", a.dtype, a.shape(self.sizes), position=first + i) for i, a in enumerate(problem.outputs)]
        self._workspace: Buffer | None = None
        self.workspace_bytes = 0
        self.fit(workspace)
        self._late: Diagnostic | None = None
        self.pending = False
        """Whether it holds inputs for a call that has not been made."""
        self._written = False
        self.poison()

    def fit(self, workspace: int) -> None:
        """Gives the slot a workspace of so many bytes. Only while no runner has the slot attached."""
        if workspace == self.workspace_bytes:
            return
        if self._workspace is not None:
            self._workspace.close()
            self._workspace = None
        self.workspace_bytes = workspace
        if workspace > 0:
            position = len(self._inputs) + len(self._outputs)
            self._workspace = Buffer("workspace", "workspace", "float32", (-(-workspace // 4),), position=position)
            self._workspace.poison()

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """In ABI order: inputs, outputs, then the workspace where there is one."""
        extra = () if self._workspace is None else (self._workspace,)
        return (*self._inputs, *self._outputs, *extra)

    @property
    def inputs(self) -> tuple[NDArray[Any], ...]:
        return tuple(buffer.array for buffer in self._inputs)

    @property
    def outputs(self) -> tuple[NDArray[Any], ...]:
        return tuple(buffer.array for buffer in self._outputs)

    @property
    def nbytes(self) -> int:
        """Bytes mapped, guards included."""
        return sum(buffer.length for buffer in self.buffers)

    def fill(self, arrays: Sequence[NDArray[Any]] | Mapping[str, NDArray[Any]]) -> None:
        """Copies the inputs in, past the caches (ABI order, or by name). Raises ValueError for a wrong count, shape or dtype."""
        given = [arrays[buffer.name] for buffer in self._inputs] if isinstance(arrays, Mapping) else list(arrays)
        if len(given) != len(self._inputs):
            raise ValueError(f"the slot takes {len(self._inputs)} inputs, got {len(given)}")
        for buffer, array in zip(self._inputs, given, strict=True):
            if array.shape != buffer.shape or array.dtype != buffer.array.dtype:
                raise ValueError(f"{buffer.name}: expected {buffer.dtype}{buffer.shape}, got {array.dtype}{array.shape}")
            if array.flags.c_contiguous:
                library().copy(buffer.array, array)
            else:
                np.copyto(buffer.array, array)
        self.pending = self._written = True

    def poison(self) -> None:
        """Poisons outputs and workspace; notices first whether outputs changed after the call that wrote them (see `late_write`)."""
        self._notice(thoroughly=True)
        for buffer in (*self._outputs, *([self._workspace] if self._workspace else [])):
            buffer.poison()

    @property
    def sampled(self) -> bool:
        """Whether it has outputs so large that `remember` keeps only a sample of them, unless told otherwise."""
        return any(buffer.fingerprint.sampled for buffer in self._outputs)

    def remember(self, *, whole: bool) -> None:
        """Fingerprints the outputs; called by the runner's owner once the call is over and the runner frozen. whole: to the last byte."""
        for buffer in self._outputs:
            buffer.fingerprint.take(whole=whole)

    def _notice(self, *, thoroughly: bool) -> None:
        for buffer in self._outputs:
            if buffer.fingerprint.changed(thoroughly=thoroughly):
                self._late = Diagnostic(
                    "verify",
                    "late_write",
                    f"The output `{buffer.name}` changed after the call that produced it had ended. All writes must be complete when the "
                    "kernel returns; nothing of it may go on afterwards.",
                    {"argument": buffer.name},
                )

    def late_write(self, *, look: bool = True, thoroughly: bool = False) -> Diagnostic | None:
        """The finding, once, when outputs changed between a call's end and now. What a look at a few secret words misses is found when
        the outputs are poisoned for the next call, or thoroughly. look: False only asks for what was found before."""
        if look:
            self._notice(thoroughly=thoroughly)
        found, self._late = self._late, None
        return found

    def guards_broken(self) -> Diagnostic | None:
        """What was overwritten beside an argument, or None. The guards are whole again afterwards."""
        for buffer in self.buffers:
            broken = buffer.broken_guard()
            if broken is not None:
                side, distance = broken
                return Diagnostic(
                    "verify",
                    "guard_zone",
                    f"The kernel wrote {side} the {buffer.role} `{buffer.name}`: {distance} bytes {side} its {buffer.nbytes} bytes "
                    f"({buffer.dtype}{list(buffer.shape)}). Keep every store within the argument's shape; check the loop's last "
                    "(partial) tile.",
                    {"argument": buffer.name, "side": side, "distance_bytes": distance, "shape": list(buffer.shape)},
                )
        return None

    def conceal(self) -> list[NDArray[Any]] | None:
        """Blanks the inputs before another runner maps the slot: neither those to come nor those of an earlier runner (it may get the
        same ones later) are for it to see. Returns those to come, for `reveal`; None where no call is pending."""
        hidden = [buffer.array.copy() for buffer in self._inputs] if self.pending else None
        if self._written:
            for buffer in self._inputs:
                library().blank(buffer.array)
            self.pending = self._written = False
        return hidden

    def reveal(self, hidden: Sequence[NDArray[Any]]) -> None:
        self.fill(hidden)

    def close(self) -> None:
        """Frees the memory as soon as no runner maps it and no view of it is left. Idempotent."""
        for buffer in self.buffers:
            buffer.close()
