"""The referee's clock for batches behind a gate (`fitness.gpu.gate`): opens it, watches for the mark, reads the time at both."""

from __future__ import annotations

import functools
import select
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from fitness.failure import RefereeError
from fitness.gpu import wire
from fitness.gpu.colony import Child, packages_folder
from fitness.gpu.device import find_gpu
from fitness.gpu.gate import PTX, Page

__all__ = ["Claim", "Clock", "Expired", "gate_image"]

BETWEEN_LOOKS = 2000
"""Looks at the page between two looks at the socket, where a failure would be said."""
ARMING = 30.0
"""Seconds within which a batch has to be queued and its gate to run."""


class Expired(Exception):
    """The gate opened by itself: the program waited for the device while it queued its calls."""


class Claim(Exception):
    """The runner says that it failed."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(str(answer.get("error")))
        self.answer = answer


@functools.cache
def gate_image() -> bytes:
    """The gate as machine code of this device, by the assembler that comes with triton. Raises `RefereeError`."""
    gpu = find_gpu()
    if gpu is None:
        raise RefereeError("There is no GPU to make a gate for.")
    tool = Path(packages_folder()) / "triton/backends/nvidia/bin/ptxas"
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "gate.ptx", Path(folder) / "gate.cubin"
        source.write_text(PTX)
        done = subprocess.run([tool, f"-arch={gpu.architecture}", source, "-o", made], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RefereeError(f"{tool} refused the gate: {done.stderr.strip()[-500:]}")
        return made.read_bytes()


class Clock:
    """One runner's page and the count of its batches."""

    def __init__(self) -> None:
        self._page = Page()
        self._serial = 0
        self.seconds = 0.0
        """Of the last batch."""
        self.device_seconds = 0.0
        """The same by the device's timer: recorded, never decisive."""

    @property
    def page_fd(self) -> int:
        assert self._page.fd is not None
        return self._page.fd

    def batch(self, child: Child, message: dict[str, Any], timeout: float) -> float:
        """Seconds from the gate's opening to the mark of one batch, which `message` asks for.

        Raises `Expired`, `Claim`, `wire.Closed`, and TimeoutError when the batch did not end within `timeout` seconds.
        """
        self._serial += 1
        serial, page = self._serial, self._page
        wire.send(child.channel, message | {"serial": serial})
        answer = child.answer(ARMING)[0]
        if "error" in answer:
            raise Claim(answer)
        deadline = time.perf_counter() + ARMING
        while not page.present(serial):
            if time.perf_counter() > deadline:
                raise TimeoutError
        ready = select.poll()
        ready.register(child.channel.fileno(), select.POLLIN)
        looks, start = 0, time.perf_counter()
        page.open(serial)
        while not page.done(serial):
            looks += 1
            if looks % BETWEEN_LOOKS == 0 and (ready.poll(0) or time.perf_counter() - start > timeout):
                break
        seconds = time.perf_counter() - start
        answer = child.answer(max(0.001, timeout - seconds))[0]
        if "error" in answer:
            raise Claim(answer)
        if page.expired(serial):
            raise Expired
        if not page.done(serial):
            raise wire.Closed  # it speaks of an end that the device does not know of
        self.seconds, self.device_seconds = seconds, page.device_seconds
        return seconds

    def close(self) -> None:
        self._page.close()
