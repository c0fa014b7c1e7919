"""Says where a runner crashed. Runs inside the sandbox; standard library only.

A few bytes of machine code, installed before the program is loaded, write the first bytes of the siginfo of a fatal signal to stderr and
return; the faulting instruction then runs again and the signal, now at its default action, ends the process. The program shares the
address space and can forge or suppress this report: it makes a message more helpful and decides nothing.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import signal
import struct

__all__ = ["REPORT", "install", "parse"]

REPORT = 32
"""Bytes of siginfo_t reported: number, errno, code, padding, address, …"""

_CODE = {
    # mov eax, 1 (write); mov edi, 2; (rsi is the siginfo); mov edx, 32; syscall; ret
    "x86_64": bytes.fromhex("b801000000 bf02000000 ba20000000 0f05 c3"),
    # mov x0, 2; (x1 is the siginfo); mov x2, 32; mov x8, 64 (write); svc 0; ret
    "aarch64": bytes.fromhex("400080d2 020480d2 080880d2 010000d4 c0035fd6"),
}
_FATAL = (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_FLAGS = 0x4 | 0x08000000 | 0x80000000  # SA_SIGINFO | SA_ONSTACK | SA_RESETHAND
_STACK = 64 << 10
_kept: list[object] = []


def install() -> None:
    """Does nothing on an architecture it does not know."""
    code = _CODE.get(platform.machine())
    if code is None:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(mmap.PAGESIZE), 5)  # read and execute
    stack = ctypes.create_string_buffer(_STACK)  # a stack overflow leaves no room on the usual one
    libc.sigaltstack(struct.pack("@PiN", ctypes.addressof(stack), 0, _STACK), None)
    action = struct.pack("@P128siP", address, b"", _FLAGS - (1 << 32), 0)
    for number in _FATAL:
        libc.sigaction(int(number), action, None)
    _kept.extend((page, stack))


def parse(said: bytes, number: int) -> tuple[int | None, bytes]:
    """(the address that the report at the end of `said` names, what was said before it); None where there is no report of this signal."""
    if len(said) >= REPORT:
        signo, _errno, code, address = struct.unpack_from("=iii4xQ", said, len(said) - REPORT)
        if signo == number and code > 0:
            return address, said[:-REPORT]
    return None, said
