"""The GPU referee: starts runners, reveals one batch at a time, holds the clock.

Two ways to time a batch. *Gated* (`fitness.gpu.gate`): the calls are queued behind a gate, the clock runs from its opening to a mark behind
the last call. It takes a process in which no host code of a kernel's author runs: planned kernels and the problem's own baselines.
*Hosted*, for all others: slots filled and poisoned (runner stopped) → clock starts, runner continued and told → runner says done → the
referee gathers secretly sampled output words with a kernel of its own and waits for it → clock stops → runner stopped. `done` stops
nothing: work that a runner left behind is waited for by the gather, or its absence shows in the sampled words, which must equal what is
checked later.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence

from fitness.failure import RefereeError
from fitness.gpu.clock import gate_image
from fitness.gpu.colony import Colony
from fitness.gpu.handle import LIMITS, GpuRunner
from fitness.gpu.planned import LauncherPool, PlannedRunner
from fitness.gpu.slots import GpuSlot
from fitness.null_call import NO_PROTOCOL
from fitness.program import Program
from fitness.sandbox import Sandbox

__all__ = ["GpuReferee"]


def _started(colony: Colony) -> None:
    with contextlib.suppress(RefereeError):  # said again, and heard, when a runner is asked for
        colony.start()


class GpuReferee:
    """Owner of one device's clock. Use from one thread. Raises `fitness.failure.RefereeError`.

    single_use: every program in a process of its own, also where processes hold no host code that a program could leave something in.
    """

    protocol = NO_PROTOCOL
    """Slopes hold nothing of the protocol's own cost."""

    def __init__(self, sandbox: Sandbox, slots: Callable[[], Sequence[GpuSlot]], *, memory: int) -> None:
        """slots: gives those that launchers map ahead of their use. memory: bytes that a hosted kernel may have of torch's allocator."""
        self._slots, self._memory = slots, memory
        self._hostile = Colony(sandbox, device=True)
        self._own = Colony(None, device=True)
        self.single_use = False
        self.secondhand = False
        """Whether the last planned kernel was loaded into a launcher that had served others."""
        for colony in (self._hostile, self._own):  # both at once, while the station measures its ceilings
            threading.Thread(target=_started, args=(colony,), daemon=True).start()
        self._launchers: LauncherPool | None = None

    def launchers(self) -> LauncherPool:
        """Those that are made ahead, from the first call on."""
        if self._launchers is None:
            self._launchers = LauncherPool(self._hostile, gate_image(), LIMITS, self._slots)
        return self._launchers

    def load(self, program: Program) -> GpuRunner:
        """Loads the program in a runner. Raises `RunnerFailure` (stage `load`)."""
        if program.kind == "plan":
            planned = PlannedRunner(self.launchers(), program, fresh=self.single_use)
            self.secondhand = planned.secondhand
            return planned
        trusted = program.kind == "torch"
        runner = GpuRunner((self._own if trusted else self._hostile).child("run", {} if trusted else LIMITS), program)
        try:
            runner.load(gate_image() if trusted else None, None if trusted else self._memory)
        except BaseException:
            runner.close()
            raise
        return runner

    def dismiss(self) -> None:
        """Ends all launchers, and with them their hold on memory that was shared with them."""
        if self._launchers is not None:
            self._launchers.close()
            self._launchers = None

    def close(self) -> None:
        self.dismiss()
        self._hostile.close()
        self._own.close()
