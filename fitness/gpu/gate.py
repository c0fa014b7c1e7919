"""The gate: a batch is queued behind a kernel of ours that waits, so that neither queueing nor messages are on the clock.

In the runner's stream: gate, the calls, mark. The gate says on a page of host memory that it runs, spins until the referee opens it and
ends; the mark says there that everything before it is through. The referee reads its own clock when it opens and when it sees the mark: the
device is in the runner's context before the clock starts, and what is left of overhead is two microsecond-sized kernels.

The mark is believed only from processes that run no host code of a kernel's author (`fitness.gpu.launcher`, the problem's own baselines).
The page is written by both sides; each word on it has a cache line of its own and holds the number of the batch. Standard library only.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any

from fitness.gpu import driver

__all__ = ["PAGE", "PTX", "Gate", "Page"]

PAGE = 4096
GO, PRESENT, DONE, EXPIRED, OPENED_NS, DONE_NS = 0, 64, 128, 192, 256, 320
"""Offsets on the page."""
LIMIT_NS = 250_000_000
"""Nanoseconds after which a gate opens by itself: a program that waits for the device while it queues would wait for ever."""

PTX = f"""
.version 7.0
.target sm_70
.address_size 64
.visible .entry evo_gate(.param .u64 p_page, .param .u32 p_serial, .param .u64 p_limit)
{{
  .reg .u64 %page, %start, %now, %limit, %gone;
  .reg .u32 %serial, %seen;
  .reg .pred %p;
  ld.param.u64 %page, [p_page];
  ld.param.u32 %serial, [p_serial];
  ld.param.u64 %limit, [p_limit];
  mov.u64 %start, %globaltimer;
  st.volatile.global.u32 [%page+{PRESENT}], %serial;
  membar.sys;
WAIT:
  ld.volatile.global.u32 %seen, [%page+{GO}];
  setp.eq.u32 %p, %seen, %serial;
  @%p bra OPEN;
  mov.u64 %now, %globaltimer;
  sub.u64 %gone, %now, %start;
  setp.lt.u64 %p, %gone, %limit;
  @%p bra WAIT;
  st.volatile.global.u32 [%page+{EXPIRED}], %serial;
  membar.sys;
OPEN:
  mov.u64 %now, %globaltimer;
  st.volatile.global.u64 [%page+{OPENED_NS}], %now;
  ret;
}}
.visible .entry evo_mark(.param .u64 p_page, .param .u32 p_serial)
{{
  .reg .u64 %page, %now;
  .reg .u32 %serial;
  ld.param.u64 %page, [p_page];
  ld.param.u32 %serial, [p_serial];
  mov.u64 %now, %globaltimer;
  st.volatile.global.u64 [%page+{DONE_NS}], %now;
  membar.sys;
  st.volatile.global.u32 [%page+{DONE}], %serial;
  ret;
}}
"""


class Page:
    """The page as the process that made it, or was given it, sees it."""

    def __init__(self, fd: int | None = None) -> None:
        self.fd = fd
        if self.fd is None:
            self.fd = os.memfd_create("evo-gate", os.MFD_CLOEXEC)
            os.ftruncate(self.fd, PAGE)
        self._memory = mmap.mmap(self.fd, PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._go = ctypes.c_uint32.from_buffer(self._memory, GO)
        self._present = ctypes.c_uint32.from_buffer(self._memory, PRESENT)
        self._done = ctypes.c_uint32.from_buffer(self._memory, DONE)
        self._expired = ctypes.c_uint32.from_buffer(self._memory, EXPIRED)
        self._opened_ns = ctypes.c_uint64.from_buffer(self._memory, OPENED_NS)
        self._done_ns = ctypes.c_uint64.from_buffer(self._memory, DONE_NS)

    @property
    def address(self) -> int:
        return ctypes.addressof(self._go)

    def open(self, serial: int) -> None:
        self._go.value = serial

    def present(self, serial: int) -> bool:
        return self._present.value == serial

    def done(self, serial: int) -> bool:
        return self._done.value == serial

    def expired(self, serial: int) -> bool:
        return self._expired.value == serial

    @property
    def device_seconds(self) -> float:
        """From gate to mark by the device's own timer, whose resolution can be a microsecond."""
        return (self._done_ns.value - self._opened_ns.value) / 1e9

    def close(self) -> None:
        """Gives the descriptor back; the memory goes with the object."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class Gate:
    """The runner's side: queues gate and mark. Needs a current context. Raises `driver.CudaError`."""

    def __init__(self, fd: int, image: bytes) -> None:
        """image: PTX assembled for this device."""
        self._page = Page(os.dup(fd))
        self._seen = ctypes.c_uint64(driver.host_address(self._page.address, PAGE))
        module = driver.load_module(image)
        self._gate, self._mark = driver.function(module, "evo_gate"), driver.function(module, "evo_mark")
        self._limit = ctypes.c_uint64(LIMIT_NS)

    def queue(self, serial: int, on: int) -> None:
        self._launch(self._gate, on, self._seen, ctypes.c_uint32(serial), self._limit)

    def mark(self, serial: int, on: int) -> None:
        self._launch(self._mark, on, self._seen, ctypes.c_uint32(serial))

    @staticmethod
    def _launch(what: driver.Function, on: int, *values: Any) -> None:
        pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
        driver.launch(what, (1, 1, 1), pointers, on)
