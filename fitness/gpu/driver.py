"""Device memory that two processes share: CUDA's virtual memory calls through ctypes. Runs on both sides of the sandbox.

Each buffer is a physical allocation of its own, exported as a file descriptor, so it crosses process and namespace borders where
legacy IPC handles do not, and no other buffer lies in the same allocation (CUDA driver API, *Virtual Memory Management*).
Needs a current context: call `torch.cuda.init()` and touch the device first. Standard library only.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

__all__ = ["TORCH_NAMES", "CudaError", "Mapping", "allocate", "export", "import_", "tensor", "unmap"]

_PINNED, _DEVICE, _POSIX_FD, _READ_WRITE = 1, 1, 1, 3

TORCH_NAMES = {
    "bfloat16": "<i2", "float16": "<f2", "float32": "<f4", "float64": "<f8", "int8": "|i1", "int16": "<i2", "int32": "<i4", "int64": "<i8",
    "uint8": "|u1", "bool": "|b1", "uint16": "<u2", "uint32": "<u4", "uint64": "<u8",
}  # fmt: skip
"""dtype of an argument → how the array interface writes it (bfloat16 as 16-bit integers, viewed afterwards)."""


class CudaError(Exception):
    """A call of the CUDA driver failed."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call} failed with CUDA error {code}")
        self.code = code


class _Location(ctypes.Structure):
    _fields_ = (("type", ctypes.c_int), ("id", ctypes.c_int))


class _Properties(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("handles", ctypes.c_int),
        ("location", _Location),
        ("win32", ctypes.c_void_p),
        ("flags", ctypes.c_ubyte * 8),
    )


class _Access(ctypes.Structure):
    _fields_ = (("location", _Location), ("flags", ctypes.c_int))


class Mapping:
    """An allocation mapped into this process: device address, bytes (a multiple of the granularity), and its handle."""

    __slots__ = ("address", "handle", "length")

    def __init__(self, address: int, length: int, handle: int) -> None:
        self.address, self.length, self.handle = address, length, handle


@functools.cache
def _cuda() -> Any:
    return ctypes.CDLL("libcuda.so.1")


def _call(name: str, *arguments: Any) -> None:
    code = getattr(_cuda(), name)(*arguments)
    if code != 0:
        raise CudaError(name, code)


def _properties(device: int) -> _Properties:
    return _Properties(_PINNED, _POSIX_FD, _Location(_DEVICE, device), None)


@functools.cache
def granularity(device: int = 0) -> int:
    """Bytes that allocations are rounded up to."""
    size = ctypes.c_size_t()
    _call("cuMemGetAllocationGranularity", ctypes.byref(size), ctypes.byref(_properties(device)), 0)
    return size.value


def allocate(nbytes: int, device: int = 0) -> Mapping:
    """A new allocation of at least `nbytes`. Raises `CudaError` (code 2: out of memory)."""
    unit = granularity(device)
    length = -(-nbytes // unit) * unit
    handle = ctypes.c_ulonglong()
    _call("cuMemCreate", ctypes.byref(handle), ctypes.c_size_t(length), ctypes.byref(_properties(device)), ctypes.c_ulonglong(0))
    try:
        return Mapping(_map(handle.value, length, device), length, handle.value)
    except CudaError:
        _call("cuMemRelease", handle)
        raise


def export(mapping: Mapping) -> int:
    """A file descriptor that stands for the allocation; the caller closes it."""
    fd = ctypes.c_int(-1)
    _call("cuMemExportToShareableHandle", ctypes.byref(fd), ctypes.c_ulonglong(mapping.handle), _POSIX_FD, ctypes.c_ulonglong(0))
    return fd.value


def import_(fd: int, length: int, device: int = 0) -> Mapping:
    """Maps an allocation that another process exported."""
    handle = ctypes.c_ulonglong()
    _call("cuMemImportFromShareableHandle", ctypes.byref(handle), ctypes.c_void_p(fd), _POSIX_FD)
    return Mapping(_map(handle.value, length, device), length, handle.value)


def _map(handle: int, length: int, device: int) -> int:
    address = ctypes.c_ulonglong()
    # twice the length is reserved: what lies behind the allocation is an address that faults
    zero = ctypes.c_ulonglong(0)
    _call("cuMemAddressReserve", ctypes.byref(address), ctypes.c_size_t(2 * length), ctypes.c_size_t(0), zero, zero)
    _call("cuMemMap", address, ctypes.c_size_t(length), ctypes.c_size_t(0), ctypes.c_ulonglong(handle), ctypes.c_ulonglong(0))
    access = _Access(_Location(_DEVICE, device), _READ_WRITE)
    _call("cuMemSetAccess", address, ctypes.c_size_t(length), ctypes.byref(access), ctypes.c_size_t(1))
    return address.value


def unmap(mapping: Mapping) -> None:
    _call("cuMemUnmap", ctypes.c_ulonglong(mapping.address), ctypes.c_size_t(mapping.length))
    _call("cuMemAddressFree", ctypes.c_ulonglong(mapping.address), ctypes.c_size_t(2 * mapping.length))
    _call("cuMemRelease", ctypes.c_ulonglong(mapping.handle))


class _Interface:
    """What torch asks of memory that it does not own."""

    def __init__(self, address: int, shape: tuple[int, ...], code: str) -> None:
        self.__cuda_array_interface__ = {"shape": shape, "typestr": code, "data": (address, False), "version": 3}


def tensor(address: int, shape: tuple[int, ...], dtype: str) -> Any:
    """A torch tensor over device memory; it neither owns nor frees it."""
    import torch

    made = torch.as_tensor(_Interface(address, shape, TORCH_NAMES[dtype]), device="cuda")
    return made.view(torch.bfloat16) if dtype == "bfloat16" else made
