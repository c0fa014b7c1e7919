"""Tokens of C-like and Python sources, only as deep as tunables need: comments and strings are told apart from code.

Both tokenizers yield logical lines: in C after splicing of backslash-newlines (outside raw strings), in Python as the
language's own tokenizer sees them. Offsets always refer to the source as it was given, CRLF and all.
"""

from __future__ import annotations

import io
import re
import tokenize
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from archive.values import Place

__all__ = ["Line", "Token", "c_lines", "c_tokens", "normalised", "python_lines", "python_tokens"]


class Token(NamedTuple):
    """One token of code; `text` has line continuations removed, `start` and `end` are offsets into the source."""

    kind: str
    """`name`, `number`, `string` (plain), `other_string` (raw, prefixed, character, unterminated), `punctuation`,
    `comment` (marker included), `newline` (of a logical line), and for Python `indent` and `dedent`."""
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Line:
    """The code of a logical line up to a line comment, and that comment."""

    tokens: tuple[Token, ...]
    comment: str
    """Text after the comment marker, continuations removed."""
    number: int
    """Line of the comment's start, from 1."""


PLAIN = frozenset({"space", "newline", "number", "name", "punctuation"})
SPANNING = re.compile(r'R"|/\*|\\[ \t\v\f]*\r?\n')
"""What may make a line depend on those before it: a raw string, a block comment, a line continuation."""
SPLICE = re.compile(r"\\[ \t\v\f]*\r?\n")
C_TOKEN = re.compile(
    r"""(?P<space>[ \t\v\f\r\ufeff]+)
    |(?P<newline>\n)
    |(?P<line_comment>//[^\n]*)
    |(?P<block_comment>/\*[\s\S]*?(?:\*/|\Z))
    |(?P<raw>(?:u8|[uUL])?R"(?P<delimiter>[^()\\\s"]{0,16})\()
    |(?P<quoted>(?P<prefix>u8|[uUL])?(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<unterminated>["'][^\n]*)
    |(?P<number>\.?[0-9](?:[eEpP][+-]|'[0-9A-Za-z_]|[0-9A-Za-z_.])*)
    |(?P<name>[^\W\d][\w$]*)
    |(?P<punctuation>::|.)""",
    re.VERBOSE,
)


class Spliced:
    """A source with its line continuations removed, and the way back to the original offsets."""

    def __init__(self, source: str) -> None:
        self.cuts: list[int] = []
        """Offsets in `text` where something was removed, ascending."""
        self.removed: list[int] = [0]
        """Characters removed in total before the first cut, after it, after the second, …"""
        pieces, last = [], 0
        for match in SPLICE.finditer(source):
            pieces.append(source[last : match.start()])
            self.cuts.append(match.start() - self.removed[-1])
            self.removed.append(self.removed[-1] + match.end() - match.start())
            last = match.end()
        pieces.append(source[last:])
        self.text = "".join(pieces)

    def original(self, offset: int, *, end: bool = False) -> int:
        """Offset in the source of `text[offset]`; as an `end`, just behind the character before it."""
        if not self.cuts:
            return offset
        if end:
            return self.original(offset - 1) + 1 if offset else 0
        return offset + self.removed[bisect_right(self.cuts, offset)]

    def spliced(self, original: int) -> int:
        """Offset in `text` of an offset in the source (the next one, where that character was removed)."""
        low, high = 0, len(self.text)
        while low < high:
            middle = (low + high) // 2
            if self.original(middle) < original:
                low = middle + 1
            else:
                high = middle
        return low


def c_tokens(source: str) -> Iterator[Token]:
    """Tokens of C, C++, CUDA or HIP, with `comment` for line comments (marker included) and `newline` between logical lines."""
    spliced = Spliced(source)
    text, position, straight = spliced.text, 0, not spliced.cuts
    line: list[str] = []
    while position < len(text):
        match = C_TOKEN.match(text, position)
        assert match is not None, "the last alternatives match any character"
        kind = match.lastgroup
        if kind in PLAIN and straight and not (len(line) == 2 and _in_include(line)):  # nearly all of a source; the rest says it in full
            start, position = position, match.end()
            if kind != "space":
                yield Token(kind, match.group(), start, position)
                if kind == "newline":
                    line = []
                elif len(line) < 3:
                    line.append(match.group())
            continue
        header = text.find(">", position) if _in_include(line) and text[position] == "<" else -1
        start, position = position, match.end()
        if header > 0 and "\n" not in text[start:header]:
            kind, position = "quoted", header + 1
        elif match["raw"]:
            opened = spliced.original(position, end=True)
            closed = source.find(f'){match["delimiter"]}"', opened)
            stop = len(source) if closed < 0 else closed + len(match["delimiter"]) + 2
            yield Token("other_string", source[spliced.original(start) : stop], spliced.original(start), stop)
            position = spliced.spliced(stop)
        if kind in ("quoted", "unterminated"):
            plain = kind == "quoted" and text[start] == '"'
            yield _token("string" if plain else "other_string", spliced, start, position)
        elif kind == "line_comment":
            yield _token("comment", spliced, start, position)
        elif kind in ("number", "name", "punctuation", "newline"):
            yield _token(kind, spliced, start, position)
        if kind not in ("space", "block_comment"):
            line = [] if kind == "newline" else [*line, text[start:position]] if len(line) < 3 else line


