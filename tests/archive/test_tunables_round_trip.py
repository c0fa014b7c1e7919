"""Properties of the parser: whatever is set is read back, and nothing but literals moves."""

from __future__ import annotations

import ast
import math
import random

from hypothesis import given
from hypothesis import strategies as st

from archive.kernel import Kernel
from archive.tunables import Value, parse
from archive.values import decode_string, encode_string, show

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
FLOATS = st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0)
DOMAINS = st.one_of(
    st.lists(st.integers(-(2**63), 2**64 - 1), min_size=1, max_size=6, unique=True),
    st.lists(FLOATS, min_size=1, max_size=6, unique=True),
    st.lists(TEXT, min_size=1, max_size=6, unique=True),
    st.sampled_from([[True, False], [False], [False, True]]),
)
NOISE = st.sampled_from(
    ["", "/* // evo: {1} */ ", 'const char* s = "// evo: {1}";\n', 'auto r = R"(// evo: {1}\n)";\n', "// größe 🚀\n", "int x = 1'000;\n"]
)


def written(value: Value, language: str) -> str:
    if isinstance(value, bool) and language == "triton":
        return str(value)
    text = show(value)
    return f"({text})" if text.startswith("-") else text


@st.composite
def kernels(draw: st.DrawFn) -> Kernel:
    language = draw(st.sampled_from(["cpp", "triton"]))
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    lines = []
    for number, domain in enumerate(draw(st.lists(DOMAINS, min_size=1, max_size=4))):
        literal = written(draw(st.sampled_from(domain)), language)
        shown = "{" + ", ".join(written(value, language) for value in domain) + "}"
        if language == "cpp":
            before = draw(NOISE)
            start, end, comment = draw(st.sampled_from([("#define N", "", "//"), ("constexpr auto N", ";", "//")]))
            lines += [before + "\n" if before else "", f"{start}{number} {'= ' if end else ''}{literal}{end}  {comment} evo: {shown}"]
        else:
            form = draw(st.sampled_from(["{}", "tl.constexpr({})", "tl.constexpr( {} )"]))
            lines.append(f"N{number} = {form.format(literal)}  # evo: {shown}  # größe")
    return Kernel(language, "".join(line.replace("\n", newline) + newline for line in lines))


@given(kernels(), st.randoms(use_true_random=False))
def test_values_that_are_set_are_values_that_are_parsed(kernel: Kernel, rng: random.Random) -> None:
    values = kernel.space.sample(rng)
    child = kernel.with_values(values)
    again = parse(child.source, child.language)
    assert {tunable.name: tunable.value for tunable in again.tunables} == values == child.values
    assert [tunable.domain for tunable in again.tunables] == list(kernel.space.domains)
    assert [(tunable.span, tunable.line) for tunable in again.tunables] == [(tunable.span, tunable.line) for tunable in child.tunables]


@given(kernels(), st.randoms(use_true_random=False))
def test_only_literals_change_and_the_way_back_restores_every_character(kernel: Kernel, rng: random.Random) -> None:
    child = kernel.with_values(kernel.space.sample(rng))
    assert outside(child) == outside(kernel)
    assert child.with_values(kernel.values).source == kernel.source


def outside(kernel: Kernel) -> list[str]:
    """The text around the literals."""
    edges = [0, *(edge for tunable in kernel.tunables for edge in tunable.span), len(kernel.source)]
    return [kernel.source[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]


@given(kernels(), st.randoms(use_true_random=False))
def test_a_child_read_from_its_text_makes_the_same_children(kernel: Kernel, rng: random.Random) -> None:
    child, other = kernel.with_values(kernel.space.sample(rng)), kernel.with_values(kernel.space.sample(rng))
    assert Kernel(child.language, child.source).with_values(other.values).id == other.id


@given(TEXT)
def test_strings_are_spelled_so_that_c_and_python_read_them_back(text: str) -> None:
    for quote in "\"'":
        literal = encode_string(text, quote)
        assert ast.literal_eval(literal) == text
        assert decode_string(literal[1:-1]) == text
        assert "\n" not in literal and "\r" not in literal


@given(st.decimals(-1000, 1000, places=3), st.integers(0, 40), st.decimals("0.001", 10, places=3))
def test_float_ranges_hold_exactly_the_decimals_they_say(low: object, steps: int, step: object) -> None:
    from decimal import Decimal

    assert isinstance(low, Decimal) and isinstance(step, Decimal)
    expected = [float(low + index * step) + 0.0 for index in range(steps + 1)]
    source = f"N = {expected[0]!r}  # evo: [{low}..{low + steps * step} step {step}]\n"
    domain = parse(source, "python").tunables[0].domain
    assert [math.isclose(a, b, abs_tol=1e-15) for a, b in zip(domain, expected, strict=True)] == [True] * len(expected)
