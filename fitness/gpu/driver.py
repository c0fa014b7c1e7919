"""Device memory that two processes share: CUDA's virtual memory calls through ctypes. Runs on both sides of the sandbox.

Each buffer is a physical allocation of its own, exported as a file descriptor, so it crosses process and namespace borders where
legacy IPC handles do not, and no other buffer lies in the same allocation (CUDA driver API, *Virtual Memory Management*).
Needs a current context: call `torch.cuda.init()` and touch the device first. Standard library only.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

__all__ = [
    "TORCH_NAMES", "CudaError", "Extents", "Function", "LaunchAttribute", "Mapping", "allocate", "context", "copy_later", "export",
    "fill_later", "filled", "forget", "function", "host_address", "import_", "launch", "load_module", "plain", "put", "stream",
    "synchronize", "tensor", "unload_module", "unmap",
]  # fmt: skip

_PINNED, _DEVICE, _POSIX_FD, _READ_WRITE = 1, 1, 1, 3

TORCH_NAMES = {
    "bfloat16": "<i2", "float16": "<f2", "float32": "<f4", "float64": "<f8", "int8": "|i1", "int16": "<i2", "int32": "<i4", "int64": "<i8",
    "uint8": "|u1", "bool": "|b1", "uint16": "<u2", "uint32": "<u4", "uint64": "<u8",
}  # fmt: skip
"""dtype of an argument → how the array interface writes it (bfloat16 as 16-bit integers, viewed afterwards)."""


class CudaError(Exception):
    """A call of the CUDA driver failed."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call} failed with CUDA error {code} ({_said(code)})")
        self.code = code


def _said(code: int) -> str:
    """The driver's own words for an error: `an illegal memory access was encountered`."""
    text = ctypes.c_char_p()
    if _cuda().cuGetErrorString(code, ctypes.byref(text)) != 0 or text.value is None:
        return "unknown"
    return text.value.decode(errors="replace")


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


# -- a context without torch, and launches that no code of a kernel's author takes part in ---------------------------------------------


def context(device: int = 0) -> None:
    """Makes the device's primary context the current one of this thread."""
    _call("cuInit", 0)
    handle, held = ctypes.c_int(), ctypes.c_void_p()
    _call("cuDeviceGet", ctypes.byref(handle), device)
    _call("cuDevicePrimaryCtxRetain", ctypes.byref(held), handle)
    _call("cuCtxSetCurrent", held)


def stream() -> int:
    """A new stream."""
    made = ctypes.c_void_p()
    _call("cuStreamCreate", ctypes.byref(made), 1)
    return int(made.value or 0)


def synchronize(of: int) -> None:
    """Waits for a stream. Raises `CudaError` for what a kernel in it did."""
    _call("cuStreamSynchronize", ctypes.c_void_p(of))


def host_address(address: int, length: int) -> int:
    """Device address of host memory of this process, which stays where it is."""
    _call("cuMemHostRegister_v2", ctypes.c_void_p(address), ctypes.c_size_t(length), 2)
    seen = ctypes.c_ulonglong()
    _call("cuMemHostGetDevicePointer_v2", ctypes.byref(seen), ctypes.c_void_p(address), 0)
    return seen.value


def plain(nbytes: int) -> int:
    """Address of device memory of this process alone."""
    made = ctypes.c_ulonglong()
    _call("cuMemAlloc_v2", ctypes.byref(made), ctypes.c_size_t(nbytes))
    return made.value


def put(address: int, content: bytes) -> None:
    """Copies host memory to the device."""
    _call("cuMemcpyHtoD_v2", ctypes.c_ulonglong(address), ctypes.c_char_p(content), ctypes.c_size_t(len(content)))


def filled(address: int, nbytes: int, byte: int) -> None:
    _call("cuMemsetD8_v2", ctypes.c_ulonglong(address), ctypes.c_ubyte(byte), ctypes.c_size_t(nbytes))


def forget(address: int) -> None:
    _call("cuMemFree_v2", ctypes.c_ulonglong(address))


def load_module(image: bytes) -> int:
    made = ctypes.c_void_p()
    _call("cuModuleLoadData", ctypes.byref(made), ctypes.c_char_p(image))
    return int(made.value or 0)


