"""A runner's process as the referee sees it from outside: freezer, clocks, census, memory. Nothing here asks the runner anything.

All facts come from the kernel: pidfd_open(2), the process' CPU-time clock (clock_getcpuclockid(3)), and files of /proc/PID.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from dataclasses import dataclass

__all__ = ["Died", "Memory", "Process", "StillRunning", "readable"]

FREEZE_LIMIT = 2.0
"""Seconds in which a stopped process must have come to rest (longest: one page fault under memory pressure)."""
ENOUGH = 20e-6
"""Seconds after which the stop of a process that cannot be running any more is not waited for."""
NAP = 5e-6
"""Seconds between two looks at a process that is about to stop; needs a timer slack of about 1 ns to be met."""
FUTEX_CALLS = frozenset({"202", "455", "98", "449"})
"""futex (x86-64, generic), futex_wait, futex_waitv: where an idle thread pool sleeps."""


class Died(Exception):
    """The process has ended."""


class StillRunning(Exception):
    """A stopped process would not come to rest."""


def readable(fd: int, patience: float) -> bool:
    """Whether there is something to read within `patience` seconds. Unlike select(2), for descriptors of any number."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(1e3 * patience))


@dataclass(frozen=True, slots=True)
class Memory:
    """private: bytes of anonymous memory resident. shared: bytes of shared memory resident (the slots included). space: address space."""

    private: int
    shared: int
    space: int
    threads: int


class Process:
    """One process, addressed by pidfd, so that a recycled number can never be hit. Raises `Died` from most methods once it is gone."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._clock = (~pid << 3) | 2
        self._fds: list[int] = []
        try:
            self.pidfd = self._keep(os.pidfd_open(pid))
            self._stat = self._keep(os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC))
            self._schedstat = self._keep(os.open(f"/proc/{pid}/schedstat", os.O_RDONLY | os.O_CLOEXEC))
            self._status = self._keep(os.open(f"/proc/{pid}/status", os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            self.close()
            raise Died from error

    def _keep(self, fd: int) -> int:
        self._fds.append(fd)
        return fd

    def signal(self, number: int) -> None:
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError as error:
            raise Died from error

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def stop(self) -> None:
        """Asks every thread to stop. None executes another instruction of its program, unless it is on another core just now."""
        self.signal(signal.SIGSTOP)

    def settle(self, *, same_core: bool) -> None:
        """Returns when all threads of a stopped process are at rest. Raises `StillRunning`, `Died`.

        same_core: the process is confined to the core that the caller is running on. It is then off the core while we look, and the
        pending stop comes before its next instruction; so for a single thread the look ends early when others keep the core busy. It
        does nothing more then, but still waits for the core in order to stop.
        """
        begin = time.monotonic()
        pause = NAP
        while not self.frozen():
            if same_core and time.monotonic() - begin > ENOUGH and self.state()[1] == 1:
                return
            # Sleeping, not yielding: a runner that has just used the core is not "eligible" for it while we only yield, and would
            # reach its stop a whole time slice later.
            time.sleep(pause)
            if time.monotonic() - begin > FREEZE_LIMIT:
                raise StillRunning
            pause = min(2 * pause, 1e-3) if time.monotonic() - begin > 1e-3 else NAP

    def frozen(self) -> bool:
        """Whether every thread is stopped, by the kernel's word."""
        state, threads = self.state()
        if state in ("Z", "X"):
            raise Died
        if state not in ("T", "t"):
            return False
        return threads == 1 or all(found in ("T", "t", "Z", "X") for found in self._task_states().values())

    def state(self) -> tuple[str, int]:
        """(state of the main thread, number of threads)."""
        try:
            text = os.pread(self._stat, 1024, 0)
        except ProcessLookupError as error:
            raise Died from error
        fields = text[text.rindex(b")") + 2 :].split(None, 18)
        return fields[0].decode(), int(fields[17])

    def _task_states(self) -> dict[str, str]:
        found = {}
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{self.pid}/task/{task}/stat", "rb") as file:
                text = file.read(1024)
                found[task] = text[text.rindex(b")") + 2 : text.rindex(b")") + 3].decode()
        return found

    def busy_threads(self) -> int:
        """Threads besides the main one that are neither ending nor asleep in a futex (as an idle pool is). For a frozen process."""
        busy = 0
        for task, state in self._task_states().items():
            if task == str(self.pid) or state in ("Z", "X"):
                continue
            try:
                with open(f"/proc/{self.pid}/task/{task}/syscall", "rb") as file:
                    busy += file.read(256).split(None, 1)[0].decode() not in FUTEX_CALLS
            except FileNotFoundError:
                continue
            except OSError:
                continue  # not ours to see (another user's namespace): the CPU clock still catches what it does
        return busy

    def cpu(self) -> int:
        """Nanoseconds of CPU time of all its threads, ended ones included."""
        try:
            return time.clock_gettime_ns(self._clock)
        except OSError as error:
            raise Died from error

    def waited(self) -> int:
        """Nanoseconds its main thread was ready to run and had no core."""
        try:
            return int(os.pread(self._schedstat, 128, 0).split()[1])
        except (ProcessLookupError, IndexError) as error:
            raise Died from error

    def memory(self) -> Memory:
        try:
            lines = os.pread(self._status, 8192, 0).decode(errors="replace").splitlines()
        except ProcessLookupError as error:
            raise Died from error
        facts = {name: value.split() for name, _, value in (line.partition(":") for line in lines)}

        def kib(name: str) -> int:
            return int(facts[name][0]) << 10 if name in facts else 0

        return Memory(kib("RssAnon") + kib("VmSwap"), kib("RssShmem"), kib("VmSize"), int(facts.get("Threads", ["0"])[0]))

    @property
    def ended(self) -> bool:
        """Whether it has ended (a zombie counts)."""
        return readable(self.pidfd, 0.0)

    def kill(self, patience: float = 5.0) -> bool:
        """Kills it and waits until it is gone; False when it was not within `patience` seconds."""
        with contextlib.suppress(Died):
            self.signal(signal.SIGKILL)
        return readable(self.pidfd, patience)

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
