"""A runner in custody: its process, its channels, and the discipline of freezing it whenever nothing was asked of it."""

from __future__ import annotations

import array
import contextlib
import fcntl
import gc
import json
import os
import resource
import select
import socket
import struct
import termios
import time
from dataclasses import dataclass
from typing import Any

from archive.evaluation import Outcome
from fitness import verdicts
from fitness.failure import RunnerFailure
from fitness.listener import Listener
from fitness.nursery import Nursery
from fitness.process import Died, Process, StillRunning
from fitness.program import Program
from fitness.sandbox.seccomp import LOADING
from fitness.slots import Slot

__all__ = ["Call", "Custody", "Terms"]

TICK = 0.010
"""Seconds between two looks at the memory of a running program."""
OFF_CLOCK = 100_000
"""Nanoseconds of CPU time a runner may use beyond wall × threads between `go` and frozen (EVALUATION.md, *Time*)."""
AFTER_DONE = 100_000
"""Nanoseconds of CPU time it may use between `done` and frozen, and while it is frozen."""
PREEMPTED = 50_000
"""Nanoseconds of waiting for the core above which a call counts as disturbed, if they are also over 0.5 % of it."""
FLOOD = 30 << 10
PRIORITY = -15
"""Nice value of the runner, and of the referee during a call, where the user may set one: others on the core then disturb less."""
READ_CONTROL = (1 << 64) - 1
LOADING_CALLS = frozenset(LOADING)


@dataclass(frozen=True, slots=True)
class Terms:
    """What every runner of a referee is held to. memory: bytes beyond the slots."""

    cores: tuple[int, ...]
    threads: int
    memory: int
    load_timeout: float


@dataclass(frozen=True, slots=True)
class Call:
    """One timed call. All figures are the referee's own."""

    seconds: float
    """From `go` to `done`, less the empty call; always positive."""
    wall_seconds: float
    """From `go` to `done` as the clock showed it."""
    cpu_seconds: float
    """CPU time of all the runner's threads from `go` until it was frozen."""
    preempted: bool
    """Whether somebody else had the measuring core for a noticeable part of the call: measure again."""
    waited_seconds: float
    """Time the runner or the referee was ready and had no core."""
    framework_seconds: float
    """Wall time of the whole method beyond the call itself: thaw, freeze, census, clocks."""


