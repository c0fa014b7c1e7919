"""Huge pages under shared memory, where the system gives them.

A kernel's arguments lie in anonymous shared files. With pages of 4 KiB each lies scattered: which sets of a physically indexed cache it
falls into, and so up to a third of the time of a kernel that goes down columns, is a matter of luck, and mapping it into a runner takes a
fault every page. NumPy, for one, asks for huge pages for every array of 4 MiB or more; what is measured should have them too.
Mounts and sysfs may forbid them for shared memory; MADV_COLLAPSE (Linux 6.1, madvise(2)) makes them regardless.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os

__all__ = ["HUGE", "Mapping", "collapse", "collapses", "loaded"]

HUGE = 2 << 20
"""Bytes of a huge page on x86-64, and on ARM with pages of 4 KiB; elsewhere nothing comes of it, at no harm."""
_FAILED = ctypes.c_void_p(-1).value
_PRIVATE_RESERVE = 0x4022
"""Private, anonymous, not reserved."""
_SHARED_AT = 0x11
_POPULATE = 0x8000
_MADV_COLLAPSE = 25


@functools.cache
def loaded() -> ctypes.CDLL:
    """The C library, whose mmap takes addresses of our choosing, which the mmap module does not offer. To be loaded before a filter of
    system calls is in force."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return libc


class Mapping:
    """A shared file, mapped where its huge pages can lie as such, faulted in, between two inaccessible zones of at least `moat` bytes.

    Raises OSError where it cannot be had.
    """

    def __init__(self, fd: int, length: int, *, writable: bool = True, moat: int = 0) -> None:
        libc, self._span = loaded(), length + 2 * moat + HUGE
        room = libc.mmap(None, self._span, 0, _PRIVATE_RESERVE, -1, 0)
        if room in (None, _FAILED):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._room = int(room)
        self.length = length
        self.address = -(-(self._room + moat) // HUGE) * HUGE
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        if libc.mmap(self.address, length, protection, _SHARED_AT | _POPULATE, fd, 0) != self.address:
            error = ctypes.get_errno()
            self.close()
            raise OSError(error, os.strerror(error))

    def collapse(self) -> bool:
        """Has the whole huge pages among its bytes made, 5 ms a MiB; whether that worked. What is left at the end keeps its small pages."""
        whole = self.length // HUGE * HUGE
        return whole > 0 and loaded().madvise(self.address, whole, _MADV_COLLAPSE) == 0

    def close(self) -> None:
        """The address means nothing from here on."""
        if self._room:
            loaded().munmap(self._room, self._span)
            self._room = 0


def collapse(fd: int, length: int) -> bool:
    """Huge pages for the first `length` bytes of a shared file that may be written, where they fit; whether there are any."""
    try:
        mapping = Mapping(fd, length)
    except OSError:
        return False
    try:
        return mapping.collapse()
    finally:
        mapping.close()


@functools.cache
def collapses() -> bool:
    """Whether this system makes huge pages of shared memory when asked (tried once)."""
    with contextlib.suppress(OSError, AttributeError):  # memfd_create is Linux only
        fd = os.memfd_create("evo-pages", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, HUGE)
            return collapse(fd, HUGE)
        finally:
            os.close(fd)
    return False
