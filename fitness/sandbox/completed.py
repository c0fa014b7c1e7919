"""Runs one command to its end under limits, and bounds what it may say."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fitness.sandbox import cgroup

__all__ = ["Completed", "Limits", "run_limited"]


@dataclass(frozen=True, slots=True)
class Limits:
    """timeout: wall seconds. memory: bytes of address space per process, and where there are control groups of all processes together.
    cpu: seconds per process. output: bytes kept of stdout+stderr; file_size: bytes of one written file. processes: at once, threads
    count, where there are control groups."""

    timeout: float = 60.0
    memory: int = 8 << 30
    cpu: int = 120
    output: int = 256 << 10
    file_size: int = 256 << 20
    processes: int = 256


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended. `output` is stdout and stderr as they came, at most the limit's bytes."""

    returncode: int
    """Negative: minus the number of the signal that ended it."""
    output: bytes
    timed_out: bool
    flooded: bool
    """It said more than the output limit and was stopped for it."""
    seconds: float
    starved: bool = False
    """The memory of its control group was used up, and the kernel of the operating system killed some of it."""

    @property
    def text(self) -> str:
        return self.output.decode(errors="replace")


def _limited(argv: Sequence[str], limits: Limits) -> list[str]:
    """The command under resource limits, set by a shell so that they hold before the command's first instruction.

    Before it becomes the command, the shell leaves a watcher behind that waits for its standard input to end, which only our own end
    brings about, and then kills the whole process group: on every level, at any moment of the start, grandchildren included. A parent
    death signal would miss a parent that dies before the child asks for it, and a compiler driver's own children.
    """
    script = (
        "exec 3<&0 </dev/null; ( exec >/dev/null 2>&1; read _ <&3; kill -9 0 ) & exec 3<&-; "
        f"ulimit -c 0; ulimit -t {limits.cpu}; ulimit -v {limits.memory >> 10}; ulimit -f {max(1, limits.file_size >> 9)}; ulimit -n 1024; "
        'exec "$@"'
    )
    return ["/bin/sh", "-c", script, "sh", *argv]


def run_limited(argv: Sequence[str], limits: Limits, *, env: Mapping[str, str]) -> Completed:
    """Runs `argv` in a session of its own, and in a control group where there are any; when it ends, overruns its time or floods, all of
    it is killed."""
    start = time.monotonic()
    place = cgroup.place()
    with contextlib.ExitStack() as held:
        group = None if place is None else held.enter_context(cgroup.Group(place, memory=limits.memory, processes=limits.processes))
        return _run(cgroup.entering(group, _limited(argv, limits)), limits, env, start, group)


def _run(argv: Sequence[str], limits: Limits, env: Mapping[str, str], start: float, group: cgroup.Group | None) -> Completed:
    process = subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(env),
        cwd="/",
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None
    kept = bytearray()
    timed_out = flooded = False
    try:
        poll = select.poll()
        poll.register(process.stdout, select.POLLIN)
        while True:
            left = limits.timeout - (time.monotonic() - start)
            if left <= 0:
                timed_out = True
                break
            if not poll.poll(left * 1000):
                continue
            data = os.read(process.stdout.fileno(), 1 << 16)
            if not data:
                break
            kept += data
            if len(kept) > limits.output:
                del kept[limits.output :]
                flooded = True
                break
        if not timed_out and not flooded:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.01, limits.timeout - (time.monotonic() - start)))
            timed_out = process.poll() is None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdin.close()
        process.stdout.close()
        process.wait()
    starved = group is not None and group.killed > 0
    return Completed(process.returncode, bytes(kept), timed_out, flooded, time.monotonic() - start, starved)
