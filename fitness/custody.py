"""A runner in custody: its process, its channel, and the discipline of freezing it whenever nothing is asked of it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import time
from collections.abc import Collection, Sequence
from typing import Any

from archive.evaluation import Outcome
from fitness import verdicts
from fitness.call import Call
from fitness.channel import READ_CONTROL, Heard, Tampered
from fitness.failure import RunnerFailure
from fitness.guard import Guard
from fitness.possession import undisturbed
from fitness.program import Program
from fitness.runner import MOST_DESCRIPTORS, ROOM
from fitness.slots import Buffer, Slot

__all__ = ["Custody"]

PREEMPTED = 60_000
"""Nanoseconds of waiting for the core above which a call counts as disturbed, if they are also over 3 % of it: a timer's tick and the
round trip itself stay below, a neighbour's time slice does not."""


class Custody(Guard):
    """One runner from its pool to its end. Raises RunnerFailure; the process is dead then."""

    # -- loading and questions ------------------------------------------------------------------------------------------------

    def load(self, program: Program, *, arguments: int, sizes: int) -> None:
        """Loads the program under the filters. arguments, sizes: how many pointers and how many int64_t its signature has."""
        message = {
            "op": "load",
            "kind": program.kind,
            "entry": program.entry,
            "arguments": arguments,
            "sizes": sizes,
            "file": program.path.name,
        }
        with self._judged("load"):
            os.sched_setaffinity(self.process.pid, self._terms.cores)  # only now: waiting runners must not disturb the measuring core
            self._space = self.process.memory().space
            self._bound_address_space()
            fds = [] if program.kind == "null" else [_copied(program)]
            try:
                self._channel.send(message, fds)
            finally:
                for fd in fds:
                    os.close(fd)
            self._wait(Heard.ANSWER, self._terms.load_timeout, "load")
            answer = self._channel.take_answer()
            if "error" in answer:
                raise verdicts.not_loaded(str(answer["error"]))
            self._has_workspace = answer.get("workspace") is True
            self._loading = self._ours = program.kind == "python"
            self._rest()
            with contextlib.suppress(OSError):
                # A woken batch task does not preempt: the referee gets to its wait before the call begins, so that what it then
                # waits for the core is somebody else's doing.
                os.sched_setscheduler(self.process.pid, os.SCHED_BATCH, os.sched_param(0))

    def _bound_address_space(self) -> None:
        """RLIMIT_AS: what it had, the slots, and the memory limit with a quarter more, for what is reserved and never touched (the
        resident size is what is judged). Where the user may not set it, the watchdog remains."""
        slack = self._terms.memory // 4 + (64 << 20) * (1 + self._terms.threads)
        limit = self._space + self._mapped + self._moats + self._terms.memory + slack
        with contextlib.suppress(PermissionError, ProcessLookupError):
            resource.prlimit(self.process.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))

    def workspace_bytes(self, sizes: list[int]) -> int:
        if not self._has_workspace:
            return 0
        with self._judged("load"):
            needed = self._ask("size", {"sizes": [int(size) for size in sizes]}, []).get("workspace")
            if not isinstance(needed, int) or needed < 0:
                raise Tampered("an answer about workspace that is no size")
            if needed > self._terms.memory:
                raise verdicts.out_of_memory("load", needed, self._terms.memory, "asked through workspace() for")
            return needed

    def attach(self, *slots: Slot) -> None:
        """Maps slots into the runner, empty: inputs that are in one already are taken out for the while. The fewer times it is asked, the
        less it costs."""
        new = [slot for slot in slots if id(slot) not in self._attached]
        while new:
            count = 1
            while count < len(new) and sum(len(slot.buffers) for slot in new[: count + 1]) <= MOST_DESCRIPTORS:
                count += 1
            self._attach(new[:count])
            del new[:count]

    def _attach(self, slots: Sequence[Slot]) -> None:
        self._nothing_revealed(but=slots)
        hidden = [slot.conceal() for slot in slots]
        buffers = [buffer for slot in slots for buffer in slot.buffers]
        self._mapped += sum(slot.nbytes for slot in slots)
        self._moats += ROOM * len(buffers)
        self._largest = max(self._largest, *(buffer.length for buffer in buffers))
        first = len(self._attached)
        question = [_described(number, slot) for number, slot in enumerate(slots, start=first)]
        with self._judged("load"):
            self._bound_address_space()
            answer = self._ask("attach", {"slots": question}, [buffer.fd for buffer in buffers])
            self._note_places(buffers, answer.get("addresses"))
        for number, slot in enumerate(slots, start=first):
            self._attached[id(slot)] = (number, slot)  # the slot is kept, so that its id stays its own
        for slot, inputs in zip(slots, hidden, strict=True):
            if inputs is not None:
                slot.reveal(inputs)
                slot.poison()

    def _note_places(self, buffers: Sequence[Buffer], addresses: object) -> None:
        """Where the runner says it mapped the arguments; only ever used to word a message."""
        if isinstance(addresses, list) and len(addresses) == len(buffers) and all(isinstance(a, int) for a in addresses):
            places = [(f"{b.role} `{b.name}`", a, b.nbytes) for b, a in zip(buffers, addresses, strict=True)]
            self._places = [*places, *self._places][:64]

    def _ask(self, what: str, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
        self._nothing_revealed()
        self._channel.send({"op": what, **message}, fds)
        self._channel.go(READ_CONTROL)
        self._frozen = False
        self.process.thaw()
        self._wait(Heard.ANSWER, self._terms.load_timeout, what)
        answer = self._channel.take_answer()
        self._rest()
        return answer

    def _nothing_revealed(self, but: Collection[Slot] = ()) -> None:
        """A thawed runner sees every slot it has attached: none but the one it is called with may hold inputs to come."""
        for _number, slot in self._attached.values():
            if slot.pending and slot not in but:
                raise ValueError("a slot was filled ahead of its call; fill one slot, call with it, then fill the next")

    # -- calls ----------------------------------------------------------------------------------------------------------------

    def call(self, slot: Slot, timeout: float, stage: str) -> Call:
        """One call; its `seconds` still hold what the protocol takes."""
        begin = time.perf_counter_ns()
        self.attach(slot)
        self._nothing_revealed(but=(slot,))
        process, channel = self.process, self._channel
        number = self._attached[id(slot)][0]
        slot.pending = False
        self._calls += 1
        with self._judged(stage), undisturbed():
            for _number, known in self._attached.values():
                late = known.late_write(look=known is self._latest)
                if late is not None:
                    raise RunnerFailure(Outcome.REJECTED, late)
            self._must_be_silent("before it was asked for anything")
            cpu_start = process.cpu()
            spoilt = self._strike("while it was frozen", cpu_start - self._cpu_at_rest)
            waited = process.waited() + self._own_wait()
            nonce = channel.go(number)
            self._frozen = False
            start = time.perf_counter_ns()
            process.thaw()
            self._wait(Heard.DONE, timeout, "call")
            end = time.perf_counter_ns()
            process.stop()
            cpu_done = process.cpu()
            waited = process.waited() + self._own_wait() - waited
            self._settle()
            self._frozen = True
            cpu_end = self._cpu_at_rest = process.cpu()
            channel.take_done(nonce)
            self._must_be_silent("after its `done`")
            spoilt |= self._strike("after it had said `done`", cpu_end - cpu_done)
            self._check_work(end - start, cpu_done - cpu_start)
        if not self._ours:
            slot.remember(whole=not self._nursery.seccomp or (slot.sampled and self._vigil.close_look()))
            self._latest = slot
        wall = end - start
        if len(self._terms.cores) == 1:
            # What it waited since the last call in order to stop is in that figure too; in the call it cannot have waited longer than it
            # did not run.
            waited = min(waited, max(0, wall - (cpu_done - cpu_start)))
        return Call(
            seconds=1e-9 * wall,
            wall_seconds=1e-9 * wall,
            uncertainty=0.0,
            cpu_seconds=1e-9 * (cpu_end - cpu_start),
            preempted=spoilt or waited > max(PREEMPTED, wall * 3 // 100),
            waited_seconds=1e-9 * waited,
            framework_seconds=1e-9 * (time.perf_counter_ns() - begin - wall),
        )


def _described(number: int, slot: Slot) -> dict[str, Any]:
    """What a runner is told of a slot; it maps the buffers' descriptors in their order."""
    buffers = [
        {"role": b.role, "offset": b.offset, "length": b.length, "nbytes": b.nbytes, "dtype": b.dtype, "shape": list(b.shape)}
        for b in slot.buffers
    ]
    return {"slot": number, "sizes": list(slot.sizes.values()), "buffers": buffers}


def _copied(program: Program) -> int:
    """The program's content in a sealed anonymous file: no path of ours is ever seen by the runner."""
    try:
        content = program.path.read_bytes()
    except OSError as error:
        raise verdicts.artifact_lost(f"{program.path}: {error.strerror}") from error
    fd = os.memfd_create("program", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    os.lseek(fd, 0, os.SEEK_SET)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd
