"""What a cubin says about its kernels: the sizes of their parameters, registers, shared memory, launch bounds. Runs nothing.

A cubin is an ELF object; the attributes are those of its `.nv.info` sections, in the encoding that NVIDIA's own `cuobjdump -elf` prints
(names as there): format, attribute, a 16-bit value or length, then the content.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from fitness.targets.elf import ElfError

__all__ = ["CubinKernel", "read_cubin", "undefined"]

_SYMTAB = 2
_FUNCTION = 2
_REGCOUNT, _KPARAM_INFO, _KPARAM_INFO_V2, _PARAM_BYTES, _MAX_THREADS, _REQUIRED_THREADS = 0x2F, 0x17, 0x45, 0x19, 0x05, 0x10
_LONG = 4
"""The format whose value is the length of the content behind it."""
_SIZE_SHIFT = 18
RESERVED = 1024
"""Bytes that a block's `.nv.shared` section holds for the system where there is a `.nv.shared.reserved.0`."""


@dataclass(frozen=True, slots=True)
class CubinKernel:
    """One kernel by its mangled name. sizes: bytes of each parameter; registers: a thread; shared: static bytes a block; threads: a block
    at most by its launch bounds, 0 without."""

    name: str
    sizes: tuple[int, ...]
    registers: int
    shared: int
    threads: int


@dataclass(slots=True)
class _Section:
    name: str
    kind: int
    offset: int
    size: int
    link: int
    info: int
    content: bytes = field(repr=False)


def read_cubin(content: bytes) -> dict[str, CubinKernel]:
    """Kernels by mangled name. Raises `ElfError` for an object that is damaged or says something else than it should."""
    try:
        return _kernels(content)
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise ElfError(f"cubin: found a damaged object ({error}), expected nvcc's machine code") from error


def undefined(content: bytes) -> tuple[str, ...]:
    """Names of functions that the machine code calls and does not hold: `vprintf`, `malloc`, `__assertfail`, …"""
    try:
        sections = _sections(content)
        found = [name for name, info, index in _symbols(content, sections) if name and index == 0 and info & 15 in (0, _FUNCTION)]
    except (struct.error, IndexError, ValueError, OverflowError) as error:
        raise ElfError(f"cubin: found a damaged object ({error}), expected nvcc's machine code") from error
    return tuple(dict.fromkeys(found))


def _kernels(content: bytes) -> dict[str, CubinKernel]:
    sections = _sections(content)
    by_name = {section.name: section for section in sections}
    names = [name for name, _, _ in _symbols(content, sections)]
    registers: dict[str, int] = {}
    if ".nv.info" in by_name:
        for attribute, value in _attributes(by_name[".nv.info"].content):
            if attribute == _REGCOUNT:
                symbol, count = struct.unpack("<II", value)
                registers[names[symbol]] = count
    reserved = RESERVED if ".nv.shared.reserved.0" in by_name else 0
    kernels = {}
    for section in sections:
        if not section.name.startswith(".nv.info."):
            continue
        name = section.name.removeprefix(".nv.info.")
        if f".text.{name}" not in by_name or f".nv.constant0.{name}" not in by_name:
            continue  # a function that kernels call
        sizes, threads = _parameters(name, section.content)
        shared = by_name.get(f".nv.shared.{name}")
        kernels[name] = CubinKernel(name, sizes, registers.get(name, 0), max(0, shared.size - reserved) if shared else 0, threads)
    return kernels


def _parameters(name: str, content: bytes) -> tuple[tuple[int, ...], int]:
    """(bytes of each parameter, threads a block at most)."""
    places: dict[int, tuple[int, int]] = {}
    threads = total = 0
    for attribute, value in _attributes(content):
        if attribute in (_KPARAM_INFO, _KPARAM_INFO_V2):  # the second for parameters of more than 4096 bytes
            _index, ordinal, offset, packed = struct.unpack("<IHHI", value)
            places[ordinal] = offset, packed >> _SIZE_SHIFT if attribute == _KPARAM_INFO else packed
        elif attribute == _PARAM_BYTES:
            total = struct.unpack("<H", value)[0]
        elif attribute in (_MAX_THREADS, _REQUIRED_THREADS):
            x, y, z = struct.unpack("<III", value)
            threads = x * y * z
    end = 0
    for ordinal in range(len(places)):
        if ordinal not in places or places[ordinal][0] < end:
            raise ValueError(f"parameters of {name} are {places}")
        end = sum(places[ordinal])
    if not end <= total < end + 16:
        raise ValueError(f"parameters of {name} end at {end}, and it takes {total} bytes")
    return tuple(places[ordinal][1] for ordinal in range(len(places))), threads


def _attributes(content: bytes) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place + 4 <= len(content):
        form, attribute, length = struct.unpack_from("<BBH", content, place)
        place += 4
        if form != _LONG:
            yield attribute, content[place - 2 : place]
            continue
        yield attribute, content[place : place + length]
        place += length


def _sections(content: bytes) -> list[_Section]:
    if content[:6] != b"\x7fELF\x02\x01":
        raise ValueError("no ELF header")
    offset = struct.unpack_from("<Q", content, 40)[0]
    size, count, names = struct.unpack_from("<HHH", content, 58)
    rows = [struct.unpack_from("<IIQQQQIIQQ", content, offset + index * size) for index in range(count)]
    base = rows[names][4]
    found = []
    for name, kind, _flags, _address, place, length, link, info, _, _entry in rows:
        start = base + name
        text = content[start : content.index(b"\0", start)].decode()
        found.append(_Section(text, kind, place, length, link, info, content[place : place + length]))
    return found


def _symbols(content: bytes, sections: list[_Section]) -> Iterator[tuple[str, int, int]]:
    """(name, info, section) in the table's order."""
    table = next((section for section in sections if section.kind == _SYMTAB), None)
    if table is None:
        return
    names = sections[table.link].content
    for name, info, _other, index, _value, _size in struct.iter_unpack("<IBBHQQ", table.content[: table.size // 24 * 24]):
        yield names[name : names.index(b"\0", name)].decode(), info, index
