"""C++ source as tokens and preprocessor directives, each with its line: what the policy looks at.

Comments vanish, continuations are joined, strings (raw ones too) are one token: nothing can hide in them or pretend to be in one.
"""

from __future__ import annotations

import functools
import re
from bisect import bisect_right
from dataclasses import dataclass

__all__ = ["Directive", "SourceError", "Text", "Token", "read"]


class SourceError(Exception):
    """The text is no C++ even for a tokenizer (an open comment or string)."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    """`name`, `number`, `string` (with quotes and prefix), `char`, `mark` (punctuation), `header` (`<x>` or `"x"` after #include)."""
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Directive:
    """`#name tokens…`."""

    name: str
    tokens: tuple[Token, ...]
    line: int
    depth: int
    """How many #if are open around it."""


@dataclass(frozen=True, slots=True)
class Text:
    tokens: tuple[Token, ...]
    """Everything outside directives."""
    directives: tuple[Directive, ...]


_TOKEN = re.compile(
    r"""
    (?P<comment>//[^\n]*|/\*.*?\*/)
  | (?P<raw>(?:u8|[uUL])?R"(?P<fence>[^()\\\s]{0,16})\(.*?\)(?P=fence)")
  | (?P<string>(?:u8|[uUL])?"(?:[^"\\\n]|\\.)*")
  | (?P<char>(?:u8|[uUL])?'(?:[^'\\\n]|\\.)+')
  | (?P<number>\.?\d(?:[eEpP][+-]|'[0-9A-Za-z_]|[0-9A-Za-z_.])*)
  | (?P<name>[A-Za-z_$\u0080-\U0010ffff][\w$]*)
  | (?P<newline>\n)
  | (?P<blank>[^\S\n]+)
  | (?P<mark>\#\#|%:%:|%:|\?\?=|<:|::|->|\[\[|\]\]|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_SPLICE = re.compile(r"\\[ \t\r\f\v]*\n")
_HEADER = re.compile(r'[ \t]*(<[^>\n]*>|"[^"\n]*")')


@functools.lru_cache(maxsize=16)
def read(source: str) -> Text:
    """Splits a source (remembered: policy and build both ask). Raises `SourceError` for an unterminated comment, string or character."""
    text, lines = _join(source)
    tokens: list[Token] = []
    directives: list[Directive] = []
    place, depth, fresh = 0, 0, True
    while place < len(text):
        match = _TOKEN.match(text, place)
        assert match is not None  # the last alternative takes any character
        kind, word, line = match.lastgroup or "mark", match.group(), lines.at(place)
        if match.group("raw") is not None:
            kind = "string"
        if kind == "comment" or kind == "blank":
            place = match.end()
        elif kind == "newline":
            place, fresh = match.end(), True
        elif fresh and word in ("#", "%:", "??="):
            directive, place = _directive(text, match.end(), line, depth, lines)
            directives.append(directive)
            depth += {"if": 1, "ifdef": 1, "ifndef": 1, "endif": -1}.get(directive.name, 0)
        else:
            _refuse_open(word, text, place, line)
            tokens.append(Token(kind, word, line))
            place, fresh = match.end(), False
    return Text(tuple(tokens), tuple(directives))


def _directive(text: str, place: int, line: int, depth: int, lines: _Lines) -> tuple[Directive, int]:
    """One directive from behind its `#` up to the end of its (joined) line."""
    found: list[Token] = []
    name = ""
    while place < len(text):
        if name in ("include", "include_next", "import", "embed") and not found:
            header = _HEADER.match(text, place)
            if header is not None:
                found.append(Token("header", header[1], line))
                place = header.end()
                continue
        match = _TOKEN.match(text, place)
        assert match is not None
        kind, word = match.lastgroup or "mark", match.group()
        if kind == "newline":
            break
        if match.group("raw") is not None:
            kind = "string"
        place = match.end()
        if kind in ("comment", "blank"):
            continue
        if kind == "name" and not name and not found:
            name = word
            continue
        if name not in ("error", "warning"):  # their text is prose, apostrophes included
            _refuse_open(word, text, match.start(), lines.at(match.start()))
        found.append(Token(kind, word, lines.at(match.start())))
    return Directive(name, tuple(found), line, depth), place


def _refuse_open(word: str, text: str, place: int, line: int) -> None:
    if word in ('"', "'"):
        raise SourceError(line, f"line {line} has a {'string' if word == chr(34) else 'character'} without an end")
    if word == "/" and text.startswith("/*", place):
        raise SourceError(line, f"line {line} opens a comment that nothing closes")


class _Lines:
    """Line numbers of offsets in the joined text."""

    def __init__(self, starts: list[int], numbers: list[int]) -> None:
        self._starts, self._numbers = starts, numbers

    def at(self, place: int) -> int:
        return self._numbers[bisect_right(self._starts, place) - 1]


def _join(source: str) -> tuple[str, _Lines]:
    """Joins continued lines (as the compiler does before all else, comments included) and remembers where they came from.

    Inside raw strings the standard undoes the joining; that cannot move anything between code and string here.
    """
    source = source.replace("\r\n", "\n")
    pieces: list[str] = []
    starts, numbers = [0], [1]
    length, line = 0, 1
    for physical in source.split("\n"):
        whole = physical + "\n"
        spliced = _SPLICE.search(whole)
        piece = whole[: spliced.start()] if spliced else whole
        pieces.append(piece)
        length += len(piece)
        line += 1
        starts.append(length)
        numbers.append(line)
    return "".join(pieces), _Lines(starts, numbers)
