"""Tunables: literals that a kernel's own text declares variable. The file stays valid source.

    #define TILE_M 32            // evo: {8, 16, 32, 64}
    constexpr int UNROLL = 4;    // evo: 2**[0..4]
    // evo: require TILE_M % UNROLL == 0

    BLOCK = tl.constexpr(1024)   # evo: {256, 512, 1024}
    NUM_WARPS = 8                # evo: [2..16 step 2]

A declaration fills one logical line and ends in a line comment that begins with `evo:`; anything may follow the domain
in a comment of its own (`// evo: {8, 16}  // rows`). Text that merely looks so, in strings, block comments or the
middle of another comment, is text. Domains are read by `archive.grammar`, constraints by `archive.requires`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NoReturn

from archive.grammar import parse_domain, quote
from archive.lexing import Line, Token, c_lines, python_lines
from archive.requires import Require, compile_requires, parse_require
from archive.values import INTEGER_RANGE, Number, Place, TunableError, Value, decode_string, encode_string, kind_of, read_number, show

__all__ = ["LANGUAGES", "Declarations", "Require", "Tunable", "TunableError", "Value", "parse"]

LANGUAGES: Mapping[str, str] = MappingProxyType(
    {"cpp": "c", "c": "c", "cuda": "c", "hip": "c", "triton": "python", "python": "python", "cute": "python", "tabular": "python"}
)
"""Whose lexical rules a kernel's language follows."""

C_FORMS = "`#define NAME LITERAL` or `constexpr TYPE NAME = LITERAL;` alone on the line"
PYTHON_FORMS = "`NAME = LITERAL` or `NAME = tl.constexpr(LITERAL)` alone on the line"
SPECIFIERS = frozenset({"static", "inline", "constexpr", "const"})


@dataclass(frozen=True, slots=True)
class Literal:
    """How a value is spelled in the text, and how another one is to be."""

    value: Value
    text: str
    start: int
    end: int
    family: str
    """`c` or `python`."""
    number: Number | None = None
    parenthesise_negative: bool = False
    quote: str = '"'

    def spell(self, value: Value) -> str:
        """`value` in this literal's manner: its quotes, base, suffix; its own text for its own value."""
        if value == self.value:
            return self.text
        if isinstance(value, bool):
            return str(value).lower() if self.family == "c" else str(value)
        if isinstance(value, str):
            return encode_string(value, self.quote)
        assert self.number is not None
        digits = self.number.spell(value)
        if value >= 0:
            return digits
        return f"(-{digits})" if self.parenthesise_negative else f"-{digits}"


@dataclass(frozen=True, slots=True)
class Tunable:
    """One declared tunable."""

    name: str
    value: Value
    """The current value, one of `domain`."""
    domain: tuple[Value, ...]
    """In the order written; ranges ascending. All of one type."""
    line: int
    span: tuple[int, int]
    """Offsets of the literal in the source, sign and parentheses included."""
    spellings: tuple[str, ...]
    """What to write over `span` for each value of `domain`."""

    @property
    def kind(self) -> str:
        """`bool`, `integer`, `float` or `string`."""
        return kind_of(self.value)


@dataclass(frozen=True, slots=True)
class Declarations:
    """What a source declares, in the order of the text."""

    tunables: tuple[Tunable, ...] = ()
    requires: tuple[Require, ...] = ()


