"""Runs of a suite on several devices at once: a process each, with a device and a share of the cores to itself."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from evo.interrupts import interrupts

__all__ = ["Ended", "side_by_side"]

LOOK = 0.3
"""Seconds between two looks at whether Ctrl-C was pressed."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How the process of one run ended; what it printed is in `log`."""

    name: str
    status: int
    log: Path


def side_by_side(names: Sequence[str], devices: Sequence[str], command: Callable[[str], list[str]], folder: Path) -> Iterator[Ended]:
    """Starts `command(name)` for every name, one on each device at a time; yields them as they end.

    The first Ctrl-C (or SIGTERM) is handed on to the processes under way, which end cleanly, and begins no other.

    Args:
        devices: for each, what CUDA_VISIBLE_DEVICES says to its processes.
        folder: receives NAME.log; exists.
    """
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()
    for name in names:
        waiting.put(name)
    ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    under_way: dict[str, subprocess.Popen[bytes]] = {}
    guard, stopped = threading.Lock(), threading.Event()

    def stop() -> None:
        stopped.set()
        with guard:
            for process in under_way.values():
                process.send_signal(signal.SIGINT)

    def work(device: str, cores: list[int]) -> None:
        os.sched_setaffinity(0, cores)  # this thread's, and of what it starts
        while True:
            try:
                name = waiting.get_nowait()
            except queue.Empty:
                return
            log = folder / f"{name}.log"
            with log.open("ab") as output:
                with guard:
                    if stopped.is_set():
                        return
                    # in a session of its own, so that Ctrl-C at the terminal reaches it once: through us
                    process = under_way[name] = subprocess.Popen(
                        command(name), env={**os.environ, "CUDA_VISIBLE_DEVICES": device}, stdin=subprocess.DEVNULL, stdout=output,
                        stderr=subprocess.STDOUT, start_new_session=True,
                    )  # fmt: skip
                status = process.wait()
            with guard:
                del under_way[name]
            ended.put(Ended(name, status, log))

    threads = [threading.Thread(target=work, args=(device, cores)) for device, cores in zip(devices, _shares(len(devices)), strict=True)]
    with interrupts(stop):
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads) or not ended.empty():
            try:
                yield ended.get(timeout=LOOK)
            except queue.Empty:
                continue
    for thread in threads:
        thread.join()


def _shares(count: int) -> list[list[int]]:
    """This process's cores in `count` equal parts; all for everybody where there are too few."""
    cores = sorted(os.sched_getaffinity(0))
    each = len(cores) // count
    return [cores[i * each : (i + 1) * each] for i in range(count)] if each else [cores] * count