class Custody:
    """One runner from its pool to its end. Raises RunnerFailure; the process is dead then."""

    def __init__(self, nursery: Nursery, terms: Terms) -> None:
        self._nursery = nursery
        self._terms = terms
        self._seat = nursery.take()
        try:
            self.process = Process(self._seat.pid)
        except Died:
            self._seat.close()
            raise verdicts.failure(Outcome.INFRASTRUCTURE_ERROR, "load", "runner_lost", "A waiting runner died before it was used.") from None
        self._listener: Listener | None = None
        self._poll = select.poll()
        self._poll.register(self._seat.done, select.POLLIN)
        self._poll.register(self.process.pidfd, select.POLLIN)
        self._poll.register(self._seat.control.fileno(), select.POLLIN)
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, self._seat.pid, PRIORITY)
        self._attached: dict[int, Slot] = {}
        self._numbers: dict[int, int] = {}
        self._mapped = 0
        self._largest = 0
        self._request = 0
        self._loading = True
        self._has_workspace = False
        self._stage = "load"
        self._cpu_at_rest = 0
        self._own_schedstat = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
        self.closed = False

    # -- loading and questions ------------------------------------------------------------------------------------------------

    def load(self, program: Program, *, arguments: int, sizes: int) -> None:
        self._bound_address_space()
        message = {
            "op": "load",
            "kind": program.kind,
            "entry": program.entry,
            "arguments": arguments,
            "sizes": sizes,
            "file": program.path.name,
            "files": program.kind == "python",
            "threads": self._terms.threads,
            "memory": self._terms.memory,
            "cores": list(self._terms.cores),
        }
        fds = [] if program.kind == "null" else [self._copy(program)]
        try:
            self._send(message, fds)
        finally:
            for fd in fds:
                os.close(fd)
        self._take_listener()
        answer = self._answer("load", self._terms.load_timeout)
        if "error" in answer:
            text = str(answer["error"])[:2000]
            reason = "missing_symbol" if "undefined symbol" in text else "load_error"
            self._fail(verdicts.failure(Outcome.CRASH, "load", reason, f"The program could not be loaded: {text}", {"text": text}))
        self._has_workspace = answer.get("workspace") is True
        self._loading = program.kind == "python"
        self._rest()

    def _copy(self, program: Program) -> int:
        """The program's content in an anonymous file: no path of ours is ever seen by the runner."""
        try:
            content = program.path.read_bytes()
        except OSError as error:
            text = f"{program.path}: {error.strerror}"
            self._fail(verdicts.failure(Outcome.INFRASTRUCTURE_ERROR, "load", "artifact_lost", f"The built program cannot be read: {text}."))
        fd = os.memfd_create("program", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with open(fd, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(fd, 0, os.SEEK_SET)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return fd

    def _bound_address_space(self, more: int = 0) -> None:
        """RLIMIT_AS: what it has now, the memory limit, and the slots."""
        self._mapped += more
        try:
            if not more:
                self._space = self.process.memory().space
            # A quarter more than may be resident: the resident size is what is judged, and reserved memory is not used memory.
            limit = self._space + self._mapped + self._terms.memory * 5 // 4 + (64 << 20) * (1 + self._terms.threads)
            resource.prlimit(self.process.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        except (PermissionError, ProcessLookupError, Died):
            return  # the watchdog on the resident size remains

    def workspace_bytes(self, sizes: list[int]) -> int:
        if not self._has_workspace:
            return 0
        answer = self._ask("load", {"op": "size", "sizes": [int(size) for size in sizes]})
        needed = answer.get("workspace")
        if not isinstance(needed, int) or needed < 0:
            raise self._violated("an answer about workspace that is no size")
        if needed > self._terms.memory:
            self._fail(verdicts.out_of_memory("load", needed, self._terms.memory, "asked through workspace() for"))
        return needed

    def attach(self, slot: Slot) -> None:
        if id(slot) in self._numbers:
            return
        hidden = slot.conceal() if slot.filled else None
        number = len(self._numbers)
        buffers = [
            {"role": b.role, "offset": b.offset, "length": b.length, "nbytes": b.nbytes, "dtype": b.dtype, "shape": list(b.shape)}
            for b in slot.buffers
        ]
        self._bound_address_space(more=slot.nbytes)
        self._largest = max(self._largest, *(b.length for b in slot.buffers))
        self._ask("load", {"op": "attach", "slot": number, "sizes": list(slot.sizes.values()), "buffers": buffers}, [b.fd for b in slot.buffers])
        self._numbers[id(slot)] = number
        self._attached[number] = slot  # kept, so that its id stays its own
        if hidden is not None:
            slot.reveal(hidden)
            slot.poison()

    def _ask(self, stage: str, message: dict[str, Any], fds: list[int] | None = None) -> dict[str, Any]:
        self._stage = stage
        self._send(message, fds or [])
        self._write_go(READ_CONTROL)
        self._thaw()
        answer = self._answer(str(message["op"]), self._terms.load_timeout)
        self._rest()
        return answer

    def _send(self, message: dict[str, Any], fds: list[int]) -> None:
        self._request += 1
        data = json.dumps({**message, "id": self._request}).encode()
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._seat.control.sendmsg([data], rights)
        except OSError:
            self._dead()

    def _take_listener(self) -> None:
        """The first message after `load`: sent before anything untrusted runs."""
        control = self._seat.control
        control.settimeout(self._terms.load_timeout)
        try:
            data, ancillary, _flags, _address = control.recvmsg(4096, socket.CMSG_SPACE(12) + socket.CMSG_SPACE(4))
            answer = json.loads(data)
        except (OSError, ValueError):
            self._dead()
        if answer.get("listener"):
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    self._listener = Listener(int.from_bytes(payload[:4], "little"))
                    self._poll.register(self._listener.fd, select.POLLIN)

    def _answer(self, what: str, limit: float) -> dict[str, Any]:
        """The runner's answer to the last request; it is a claim, never a verdict."""
        control = self._seat.control
        self._wait(control.fileno(), limit, what)
        control.setblocking(False)
        try:
            answer = json.loads(control.recv(1 << 16))
        except OSError:
            self._dead()
        except (ValueError, RecursionError):
            raise self._violated("an answer that is not JSON") from None
        if not isinstance(answer, dict) or answer.get("id") != self._request:
            raise self._violated("an answer to another question")
        return answer

    # -- calls ----------------------------------------------------------------------------------------------------------------

    def call(self, slot: Slot, timeout: float, stage: str, null_seconds: float) -> Call:
        begin = time.perf_counter_ns()
        self._stage = stage
        self.attach(slot)
        late = next((found for known in self._attached.values() if (found := known.late_write()) is not None), None)
        if late is not None:
            self._fail(RunnerFailure(Outcome.REJECTED, late))
        self._must_be_silent("before it was asked for anything")
        process = self.process
        collecting = gc.isenabled()
        gc.disable()
        hurried = _hurry(PRIORITY)
        try:
            cpu_start = process.cpu()
            if cpu_start - self._cpu_at_rest > AFTER_DONE:
                raise self._off_clock("while it was frozen", cpu_start - self._cpu_at_rest, AFTER_DONE)
            waited = process.waited() + self._own_wait()
            nonce = self._write_go(self._numbers[id(slot)])
            start = time.perf_counter_ns()
            process.thaw()
            self._wait(self._seat.done, timeout, "call")
            end = time.perf_counter_ns()
            process.stop()
            cpu_done = process.cpu()
            waited = process.waited() + self._own_wait() - waited
            self._settle()
            cpu_end = process.cpu()
        except Died:
            self._dead()
        finally:
            if hurried:
                _hurry(0)
            if collecting:
                gc.enable()
        self._cpu_at_rest = cpu_end
        self._check_word(nonce)
        self._check_work(end - start, cpu_end - cpu_start, cpu_end - cpu_done)
        slot.remember()
        wall = end - start
        return Call(
            seconds=max(1e-9 * wall - null_seconds, 1e-8),
            wall_seconds=1e-9 * wall,
            cpu_seconds=1e-9 * (cpu_end - cpu_start),
            preempted=waited > max(PREEMPTED, wall // 200),
            waited_seconds=1e-9 * waited,
            framework_seconds=1e-9 * (time.perf_counter_ns() - begin - wall),
        )

    def _write_go(self, number: int) -> bytes:
        nonce = os.urandom(8)
        try:
            os.write(self._seat.go, nonce + number.to_bytes(8, "little"))
        except OSError:
            self._dead()
        return nonce

    def _check_word(self, nonce: bytes) -> None:
        """Exactly one word may have been written, and it must be this call's."""
        word = os.read(self._seat.done, 4096)
        if word[: len(nonce)] != nonce:
            raise self._violated(f"a wrong `done` word ({word[:8].hex() or 'nothing'})")
        if len(word) > len(nonce):
            raise self._violated(f"{len(word)} bytes where one `done` word of {len(nonce)} was due")
        self._must_be_silent("after its `done`")
        waiting = struct.unpack("i", fcntl.ioctl(self._seat.output, termios.FIONREAD, b"\0\0\0\0"))[0]
        if waiting > FLOOD:
            message = f"The kernel printed over {FLOOD >> 10} KiB to stdout or stderr. Remove the printing."
            self._fail(verdicts.failure(Outcome.REJECTED, self._stage, "output_flood", message, {"output": self._said()}))

    def _must_be_silent(self, when: str) -> None:
        for fd, _events in self._poll.poll(0):
            if fd == self.process.pidfd:
                self._dead()
            elif fd == self._seat.done and not _readable(fd):
                self._interfered(when)
            elif fd in (self._seat.done, self._seat.control.fileno()):
                raise self._violated(f"an unasked word {when}")

    def _check_work(self, wall: int, cpu: int, after: int) -> None:
        terms = self._terms
        if cpu > wall * terms.threads + OFF_CLOCK:
            raise self._off_clock("in the call", cpu, wall * terms.threads + OFF_CLOCK)
        if after > AFTER_DONE:
            raise self._off_clock("after it had said `done`", after, AFTER_DONE)
        try:
            _, threads = self.process.state()
            if threads == 1:
                return
            busy = self.process.busy_threads() if threads <= terms.threads else threads - 1
        except Died:
            self._dead()
        if busy:
            message = (
                f"{busy} of the kernel's threads outlived the call (it may use {terms.threads} at once). Join every thread before "
                "returning; only an idle pool that sleeps may stay."
            )
            self._fail(verdicts.failure(Outcome.REJECTED, self._stage, "threads_left", message, {"threads": threads, "allowed": terms.threads}))

    # -- waiting --------------------------------------------------------------------------------------------------------------

    def _wait(self, fd: int, limit: float, what: str) -> None:
        """Returns as soon as `fd` can be read. Everything else that can happen raises."""
        poll = self._poll.poll
        events = poll(TICK * 1000)
        if len(events) == 1 and events[0] == (fd, select.POLLIN):
            return
        deadline = time.monotonic() + limit - TICK
        while True:
            ready = dict(events)
            if self._listener is not None and self._listener.fd in ready and ready[self._listener.fd] & select.POLLIN:
                self._judge_attempt()
            elif self.process.pidfd in ready:
                self._dead()
            elif ready.get(fd, 0) & select.POLLIN:
                return
            elif ready.get(fd, 0) or ready.get(self._seat.done, 0) or ready.get(self._seat.control.fileno(), 0):
                self._interfered(f"during the {what}")
            if time.monotonic() > deadline:
                self._fail(verdicts.timed_out(self._stage, what, limit))
            self._watch()
            events = poll(TICK * 1000)

    def _judge_attempt(self) -> None:
        assert self._listener is not None
        attempt = self._listener.receive()
        if attempt is None:
            return
        if self._loading and attempt.name in LOADING_CALLS:
            self._listener.let_through(attempt)
            return
        if attempt.name == "mmap" and attempt.arguments[1] <= self._largest + (1 << 16) and self._stage == "load":
            self._listener.let_through(attempt)
            return
        self._fail(verdicts.forbidden(self._stage, attempt.name, attempt.arguments, self._terms.memory))

    def _interfered(self, when: str) -> None:
        """The channel is closed, or speaks when it should not."""
        if _readable(self._seat.done) or _readable(self._seat.control.fileno()):
            raise self._violated(f"an unasked word {when}")
        self._await_death()
        message = "The kernel closed descriptors that are not its own, among them the runner's channel to the referee."
        self._fail(verdicts.failure(Outcome.REJECTED, self._stage, "channel_closed", message))

    def _watch(self) -> None:
        """The watchdog's look at a running program: resident memory and threads."""
        try:
            memory = self.process.memory()
        except Died:
            return
        used = memory.private + max(0, memory.shared - self._mapped)
        if used > self._terms.memory:
            self._fail(verdicts.out_of_memory(self._stage, used, self._terms.memory, "held"))
        if memory.threads > 64 + 4 * self._terms.threads:
            message = f"The kernel started {memory.threads} threads; it may use {self._terms.threads}."
            self._fail(verdicts.failure(Outcome.REJECTED, self._stage, "thread_bomb", message, {"threads": memory.threads}))

    def _own_wait(self) -> int:
        return int(os.pread(self._own_schedstat, 128, 0).split()[1])

    # -- freezing and ending --------------------------------------------------------------------------------------------------

    def _thaw(self) -> None:
        try:
            self.process.thaw()
        except Died:
            self._dead()

    def _settle(self) -> None:
        try:
            self.process.settle(same_core=len(self._terms.cores) == 1)
        except StillRunning:
            message = "The runner could not be stopped after the call."
            self._fail(verdicts.failure(Outcome.REJECTED, self._stage, "would_not_freeze", message))

    def _rest(self) -> None:
        try:
            self.process.stop()
            self._settle()
            self._cpu_at_rest = self.process.cpu()
        except Died:
            self._dead()

    def _off_clock(self, when: str, used: int, allowed: int) -> RunnerFailure:
        self._end()
        message = (
            f"The kernel worked {when}, off the clock: {used / 1e6:.3f} ms of CPU time where {allowed / 1e6:.3f} ms were possible "
            f"with {self._terms.threads} thread(s). All work must be done between the call and its return."
        )
        details = {"cpu_ns": used, "allowed_ns": allowed, "threads": self._terms.threads}
        return verdicts.failure(Outcome.REJECTED, self._stage, "off_clock_work", message, details)

    def _violated(self, what: str) -> RunnerFailure:
        self._end()
        message = f"The runner's channel was tampered with: the referee found {what}. A kernel has no business with the runner's descriptors."
        return verdicts.failure(Outcome.REJECTED, self._stage, "protocol_violation", message)

    def _await_death(self) -> None:
        """After a channel has closed: a process that ends closes its descriptors first, and may be held up in between."""
        with contextlib.suppress(Died):
            self.process.thaw()
        if select.select([self.process.pidfd], [], [], 0.5)[0]:
            self._dead()

    def _dead(self) -> Any:
        """Raises the failure of a runner whose process is gone (or is, should it still be there, ended now)."""
        gone = bool(select.select([self.process.pidfd], [], [], 1.0)[0])
        if not gone:
            raise self._violated("a channel that is closed")
        ending = self._nursery.ending(self._seat.number)
        self._fail(verdicts.ended(self._stage, ending, self._terms.memory, self._mapped, self._said()))

    def _fail(self, failure: RunnerFailure) -> Any:
        self._end()
        raise failure

    def _said(self) -> str:
        """The last of what the program printed; quoted in diagnostics, believed nowhere."""
        try:
            return os.read(self._seat.output, 1 << 16)[-2000:].decode(errors="replace").strip()
        except OSError:
            return ""

    def _end(self) -> None:
        self.process.kill()

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        self._end()
        self.process.close()
        self._seat.close()
        os.close(self._own_schedstat)
        if self._listener is not None:
            self._listener.close()
        self._attached.clear()


def _readable(fd: int) -> bool:
    """Whether there is something to read; an end of file counts as nothing."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return any(events & select.POLLIN for _fd, events in poll.poll(0))


def _hurry(nice: int) -> bool:
    """Sets the calling thread's nice value; False where that is not allowed."""
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        return False
    return True