def parse(source: str, language: str, file: str = "<kernel>") -> Declarations:
    """Reads every declaration of `source`.

    Args:
        language: one of `LANGUAGES`.
        file: what error messages call the source.

    Raises:
        TunableError: a malformed declaration, domain or constraint; current values that break a constraint; an unknown
            language; for Python, a text that Python's tokenizer cannot read.
    """
    family = LANGUAGES.get(language)
    if family is None:
        raise TunableError(
            "unknown language",
            file=file,
            found=f"`{language}`",
            expected="one of " + ", ".join(LANGUAGES),
            remedy="correct the kernel's language",
        )
    if "evo:" not in source.replace("\\\n", "").replace("\\\r\n", ""):
        return Declarations()
    lines = c_lines(source, "evo:") if family == "c" else python_lines(source, file)
    tunables: dict[str, Tunable] = {}
    conditions: list[tuple[str, Place]] = []
    for line in lines:
        comment = line.comment.lstrip()
        if not comment.startswith("evo:"):
            continue
        body, place = comment[len("evo:") :].strip(), Place(file, line.number)
        if body == "require" or body.startswith(("require ", "require\t", "require(", "require!")):
            conditions.append((body[len("require") :], place))
            continue
        tunable = _declaration(source, line, body, family, place)
        if tunable.name in tunables:
            first = tunables[tunable.name].line
            place.fail(
                "a tunable is declared twice",
                found=f"`{tunable.name}`, first in line {first}",
                expected="unique names",
                remedy="rename one of them",
            )
        tunables[tunable.name] = tunable
    domains = {name: tunable.domain for name, tunable in tunables.items()}
    requires = tuple(parse_require(text, domains, place) for text, place in conditions)
    _check_current(tuple(tunables.values()), requires, file)
    return Declarations(tuple(tunables.values()), requires)


def _check_current(tunables: tuple[Tunable, ...], requires: tuple[Require, ...], file: str) -> None:
    for require in requires:
        holds = compile_requires([require], [tunable.name for tunable in tunables])
        assert holds is not None
        try:
            met = bool(holds(*(tunable.value for tunable in tunables)))
        except ArithmeticError:
            met = False
        if not met:
            found = ", ".join(f"{tunable.name} = {show(tunable.value)}" for tunable in tunables if tunable.name in require.names)
            Place(file, require.line).fail(
                "the current values break a require",
                found=found,
                expected=f"`{require.text}`",
                remedy="change the literals or the condition",
            )


def _declaration(source: str, line: Line, body: str, family: str, place: Place) -> Tunable:
    name, tokens, define = _split_c(line, place) if family == "c" else _split_python(line, place)
    domain, rest = parse_domain(body, place)
    marker = "//" if family == "c" else "#"
    if rest.strip() and not rest.strip().startswith(marker):
        place.fail(
            "text behind a domain",
            found=quote(rest.strip()),
            expected="the end of the line",
            remedy=f"put remarks in a comment of their own: `{marker} evo: {{…}}  {marker} remark`",
        )
    literal = _literal(source, tokens, family, define, place)
    kind = kind_of(domain[0])
    if kind != kind_of(literal.value):
        place.fail(
            f"literal and domain of `{name}` differ in type", found=f"{kind_of(literal.value)} `{literal.text}` with a domain of {kind}s",
            expected="one type", remedy="write the literal and the domain alike (`1.0`, not `1`, among floats)",
        )  # fmt: skip
    if literal.value not in domain:
        shown = ", ".join(show(value) for value in domain[:8]) + (", …" if len(domain) > 8 else "")
        place.fail(
            f"the current value of `{name}` is not in its domain",
            found=literal.text,
            expected=f"one of {shown}",
            remedy="add it to the domain, or change the literal",
        )
    spellings = tuple(literal.spell(value) for value in domain)
    return Tunable(name, literal.value, domain, line.number, (literal.start, literal.end), spellings)


def _split_c(line: Line, place: Place) -> tuple[str, tuple[Token, ...], bool]:
    """Name, literal's tokens, and whether it is a `#define`."""
    tokens, texts = line.tokens, [token.text for token in line.tokens]
    if texts[:2] == ["#", "define"] and len(tokens) >= 4 and tokens[2].kind == "name":
        if texts[3] == "(" and tokens[3].start == tokens[2].end:
            _no_declaration(f"the function-like macro `{texts[2]}(…)`", C_FORMS, place)
        return texts[2], tokens[3:], True
    if "constexpr" in texts and "=" in texts and texts[-1] == ";":
        equals = texts.index("=")
        head = [token for token in tokens[: equals - 1] if token.text not in SPECIFIERS]
        typed = bool(head) and all(token.kind == "name" or token.text in ("::", "*", "<", ">", ",") for token in head)
        if typed and texts.index("constexpr") < equals - 1 and tokens[equals - 1].kind == "name":
            return texts[equals - 1], tokens[equals + 1 : -1], False
    _no_declaration(_code(tokens), C_FORMS, place)