def unload_module(module: int) -> None:
    _call("cuModuleUnload", ctypes.c_void_p(module))


Extents = tuple[int, int, int]
LaunchAttribute = tuple[int, Sequence[int]]
"""Number and words of an attribute of a launch; the driver's numbers (CUlaunchAttributeID) are the runtime's."""


class Function:
    """A kernel of a loaded module and how it is launched: threads a block, dynamic shared bytes, attributes of the launch."""

    __slots__ = ("attributes", "block", "handle", "shared")

    def __init__(self, handle: int, block: Extents, shared: int, attributes: Sequence[LaunchAttribute]) -> None:
        self.handle, self.block, self.shared = handle, block, shared
        self.attributes = (_Attribute * len(attributes))()
        for place, (number, words) in zip(self.attributes, attributes, strict=True):
            place.id = number
            place.value[: len(words)] = list(words)


def function(
    module: int, name: str, block: Extents = (1, 1, 1), shared: int = 0, *, attributes: Sequence[LaunchAttribute] = (),
    settings: Sequence[tuple[int, int]] = (),
) -> Function:  # fmt: skip
    """settings: numbers (CUfunction_attribute) and values of the function's own attributes."""
    made = ctypes.c_void_p()
    _call("cuModuleGetFunction", ctypes.byref(made), ctypes.c_void_p(module), name.encode())
    for number, value in settings:
        _call("cuFuncSetAttribute", made, number, value)
    return Function(int(made.value or 0), block, shared, attributes)


class _Attribute(ctypes.Structure):
    _fields_ = (("id", ctypes.c_int), ("pad", ctypes.c_char * 4), ("value", ctypes.c_uint * 16))


class _Launch(ctypes.Structure):
    _fields_ = (
        ("grid", ctypes.c_uint * 3), ("block", ctypes.c_uint * 3), ("shared", ctypes.c_uint), ("stream", ctypes.c_void_p),
        ("attributes", ctypes.POINTER(_Attribute)), ("count", ctypes.c_uint),
    )  # fmt: skip


def launch(what: Function, grid: Extents, arguments: Any, on: int) -> None:
    """One launch of `grid` blocks. arguments: a ctypes array of pointers to the values; may be longer than the kernel's parameters."""
    if not len(what.attributes):
        place = ctypes.c_void_p(on)
        _call("cuLaunchKernel", ctypes.c_void_p(what.handle), *grid, *what.block, what.shared, place, arguments, None)
        return
    extents, block = (ctypes.c_uint * 3)(*grid), (ctypes.c_uint * 3)(*what.block)
    config = _Launch(extents, block, what.shared, ctypes.c_void_p(on), what.attributes, len(what.attributes))
    _call("cuLaunchKernelEx", ctypes.byref(config), ctypes.c_void_p(what.handle), arguments, None)


def fill_later(address: int, nbytes: int, byte: int, on: int) -> None:
    """Queues a memset."""
    _call("cuMemsetD8Async", ctypes.c_ulonglong(address), ctypes.c_ubyte(byte), ctypes.c_size_t(nbytes), ctypes.c_void_p(on))


def copy_later(to: int, of: int, nbytes: int, on: int) -> None:
    """Queues a copy within the device."""
    _call("cuMemcpyDtoDAsync_v2", ctypes.c_ulonglong(to), ctypes.c_ulonglong(of), ctypes.c_size_t(nbytes), ctypes.c_void_p(on))


class _Interface:
    """What torch asks of memory that it does not own."""

    def __init__(self, address: int, shape: tuple[int, ...], code: str) -> None:
        self.__cuda_array_interface__ = {"shape": shape, "typestr": code, "data": (address, False), "version": 3}


def tensor(address: int, shape: tuple[int, ...], dtype: str) -> Any:
    """A torch tensor over device memory; it neither owns nor frees it."""
    import torch

    made = torch.as_tensor(_Interface(address, shape, TORCH_NAMES[dtype]), device="cuda")
    return made.view(torch.bfloat16) if dtype == "bfloat16" else made
