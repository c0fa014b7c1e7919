"""The native library's passes on NumPy arrays. Every call releases the interpreter lock while it runs."""

from __future__ import annotations

import ctypes
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitness.native.build import NativeError, build

__all__ = ["Comparison", "NativeLibrary", "library", "poison_word"]

Array = NDArray[Any]

_FLOAT_POISON = {2: 0x7E5A, 4: 0x7FC0DEAD, 8: 0x7FF8DEADBEEF5EED}
"""Quiet NaNs with payloads that no arithmetic produces."""
_INTEGER_POISON = {1: 0xA5, 2: 0xA5C3, 4: 0xA5C3A5C3, 8: 0xA5C3A5C3A5C3A5C3}


class _Result(ctypes.Structure):
    _fields_ = (
        ("max_s", ctypes.c_double),
        ("sum_e2", ctypes.c_double),
        ("worst", ctypes.c_int64),
        ("beyond", ctypes.c_int64),
        ("first", ctypes.c_int64),
        ("mismatched", ctypes.c_int64),
        ("first_mismatched", ctypes.c_int64),
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far an output is from its reference. Indices are flat; -1 where there is none."""

    max_s: float
    """Largest max(|e| - slack, 0) / (|y| + rms/2) over elements finite on both sides."""
    sum_e2: float
    worst: int
    beyond: int
    """Elements over the limit, or not finite where the reference is (and the reverse)."""
    first: int
    mismatched: int
    """Those of `beyond` whose finiteness differs from the reference's."""
    first_mismatched: int


def poison_word(dtype: np.dtype[Any]) -> int:
    """The bit pattern of one poisoned element: a NaN with a payload of its own for floats, a rare pattern for the rest."""
    return (_FLOAT_POISON if dtype.kind == "f" else _INTEGER_POISON)[dtype.itemsize]


def _address(array: Array, writable: bool = False) -> int:
    if not array.flags.c_contiguous:
        raise ValueError(f"an array of shape {array.shape} and strides {array.strides} is not C-contiguous")
    if writable and not array.flags.writeable:
        raise ValueError(f"an array of shape {array.shape} to be written is read-only")
    return int(array.ctypes.data)


class NativeLibrary:
    """The loaded library. Thread-safe: it holds no state."""

    def __init__(self, path: Path) -> None:
        """Raises NativeError when the file cannot be loaded."""
        self.path = path
        try:
            self._c = ctypes.CDLL(str(path))
        except OSError as error:
            raise NativeError(f"{path} cannot be loaded: {error}. Delete the file; it is compiled anew at the next use.") from error
        pointer, size, word, count = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint64, ctypes.c_int64
        signatures: dict[str, tuple[Any, tuple[Any, ...]]] = {
            "evo_copy": (None, (pointer, pointer, size)),
            "evo_fill": (None, (pointer, word, size)),
            "evo_count": (count, (pointer, word, count, ctypes.c_int)),
            "evo_differ": (count, (pointer, pointer, count, ctypes.c_int, ctypes.POINTER(count))),
            "evo_guard_fill": (None, (pointer, size, word)),
            "evo_guard_check": (count, (pointer, size, word)),
            "evo_checksum": (word, (pointer, size, word)),
        }
        compared = (pointer, pointer, count, count, pointer, pointer, ctypes.c_double, ctypes.POINTER(_Result))
        signatures |= {f"evo_compare_{pair}": (None, compared) for pair in ("f32_f32", "f32_f64", "f64_f64")}
        for name, (result, arguments) in signatures.items():
            function = getattr(self._c, name)
            function.restype, function.argtypes = result, arguments

    def copy(self, destination: Array, source: Array) -> None:
        """Copies past the caches (non-temporal stores). Raises ValueError unless both hold the same bytes' worth."""
        if destination.nbytes != source.nbytes or destination.dtype != source.dtype:
            raise ValueError(f"cannot copy {source.dtype}{source.shape} into {destination.dtype}{destination.shape}")
        self._c.evo_copy(_address(destination, writable=True), _address(source), source.nbytes)

    def poison(self, array: Array) -> None:
        """Fills with `poison_word`, past the caches."""
        width = array.dtype.itemsize
        pattern = poison_word(array.dtype) * (0xFFFFFFFFFFFFFFFF // (256**width - 1))
        self._c.evo_fill(_address(array, writable=True), pattern, array.nbytes)

    def blank(self, array: Array) -> None:
        """Fills with zeros, past the caches."""
        self._c.evo_fill(_address(array, writable=True), 0, array.nbytes)

    def poisoned(self, array: Array) -> int:
        """Elements that still hold the poison."""
        return int(self._c.evo_count(_address(array), poison_word(array.dtype), array.size, array.dtype.itemsize))

    def differing(self, left: Array, right: Array) -> tuple[int, int]:
        """(number of elements whose bits differ, flat index of the first or -1). Raises ValueError for different types or shapes."""
        if left.dtype != right.dtype or left.shape != right.shape:
            raise ValueError(f"cannot compare {left.dtype}{left.shape} with {right.dtype}{right.shape}")
        first = ctypes.c_int64(-1)
        count = self._c.evo_differ(_address(left), _address(right), left.size, left.dtype.itemsize, ctypes.byref(first))
        return int(count), first.value

    def fill_guard(self, zone: Array, key: int) -> None:
        """Fills a guard zone with words that only `key` (64 bits, secret) can foretell."""
        self._c.evo_guard_fill(_address(zone, writable=True), zone.nbytes, key)

    def broken_guard(self, zone: Array, key: int) -> int | None:
        """Offset in bytes of the first byte that `fill_guard` did not put there; None when the zone is whole."""
        offset = int(self._c.evo_guard_check(_address(zone), zone.nbytes, key))
        return None if offset < 0 else offset

    def checksum(self, array: Array, key: int) -> int:
        """Keyed 64-bit checksum, to see whether a buffer changed."""
        return int(self._c.evo_checksum(_address(array), array.nbytes, key))

    def compare(
        self, got: Array, expected: Array, half_rms: NDArray[np.float64], slack: NDArray[np.float64] | None, limit: float
    ) -> Comparison:
        """One pass over both arrays.

        Args:
            got: float32 or float64 output, any shape whose last axis makes the rows.
            expected: same shape; float32 or float64 for a float32 output, float64 for a float64 one.
            half_rms: (rows,) half the root mean square of the reference per row.
            slack: (rows,) absolute error forgiven per row, or None for none.
            limit: largest s an element may have.

        Raises:
            ValueError: types or shapes do not fit together.
        """
        pair = {("float32", "float32"): "f32_f32", ("float32", "float64"): "f32_f64", ("float64", "float64"): "f64_f64"}.get(
            (got.dtype.name, expected.dtype.name)
        )
        cols = got.shape[-1] if got.ndim else 1
        rows = got.size // cols
        if pair is None or got.shape != expected.shape:
            raise ValueError(f"cannot compare {got.dtype}{got.shape} with {expected.dtype}{expected.shape}")
        for name, values in (("half_rms", half_rms), ("slack", slack)):
            if values is not None and (values.shape != (rows,) or values.dtype != np.float64):
                raise ValueError(f"{name} is {values.dtype}{values.shape}; float64 of shape ({rows},) is needed")
        result = _Result()
        getattr(self._c, f"evo_compare_{pair}")(
            _address(got),
            _address(expected),
            rows,
            cols,
            _address(half_rms),
            None if slack is None else _address(slack),
            limit,
            ctypes.byref(result),
        )
        return Comparison(
            result.max_s, result.sum_e2, result.worst, result.beyond, result.first, result.mismatched, result.first_mismatched
        )


_libraries: dict[Path | None, NativeLibrary] = {}
_lock = threading.Lock()


def library(cache: Path | None = None) -> NativeLibrary:
    """The library, compiled and loaded on first use; one per process and cache (None: the one loaded first). Raises NativeError."""
    with _lock:
        if cache is None and _libraries:
            return next(iter(_libraries.values()))
        if cache not in _libraries:
            _libraries[cache] = NativeLibrary(build(cache))
        return _libraries[cache]