def _split_python(line: Line, place: Place) -> tuple[str, tuple[Token, ...], bool]:
    tokens, texts = line.tokens, [token.text for token in line.tokens]
    if len(tokens) < 3 or tokens[0].kind != "name" or texts[1] != "=":
        _no_declaration(_code(tokens), PYTHON_FORMS, place)
    if texts[2:6] == ["tl", ".", "constexpr", "("] and texts[-1] == ")":
        return texts[0], tokens[6:-1], False
    return texts[0], tokens[2:], False


def _no_declaration(found: str, forms: str, place: Place) -> NoReturn:
    place.fail(
        "an `evo:` comment on a line that declares no tunable",
        found=found,
        expected=forms,
        remedy="rewrite the line so, or remove the comment",
    )


def _code(tokens: tuple[Token, ...]) -> str:
    text = " ".join(token.text for token in tokens)
    return f"`{text if len(text) <= 80 else text[:79] + '…'}`" if text else "no code on the line"


def _literal(source: str, tokens: tuple[Token, ...], family: str, define: bool, place: Place) -> Literal:
    """The literal that `tokens` spell: `LIT`, `-LIT` or `(-LIT)`."""
    inner, parenthesised = tokens, False
    if len(tokens) >= 3 and tokens[0].text == "(" and tokens[-1].text == ")":
        inner, parenthesised = tokens[1:-1], True
    signs = inner[:1] if len(inner) == 2 and inner[0].text in ("-", "+") else ()
    token = inner[-1] if len(inner) == len(signs) + 1 else None
    value, number, quotes = _value(token, family) if token is not None else (None, None, '"')
    if token is None or value is None or (signs and number is None):
        found = _code(tokens) if tokens else "nothing"
        expected = "one bool, number or plain string" + (
            ", no prefix, no expression" if family == "c" else ", not a raw, formatted or triple-quoted string, no expression"
        )
        place.fail("the value of a tunable is no literal", found=found, expected=expected, remedy="write the value out")
    if signs and signs[0].text == "-":
        assert not isinstance(value, str)
        value = -value
        if define and not parenthesised:
            place.fail(
                "a negative macro without parentheses",
                found=_code(tokens),
                expected=f"`(-{token.text})`",
                remedy="parenthesise it, since a macro is pasted into expressions",
            )
    if isinstance(value, int) and not INTEGER_RANGE[0] <= value <= INTEGER_RANGE[1]:
        place.fail("an integer does not fit 64 bits", found=token.text, expected="a 64-bit integer", remedy="use a smaller value")
    # The parentheses of a negative number belong to its sign, those of anything else to the text around it.
    outer = tokens if parenthesised and number is not None and signs else inner
    text = source[outer[0].start : outer[-1].end]
    if "\n" in text:
        place.fail(
            "the value of a tunable is broken across lines", found=_code(tokens), expected="a literal on one line", remedy="join the lines"
        )
    negative = define or (parenthesised and bool(signs))
    return Literal(value, text, outer[0].start, outer[-1].end, family, number, negative, quotes)


def _value(token: Token, family: str) -> tuple[Value | None, Number | None, str]:
    if token.kind == "number":
        number = read_number(token.text, c=family == "c")
        return (None, None, '"') if number is None else (number.value, number, '"')
    if token.kind == "string":
        return decode_string(token.text[1:-1]), None, token.text[0]
    spelled = {"true": True, "false": False} if family == "c" else {"True": True, "False": False}
    return spelled.get(token.text) if token.kind == "name" else None, None, '"'