def c_lines(source: str, holding: str = "") -> Iterator[Line]:
    """Logical lines of C, C++, CUDA or HIP that end in a line comment.

    Args:
        holding: a text; lines without it may be left out, which saves nearly all the work where no construct can span lines.
    """
    if holding and not SPANNING.search(source):
        position = 0
        for number, line in enumerate(source.split("\n"), start=1):
            if holding in line:
                for found in c_lines(line):
                    moved = (Token(one.kind, one.text, one.start + position, one.end + position) for one in found.tokens)
                    yield Line(tuple(moved), found.comment, number)
            position += len(line) + 1
        return
    newlines = [match.start() for match in re.finditer("\n", source)]
    tokens: list[Token] = []
    for token in c_tokens(source):
        if token.kind == "newline":
            tokens = []
        elif token.kind == "comment":
            yield Line(tuple(tokens), token.text[2:].rstrip("\r"), bisect_left(newlines, token.start) + 1)
        else:
            tokens.append(token)


def _token(kind: str, spliced: Spliced, start: int, end: int) -> Token:
    return Token(kind, spliced.text[start:end], spliced.original(start), spliced.original(end, end=True))


def _in_include(line: list[str]) -> bool:
    return len(line) == 2 and line[0] == "#" and line[1] in ("include", "include_next", "import", "embed")


def python_tokens(source: str, file: str) -> Iterator[Token]:
    """Tokens of Python, with `comment` (marker included), `newline` at the end of logical lines, `indent` and `dedent`.

    Raises:
        TunableError: Python's tokenizer cannot read the text.
    """
    rows = list(io.StringIO(source, newline=""))
    starts = [0]
    for row in rows:
        starts.append(starts[-1] + len(row))
    starts.append(starts[-1])
    try:
        for number, text, (row_number, column), (end_row, end_column), _ in tokenize.generate_tokens(iter(rows).__next__):
            kind = PYTHON_KINDS.get(number)
            if kind is not None:
                plain = kind != "string" or (text[0] in "\"'" and text[:3] not in ('"""', "'''"))
                yield Token(kind if plain else "other_string", text, starts[row_number - 1] + column, starts[end_row - 1] + end_column)
    except (tokenize.TokenError, SyntaxError) as error:
        line = error.args[1][0] if isinstance(error, tokenize.TokenError) else (error.lineno or 1)
        Place(file, line).fail(
            "the text is not Python", found=str(error.args[0]), expected="balanced brackets, closed strings and consistent indentation",
            remedy="mend the syntax; `python -m py_compile FILE` shows where it breaks",
        )  # fmt: skip


def python_lines(source: str, file: str) -> Iterator[Line]:
    """Logical lines of Python that end in a comment.

    Raises:
        TunableError: Python's tokenizer cannot read the text.
    """
    newlines = [match.start() for match in re.finditer("\n", source)]
    tokens: list[Token] = []
    for token in python_tokens(source, file):
        if token.kind == "newline":
            tokens = []
        elif token.kind == "comment":
            yield Line(tuple(tokens), token.text[1:].rstrip("\r"), bisect_left(newlines, token.start) + 1)
        elif token.kind not in ("indent", "dedent"):
            tokens.append(token)


def normalised(source: str, family: str) -> str:
    """The code alone: no comments, no blank space beyond what the language needs to tell programs apart.

    Raises:
        TunableError: Python's tokenizer cannot read the text.
    """
    if family == "python":
        kinds = {"newline": "\n", "indent": "\x01", "dedent": "\x02"}
        return "\0".join(kinds.get(token.kind, token.text) for token in python_tokens(source, "<kernel>") if token.kind != "comment")
    pieces: list[str] = []
    line: list[Token] = []
    for token in c_tokens(source):
        if token.kind == "newline":
            # Line ends matter only to the preprocessor, and there a blank tells `#define F (x)` from `#define F(x)`.
            if line and line[0].text == "#":
                pieces.append("\n")
            line = []
        elif token.kind != "comment":
            if not line and token.text == "#":
                pieces.append("\n")
            defined = len(line) == 3 and line[0].text == "#" and line[1].text == "define" and token.start > line[2].end
            pieces.append(" " + token.text if defined else token.text)
            line.append(token)
    return "\0".join(pieces).replace("\n\0\n", "\n").strip("\n\0")


PYTHON_KINDS = {
    tokenize.NAME: "name",
    tokenize.NUMBER: "number",
    tokenize.STRING: "string",
    tokenize.OP: "punctuation",
    tokenize.ERRORTOKEN: "punctuation",
    tokenize.COMMENT: "comment",
    tokenize.NEWLINE: "newline",
    tokenize.INDENT: "indent",
    tokenize.DEDENT: "dedent",
}
# From Python 3.12 on an f-string comes in pieces.
PYTHON_KINDS |= {
    getattr(tokenize, name): "other_string" for name in ("FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END") if hasattr(tokenize, name)
}
