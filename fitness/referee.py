"""The referee: starts runners, reveals one call at a time, holds the clock, and says how each call ended.

One law (see `fitness.runner`): no verdict travels through anything a runner can write. A call is

    slot filled and poisoned (runner frozen) → `go` written → clock starts, runner thawed → `done` read, clock stops → runner frozen

and only between two calls, with every thread of the runner stopped, does anybody look at the slot. Referee and runner share the measuring
core: a round trip there costs less and varies less than across cores (experiments/results/referee.md), and a runner that goes on working
after `done` delays the referee's own clock.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace

from fitness.call import Call, Terms
from fitness.custody import Custody
from fitness.failure import RefereeError, RunnerFailure
from fitness.null_call import NO_PROTOCOL, NullCall, Protocol
from fitness.nursery import Nursery
from fitness.problem import Problem, Sizes
from fitness.program import Program
from fitness.sandbox import Sandbox, choose
from fitness.slots import Slot

__all__ = ["Call", "Referee", "RefereeError", "Runner", "RunnerFailure"]


class Runner:
    """One program in its own single-use process. Frozen whenever no method of it is running.

    Every method may raise `RunnerFailure`; the process is dead then, and `close` remains to be called. Not thread-safe.
    """

    def __init__(self, custody: Custody, null: NullCall | None) -> None:
        self._custody = custody
        self._null = null

    @property
    def null_seconds(self) -> float:
        """Seconds that the empty call takes by the same protocol; already subtracted from `Call.seconds`."""
        return 0.0 if self._null is None else self._null.protocol.seconds

    @property
    def pid(self) -> int:
        return self._custody.process.pid

    def workspace_bytes(self, sizes: Sizes) -> int:
        """Bytes of workspace that the program asks for; 0 where it exports no `workspace`. At most the memory limit."""
        return self._custody.workspace_bytes(list(sizes.values()))

    def attach(self, *slots: Slot) -> None:
        """Maps slots into the runner. Done by `call` where it was not done before; do it ahead where that matters (before `Slot.fill`,
        else the inputs have to be hidden and copied back, lest the runner sees them before its clock starts)."""
        self._custody.attach(*slots)

    def call(self, slot: Slot, timeout: float, *, stage: str = "verify") -> Call:
        """One call of the program on the slot. timeout: seconds. stage: for the diagnostic of a failure.

        Afterwards the runner is frozen and the slot may be read. Checks left to the caller: the outputs' values, `Slot.guards_broken`.
        """
        call = self._custody.call(slot, timeout, stage)
        protocol = NO_PROTOCOL if self._null is None else self._null.beside(call.wall_seconds)
        return replace(call, seconds=protocol.net(call.wall_seconds), uncertainty=protocol.uncertainty)

    def close(self) -> None:
        """Kills the process and waits until it is gone. Idempotent."""
        self._custody.close()


def flavour_of(program: Program) -> str:
    """Which zygote its runner is forked from: a baseline is named after the package it needs; `null` names its flavour."""
    if program.kind != "python":
        return "native" if program.kind == "native" else program.entry
    return program.entry if importlib.util.find_spec(program.entry) is not None else "numpy"


class Referee:
    """Owner of the measuring core's clock. Use from one thread, which is on `core` during calls and free between them.

    core: the measuring core; None takes the last one allowed. threads: how many threads a program may run at once. memory: bytes a
    runner may hold beyond the slots. cpu_seconds: CPU time of one native runner in its life. load_timeout: seconds. pool: runners kept
    forked ahead. Raises `RefereeError`, `SandboxError`.
    """

    def __init__(
        self,
        *,
        core: int | None = None,
        threads: int = 1,
        sandbox: Sandbox | None = None,
        memory: int = 4 << 30,
        cpu_seconds: int = 3600,
        load_timeout: float = 10.0,
        pool: int = 2,
    ) -> None:
        self.sandbox = sandbox or choose()
        self._affinity = os.sched_getaffinity(0)
        self.core = max(self._affinity) if core is None else core
        if self.core not in self._affinity:
            raise RefereeError(f"core: found {core}; expected one of {sorted(self._affinity)}, which this process may use.")
        others = sorted(self._affinity - {self.core})
        self._others = others or [self.core]
        cores = [self.core, *others[: threads - 1]]
        self.terms = Terms(cores=tuple(cores), others=tuple(self._others), threads=threads, memory=memory, load_timeout=load_timeout)
        self._limits = {"CORE": 0, "FSIZE": 0, "NOFILE": 256, "MEMLOCK": 0, "MSGQUEUE": 0, "NICE": 0, "RTPRIO": 0}
        self._cpu_seconds = cpu_seconds
        self._pool = pool
        self._nurseries: dict[str, Nursery] = {}
        self._null: dict[str, tuple[NullCall, Runner, Slot]] = {}
        self._custodies: list[Custody] = []

    def load(self, program: Program, problem: Problem) -> Runner:
        """Loads the program in a fresh runner: dlopen, constructors and symbol look-up happen there, under the filters.

        Raises `RunnerFailure` (stage `load`).
        """
        flavour = flavour_of(program)
        null = self._null_call(flavour, problem) if program.kind != "null" else None
        nursery = self._nursery(flavour)
        custody = Custody(nursery, self.terms)
        try:
            custody.load(program, arguments=len(problem.inputs) + len(problem.outputs), sizes=len(problem.sizes))
        except BaseException:
            custody.close()
            raise
        finally:
            nursery.replenish()
        self._custodies = [known for known in self._custodies if not known.closed]
        self._custodies.append(custody)
        return Runner(custody, null)

    def _nursery(self, flavour: str) -> Nursery:
        nursery = self._nurseries.get(flavour)
        if nursery is None:
            # A baseline is ours and may serve a whole search; every one of its calls still has its time limit.
            limits = self._limits if flavour != "native" else {**self._limits, "CPU": self._cpu_seconds}
            nursery = self._nurseries[flavour] = Nursery(self.sandbox, flavour, terms=self.terms, limits=limits, size=self._pool)
        nursery.start()
        return nursery

    def _null_call(self, flavour: str, problem: Problem) -> NullCall:
        """The empty call of one flavour, by the very path that programs take."""
        null, *_ = self._null.get(flavour, (None,))
        if null is not None and null.alive:
            return null
        self._forget_null(flavour)
        runner = self.load(Program("null", entry=flavour), problem)
        slot = Slot(problem, problem.small_shapes[0])
        self._null[flavour] = made = NullCall(lambda: runner.call(slot, 10.0, stage="load").wall_seconds), runner, slot
        return made[0]

    def _forget_null(self, flavour: str) -> None:
        if flavour in self._null:
            _null, runner, slot = self._null.pop(flavour)
            runner.close()
            slot.close()

    @property
    def protocol(self) -> Protocol:
        """What the protocol takes in a call of a native program, by its latest empty calls."""
        return self._null["native"][0].protocol if "native" in self._null else NO_PROTOCOL

    def trial(self) -> tuple[bool, bool]:
        """Starts a runner of either kind. Returns what this system grants them: (a seccomp filter, one that names the refused call).

        Raises `RefereeError`, `RunnerFailure`.
        """
        for flavour in ("native", "numpy"):
            nursery = self._nursery(flavour)
            seat = nursery.take()
            seat.close()
        return nursery.seccomp, nursery.listener

    def close(self) -> None:
        """Ends every runner and zygote. Idempotent."""
        for flavour in list(self._null):
            self._forget_null(flavour)
        for custody in self._custodies:
            custody.close()
        self._custodies.clear()
        for nursery in self._nurseries.values():
            nursery.close()
        self._nurseries.clear()

    def __enter__(self) -> Referee:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
