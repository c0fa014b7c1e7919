"""The values a tunable may take, how a literal spells them, and the error of everything that is spelled wrong."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

__all__ = [
    "INTEGER_RANGE",
    "EmptySpaceError",
    "Number",
    "Place",
    "TunableError",
    "Value",
    "decode_string",
    "encode_string",
    "kind_of",
    "read_number",
    "show",
]

Value = bool | int | float | str

INTEGER_RANGE = (-(1 << 63), (1 << 64) - 1)
"""Inclusive bounds of an integer value: what fits some 64-bit type."""

SIMPLE_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "v": "\v",
    "0": "\0",
    "\\": "\\",
    '"': '"',
    "'": "'",
    "?": "?",
}
ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})(?![0-9a-fA-F])|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{1,3})|(.))", re.DOTALL)
NUMBER = re.compile(
    r"(?P<float>(?:[0-9][0-9_']*)?\.[0-9][0-9_']*(?:[eE][+-]?[0-9]+)?|[0-9][0-9_']*\.(?:[eE][+-]?[0-9]+)?|[0-9][0-9_']*[eE][+-]?[0-9]+)"
    r"(?P<float_suffix>[fFlL]?)"
    r"|(?P<integer>0[xX][0-9a-fA-F_']+|0[bB][01_']+|0[oO][0-7_']+|[0-9][0-9_']*)(?P<integer_suffix>[uUlLzZ]{0,3})"
)


class TunableError(Exception):
    """A tunable, a domain, a `require` or a value is not what the syntax or the space allows.

    `str(error)` reads `FILE:LINE: what is wrong; found …; expected …; remedy`.
    """

    def __init__(
        self, message: str, *, file: str = "<kernel>", line: int = 0, found: str = "", expected: str = "", remedy: str = ""
    ) -> None:
        self.message, self.file, self.line, self.found, self.expected, self.remedy = message, file, line, found, expected, remedy
        where = f"{file}:{line}" if line else file
        parts = [message, f"found {found}" if found else "", f"expected {expected}" if expected else "", remedy]
        super().__init__(f"{where}: " + "; ".join(part for part in parts if part))

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_error, (type(self), self.message, self.file, self.line, self.found, self.expected, self.remedy)


class EmptySpaceError(TunableError):
    """A space holds no legal configuration, or none that could be found."""


def _rebuild_error(kind: type[TunableError], message: str, file: str, line: int, found: str, expected: str, remedy: str) -> TunableError:
    return kind(message, file=file, line=line, found=found, expected=expected, remedy=remedy)


@dataclass(frozen=True, slots=True)
class Place:
    """File and line (from 1) of what is being read, for messages."""

    file: str
    line: int

    def fail(self, message: str, *, found: str = "", expected: str = "", remedy: str = "") -> NoReturn:
        """Raises a `TunableError` about this place."""
        raise TunableError(message, file=self.file, line=self.line, found=found, expected=expected, remedy=remedy)


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was spelled: `0x40u` is (64, "0x", "u")."""

    value: int | float
    prefix: str
    """`0x`, `0b`, `0o`, C's octal `0`, or empty."""
    suffix: str
    """`u`, `ull`, `f`, … as written."""

    def spell(self, value: int | float) -> str:
        """Another number without its sign, in the same base and with the same suffix."""
        if isinstance(self.value, float):
            text = repr(float(abs(value)))
            return text + self.suffix
        digits = {"x": "x", "X": "X", "b": "b", "B": "b", "o": "o", "O": "o", "0": "o"}.get(self.prefix[-1:], "d")
        prefix = "" if self.prefix == "0" and value == 0 else self.prefix
        return prefix + format(abs(int(value)), digits) + self.suffix


def read_number(text: str, *, c: bool) -> Number | None:
    """The number that the whole of `text` (unsigned) spells, or None; `c` allows suffixes, `'` separators and octal `0…`."""
    match = NUMBER.fullmatch(text)
    if match is None:
        return None
    digits = match["float"] or match["integer"]
    suffix = match["float_suffix"] or match["integer_suffix"] or ""
    if not c and (suffix or "'" in digits):
        return None
    if c and "_" in digits:
        return None
    plain = digits.replace("'", "").replace("_", "")
    if match["float"]:
        value = float(plain)
        return Number(value, "", suffix) if value <= 1.7976931348623157e308 else None
    if plain[:2].lower() in ("0x", "0b", "0o"):
        return None if c and plain[1] in "oO" else Number(int(plain, 0), plain[:2], suffix)
    if len(plain) > 1 and plain[0] == "0":
        return Number(int(plain, 8), "0", suffix) if c and not set(plain) & {"8", "9"} else None
    return Number(int(plain), "", suffix)


def decode_string(text: str) -> str | None:
    """What stands between the quotes of a plain string literal, its escapes undone; None if one is unknown.

    The escapes are C's, of which Python's common ones are a part.
    """
    if "\\" not in text:
        return text
    unknown = False

    def undo(match: re.Match[str]) -> str:
        nonlocal unknown
        for group in (1, 2, 3):
            if match[group]:
                code = int(match[group], 16)
                if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                    unknown = True
                    return ""
                return chr(code)
        if match[4]:
            return chr(int(match[4], 8))
        if match[5] not in SIMPLE_ESCAPES:
            unknown = True
        return SIMPLE_ESCAPES.get(match[5], "")

    decoded = ESCAPE.sub(undo, text)
    return None if unknown else decoded


def encode_string(value: str, quote: str = '"') -> str:
    """A literal, quotes included, that C and Python both read as `value`."""
    pieces = [quote]
    for character in value:
        if character in ("\\", quote):
            pieces.append("\\" + character)
        elif character.isprintable():
            pieces.append(character)
        elif ord(character) < 0x80:
            pieces.append(f"\\{ord(character):03o}")
        else:
            pieces.append(f"\\U{ord(character):08x}")
    return "".join(pieces) + quote


def kind_of(value: Value) -> str:
    """`bool`, `integer`, `float` or `string`."""
    return {bool: "bool", int: "integer", float: "float", str: "string"}[type(value)]


def show(value: Value) -> str:
    """A value as a domain spells it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return encode_string(value) if isinstance(value, str) else repr(value)
