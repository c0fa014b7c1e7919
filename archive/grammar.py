"""The grammar of a domain: `{8, 16, 32}`, `[lo..hi step k]`, `2**[a..b]`.

    domain := "{" value ("," value)* [","] "}" | "[" number ".." number ["step" number] "]" | "2" "**" "[" integer ".." integer "]"
    value  := "true" | "false" | string | number | "(" number ")"
    number := ["-" | "+"] digits in any base, or a float

All values are of one type, and no value occurs twice. Literal suffixes (`64u`, `1.0f`) are allowed and ignored.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from archive.values import INTEGER_RANGE, Place, Value, decode_string, kind_of, read_number, show

__all__ = ["MOST_VALUES", "parse_domain"]

MOST_VALUES = 4096
"""Largest domain; beyond it a search space is a mistake."""

FORMS = "`{v, …}`, `[lo..hi step k]` or `2**[a..b]`"
LEXEME = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>(?:[0-9][0-9_']*)?\.[0-9][0-9A-Za-z_']*(?:(?<=[eE])[+-][0-9]+\w*)?
        |0[xXbBoO][0-9A-Fa-f_']+[uUlLzZ]*
        |[0-9][0-9_']*[eE][+-]?[0-9]+\w*
        |[0-9][0-9_']*(?:\.(?!\.))?[fFlLuUzZ]*)
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<name>[^\W\d]\w*)
    |(?P<punctuation>\.\.|\*\*|.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Lexeme:
    kind: str
    text: str
    end: int


class Reader:
    """A cursor over the lexemes of one domain."""

    def __init__(self, text: str, place: Place) -> None:
        self.text, self.place, self.position = text, place, 0
        self.lexemes: list[Lexeme] = []
        offset = 0
        while match := LEXEME.match(text, offset):
            offset = match.end()
            if match.lastgroup != "space":
                self.lexemes.append(Lexeme(str(match.lastgroup), match[0], offset))

    def peek(self) -> str:
        return self.lexemes[self.position].text if self.position < len(self.lexemes) else ""

    def next(self) -> Lexeme:
        """The next lexeme, consumed; an empty one at the end."""
        lexeme = self.lexemes[self.position] if self.position < len(self.lexemes) else Lexeme("end", "", len(self.text))
        self.position += 1
        return lexeme

    def accept(self, text: str) -> bool:
        if self.peek() != text:
            return False
        self.position += 1
        return True

    def expect(self, text: str, inside: str) -> None:
        found = self.next()
        if found.text != text:
            self.place.fail(
                f"malformed domain {inside}", found=quote(found.text), expected=f"`{text}`", remedy=f"write the domain as {FORMS}"
            )

    def rest(self) -> str:
        """What follows the lexemes consumed so far."""
        return self.text[self.lexemes[self.position - 1].end :] if self.position else self.text


def parse_domain(text: str, place: Place) -> tuple[tuple[Value, ...], str]:
    """Reads a domain from the start of `text`.

    Returns:
        The values in the order written (ranges ascending), and the text behind the domain.

    Raises:
        TunableError: malformed, empty, of mixed types, with duplicates, or of more than `MOST_VALUES` values.
    """
    reader = Reader(text, place)
    opening = reader.next().text
    if opening == "{":
        values = _listed(reader)
    elif opening == "[":
        values = _range(reader)
    elif opening == "2" and reader.peek() == "**":
        values = _powers(reader)
    else:
        place.fail(
            "no domain", found=quote(text.strip()), expected=FORMS, remedy="say which values the tunable may take, e.g. `evo: {8, 16, 32}`"
        )
    kinds = sorted({kind_of(value) for value in values})
    if len(kinds) > 1:
        place.fail(
            "mixed types in a domain",
            found=" and ".join(kinds),
            expected="values of one type",
            remedy="write every value alike (`1.0`, not `1`, among floats)",
        )
    if len(values) > MOST_VALUES:
        place.fail(
            "the domain is too large",
            found=f"{len(values)} values",
            expected=f"at most {MOST_VALUES}",
            remedy="use a larger step, or powers `2**[a..b]`",
        )
    seen: set[Value] = set()
    for value in values:
        if value in seen:
            place.fail("a value occurs twice in the domain", found=show(value), expected="each value once", remedy="remove the repetition")
        seen.add(value)
    return values, reader.rest()


def quote(text: str) -> str:
    return f"`{text}`" if text else "the end of the line"


def _listed(reader: Reader) -> tuple[Value, ...]:
    values: list[Value] = []
    if reader.accept("}"):
        reader.place.fail("empty domain", found="`{}`", expected="at least one value", remedy="list the values, the current one among them")
    while True:
        values.append(_value(reader))
        if reader.accept("}"):
            return tuple(values)
        reader.expect(",", "`{…}`")
        if reader.accept("}"):
            return tuple(values)


def _value(reader: Reader) -> Value:
    if reader.accept("("):
        value = _number(reader)
        reader.expect(")", "`{…}`")
        return value
    lexeme = reader.next()
    if lexeme.kind == "string":
        decoded = decode_string(lexeme.text[1:-1])
        if decoded is None:
            reader.place.fail(
                "unknown escape in a string of the domain",
                found=lexeme.text,
                expected=r"\n, \t, \\, \", \xHH, \uHHHH",
                remedy="double the backslash",
            )
        return decoded
    if lexeme.text in ("true", "True"):
        return True
    if lexeme.text in ("false", "False"):
        return False
    reader.position -= 1
    return _number(reader)


def _number(reader: Reader) -> int | float:
    return _signed(reader)[0]


def _signed(reader: Reader) -> tuple[int | float, str]:
    """A number and its exact decimal text."""
    sign = "-" if reader.accept("-") else ""
    if not sign:
        reader.accept("+")
    lexeme = reader.next()
    number = read_number(lexeme.text, c=True) or read_number(lexeme.text, c=False) if lexeme.kind == "number" else None
    if number is None:
        reader.place.fail(
            "malformed value in a domain",
            found=quote(lexeme.text),
            expected="a number, a quoted string, true or false",
            remedy="quote strings; leave out expressions",
        )
    value = -number.value if sign else number.value
    if isinstance(value, int) and not INTEGER_RANGE[0] <= value <= INTEGER_RANGE[1]:
        reader.place.fail(
            "an integer does not fit 64 bits",
            found=str(value),
            expected=f"{INTEGER_RANGE[0]} … {INTEGER_RANGE[1]}",
            remedy="use smaller values",
        )
    exact = repr(value) if isinstance(value, int) else sign + lexeme.text.rstrip("fFlL").replace("'", "").replace("_", "")
    return value, exact


def _range(reader: Reader) -> tuple[Value, ...]:
    low, low_text = _signed(reader)
    reader.expect("..", "`[lo..hi]`")
    high, high_text = _signed(reader)
    step, step_text = _signed(reader) if reader.accept("step") else (1 if isinstance(low, int) else None, "1")
    reader.expect("]", "`[lo..hi step k]`")
    written = f"[{low_text}..{high_text}" + ("]" if step in (1, None) else f" step {step_text}]")
    fail = reader.place.fail
    if step is None:
        fail(
            "a range of floats without a step",
            found=written,
            expected="`[lo..hi step k]`",
            remedy="state the step, e.g. `[0.5..2.0 step 0.5]`",
        )
    if len({type(low), type(high), type(step)}) > 1:
        fail("mixed types in a range", found=written, expected="three integers or three floats", remedy="write `1.0` for one among floats")
    if step <= 0:
        fail(
            "the step of a range is not positive",
            found=f"step {step_text}",
            expected="a step over 0",
            remedy="write ranges upwards: `[lo..hi step k]`",
        )
    if low > high:
        fail("empty range", found=written, expected="lo <= hi", remedy="exchange the bounds")
    exact_low, exact_high, exact_step = Decimal(low_text), Decimal(high_text), Decimal(step_text)
    count = int((exact_high - exact_low) // exact_step) + 1
    if count > MOST_VALUES:
        fail(
            "the domain is too large",
            found=f"{written}, {count} values",
            expected=f"at most {MOST_VALUES}",
            remedy="use a larger step, or powers `2**[a..b]`",
        )
    if isinstance(low, int):
        return tuple(range(low, int(high) + 1, int(step)))
    return tuple(float(exact_low + index * exact_step) for index in range(count))


def _powers(reader: Reader) -> tuple[Value, ...]:
    reader.expect("**", "`2**[a..b]`")
    reader.expect("[", "`2**[a..b]`")
    low = _number(reader)
    reader.expect("..", "`2**[a..b]`")
    high = _number(reader)
    reader.expect("]", "`2**[a..b]`")
    written, fail = f"2**[{low}..{high}]", reader.place.fail
    if not isinstance(low, int) or not isinstance(high, int) or low < 0 or high > 63:
        fail("exponents out of range", found=written, expected="integers from 0 to 63", remedy="list other values with `{…}`")
    if low > high:
        fail("empty range", found=written, expected="a <= b", remedy="exchange the bounds")
    return tuple(1 << exponent for exponent in range(low, high + 1))
