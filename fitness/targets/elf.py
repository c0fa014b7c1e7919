"""A built shared object, read without running or trusting it: its hash, what it imports, what it would run at load time."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ElfError", "SharedObject", "Symbol"]

_SHT_SYMTAB, _SHT_NOBITS, _SHT_NOTE, _SHT_DYNSYM, _SHT_DYNAMIC, _SHT_RELA = 2, 8, 7, 11, 6, 4
_SHF_ALLOC = 2
_IRELATIVE = frozenset({(62, 37), (183, 1032)})  # (machine, relocation): runs a resolver at load time
_RUNS_AT_LOAD = {12: "DT_INIT", 13: "DT_FINI", 25: "DT_INIT_ARRAY", 26: "DT_FINI_ARRAY", 32: "DT_PREINIT_ARRAY"}
_NEEDED = 1


class ElfError(Exception):
    """The file is no whole 64-bit little-endian ELF object."""


@dataclass(frozen=True, slots=True)
class Symbol:
    name: str
    address: int
    size: int
    kind: int
    """STT_*: 1 object, 2 function, 10 indirect function."""
    defined: bool
    is_global: bool


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    entry: int


class SharedObject:
    """An ELF shared object. Raises `ElfError` on construction when the file is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._data = path.read_bytes()
        try:
            self.machine, self._sections = self._read_sections()
            self.symbols = self._read_symbols(_SHT_DYNSYM)
            self.local_symbols = self._read_symbols(_SHT_SYMTAB)
            self._dynamic = self._read_dynamic()
        except (struct.error, IndexError, OverflowError, ValueError) as error:
            raise ElfError(f"{path}: found a damaged object ({error}), expected a 64-bit little-endian shared object") from error

    @property
    def exports(self) -> frozenset[str]:
        """Names of defined functions that a loader can find."""
        return frozenset(each.name for each in self.symbols if each.defined and each.is_global and each.kind == 2)

    @property
    def imports(self) -> frozenset[str]:
        """Names that other libraries have to provide (weak ones too)."""
        return frozenset(each.name for each in self.symbols if not each.defined and each.name)

    @property
    def needed(self) -> tuple[str, ...]:
        """Libraries it asks the loader for."""
        table = next((each for each in self._sections if each.name == ".dynstr"), None)
        return tuple(self._text(table, value) for tag, value in self._dynamic if tag == _NEEDED) if table else ()

    @property
    def load_time_code(self) -> tuple[str, ...]:
        """What would run when it is loaded: constructors, init functions, resolvers; empty for an honest kernel."""
        found = [_RUNS_AT_LOAD[tag] for tag, _ in self._dynamic if tag in _RUNS_AT_LOAD]
        for section in self._sections:
            if section.kind == _SHT_RELA and section.flags & _SHF_ALLOC:
                for offset in range(section.offset, section.offset + section.size, 24):
                    info = struct.unpack_from("<Q", self._data, offset + 8)[0]
                    if (self.machine, info & 0xFFFFFFFF) in _IRELATIVE:
                        found.append("indirect function")
        if any(each.kind == 10 for each in (*self.symbols, *self.local_symbols)):
            found.append("indirect function")
        return tuple(dict.fromkeys(found))

    def content_hash(self) -> str:
        """SHA-256 (40 hex digits) over every section that is loaded, notes left out: code, data, imports and relocations.

        Names of the file, comments, symbols for debugging and build identifiers are in other sections.
        """
        digest = hashlib.sha256(self.machine.to_bytes(2, "little"))
        for section in self._sections:
            if not section.flags & _SHF_ALLOC or section.kind == _SHT_NOTE:
                continue
            digest.update(f"{section.name}\0{section.kind}\0{section.flags}\0{section.size}\0".encode())
            if section.kind != _SHT_NOBITS:
                digest.update(self._bytes(section))
        return digest.hexdigest()[:40]

    def _bytes(self, section: _Section) -> bytes:
        if section.offset + section.size > len(self._data):
            raise ValueError(f"section {section.name} ends behind the file")
        return self._data[section.offset : section.offset + section.size]

    def _text(self, table: _Section, offset: int) -> str:
        start = table.offset + offset
        return self._data[start : self._data.index(b"\0", start)].decode()

    def _read_sections(self) -> tuple[int, tuple[_Section, ...]]:
        if self._data[:6] != b"\x7fELF\x02\x01":
            raise ValueError("no ELF header")
        machine = struct.unpack_from("<H", self._data, 18)[0]
        offset = struct.unpack_from("<Q", self._data, 40)[0]
        size, count, names = struct.unpack_from("<HHH", self._data, 58)
        rows = [struct.unpack_from("<IIQQQQIIQQ", self._data, offset + index * size) for index in range(count)]
        base = rows[names][4]
        sections = []
        for name, kind, flags, address, place, length, link, _, _, entry in rows:
            start = base + name
            text = self._data[start : self._data.index(b"\0", start)].decode()
            sections.append(_Section(text, kind, flags, address, place, length, link, entry))
        return machine, tuple(sections)

    def _read_symbols(self, kind: int) -> tuple[Symbol, ...]:
        found = []
        for section in self._sections:
            if section.kind != kind or not section.entry:
                continue
            table = self._sections[section.link]
            for offset in range(section.offset, section.offset + section.size, section.entry):
                name, info, _, index, value, size = struct.unpack_from("<IBBHQQ", self._data, offset)
                if name:
                    found.append(Symbol(self._text(table, name), value, size, info & 15, index != 0, info >> 4 in (1, 2, 10)))
        return tuple(found)

    def _read_dynamic(self) -> tuple[tuple[int, int], ...]:
        section = next((each for each in self._sections if each.kind == _SHT_DYNAMIC), None)
        if section is None:
            return ()
        return tuple(struct.iter_unpack("<qQ", self._bytes(section)[: section.size // 16 * 16]))
