"""The referee's clock, with a thread that plays launcher and device."""

from __future__ import annotations

import ctypes
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fitness.gpu import gate, wire
from fitness.gpu.clock import Claim, Clock, Expired

Play = Callable[["Device"], None]


class Device:
    """The other side of the page, and of the channel."""

    def __init__(self, clock: Clock, channel: socket.socket) -> None:
        self._page, self._channel = gate.Page(clock.page_fd), channel
        self.serial = 0
        self.aside = 0.05
        """Seconds beside the batch itself, before its gate and behind its mark."""

    def write(self, offset: int) -> None:
        ctypes.c_uint32.from_address(self._page.address + offset).value = self.serial

    def opened(self) -> bool:
        return ctypes.c_uint32.from_address(self._page.address + gate.GO).value == self.serial

    def say(self, **message: Any) -> None:
        wire.send(self._channel, message)

    def arm(self) -> None:
        self.serial = wire.receive(self._channel)[0]["serial"]
        time.sleep(self.aside)  # queueing takes its time, which is on nobody's clock
        self.write(gate.PRESENT)
        self.say(armed=True)
        while not self.opened():
            time.sleep(1e-4)


class Asked:
    """A child as far as a clock needs one."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel

    def answer(self, seconds: float) -> Any:
        self.channel.settimeout(seconds)
        return wire.receive(self.channel)


@pytest.fixture
def batch() -> Iterator[Callable[..., float]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    clock = Clock()
    threads: list[threading.Thread] = []
    patience = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)  # the clock spins, and the device is a thread beside it

    def one(play: Play, timeout: float = 5.0) -> float:
        threads.append(threading.Thread(target=play, args=(Device(clock, theirs),), daemon=True))
        threads[-1].start()
        return clock.batch(Asked(ours), {"op": "batch"}, timeout)  # type: ignore[arg-type]

    yield one
    sys.setswitchinterval(patience)
    ours.close()
    theirs.close()
    clock.close()


def through(device: Device) -> None:
    device.arm()
    time.sleep(0.1)
    device.write(gate.DONE)
    time.sleep(device.aside)  # nor is what comes behind the mark
    device.say(done=True)


def test_the_clock_runs_from_the_opening_to_the_mark(batch: Callable[..., float]) -> None:
    """Neither what is queued before the gate nor what comes behind the mark counts. Clock and device are threads of one interpreter here
    and may wait for each other, so the reading is held against the wall time, not against a bound of its own."""

    def slowly(device: Device) -> None:
        device.aside = 0.3
        through(device)

    for _ in range(3):
        begin = time.perf_counter()
        reading = batch(slowly)
        assert 0.09 < reading < time.perf_counter() - begin - 2 * 0.3 + 1e-3


def test_a_gate_that_opened_by_itself_is_no_time(batch: Callable[..., float]) -> None:
    def late(device: Device) -> None:
        device.arm()
        device.write(gate.EXPIRED)
        device.write(gate.DONE)
        device.say(done=True)

    with pytest.raises(Expired):
        batch(late)


def test_a_failure_behind_the_gate_is_heard_though_no_mark_comes(batch: Callable[..., float]) -> None:
    def fails(device: Device) -> None:
        device.arm()
        device.say(error="CudaError: an illegal memory access was encountered")

    with pytest.raises(Claim, match="illegal memory access"):
        batch(fails)


def test_an_end_without_a_mark_is_not_believed(batch: Callable[..., float]) -> None:
    def boasts(device: Device) -> None:
        device.arm()
        device.say(done=True)

    with pytest.raises(wire.Closed):
        batch(boasts)


def test_a_hang_ends_after_the_patience(batch: Callable[..., float]) -> None:
    start = time.perf_counter()
    with pytest.raises(TimeoutError):
        batch(Device.arm, timeout=0.3)
    assert time.perf_counter() - start < 2.0
