"""A kernel is its text: identity, children that differ in literals alone, differences."""

from __future__ import annotations

import hashlib
import pickle

import pytest

from archive.kernel import Kernel
from archive.tunables import TunableError

SOURCE = """\
// größe
#define TILE   64u     /* rows */ // evo: {32, 64, 128}  // tile
#define BIAS (-1)            // evo: {(-1), 0, 1}
constexpr float EPS = 1.0f;  // evo: {0.5, 1.0}
#define FLAGS '0'
constexpr const char* MODE = "a\\"b";  // evo: {"a\\"b", "c\\\\d"}
#define HEX 0x40 // evo: {0x1f, 0x40}
#define OFFSET 0 // evo: [-2..2]
// evo: require TILE % HEX == 0 || BIAS < 0
int main() { return TILE + BIAS; }
"""
KERNEL = Kernel("cpp", SOURCE, "seed.cpp")


def line(kernel: Kernel, start: str) -> str:
    return next(text for text in kernel.source.splitlines() if text.startswith(start))


def test_identity_is_language_and_text() -> None:
    assert Kernel("cpp", SOURCE) == KERNEL and hash(KERNEL) == hash(Kernel("cpp", SOURCE))
    assert KERNEL.id == Kernel("cpp", SOURCE).id and len(KERNEL.id) == 20
    assert Kernel("cuda", SOURCE).id != KERNEL.id != Kernel("cpp", SOURCE + " ").id
    assert Kernel("cuda", SOURCE) != KERNEL


def test_identity_is_the_documented_hash() -> None:
    expected = hashlib.sha256(b"cpp\0int x; // gr\xc3\xb6\xc3\x9fe").hexdigest()[:20]
    assert Kernel("cpp", "int x; // größe").id == expected


@pytest.mark.parametrize(
    ("change", "start", "expected"),
    [
        ({"TILE": 128}, "#define TILE", "#define TILE   128u     /* rows */ // evo: {32, 64, 128}  // tile"),
        ({"BIAS": 1, "HEX": 0x40}, "#define BIAS", "#define BIAS 1            // evo: {(-1), 0, 1}"),
        ({"EPS": 0.5}, "constexpr float", "constexpr float EPS = 0.5f;  // evo: {0.5, 1.0}"),
        ({"MODE": "c\\d"}, "constexpr const", 'constexpr const char* MODE = "c\\\\d";  // evo: {"a\\"b", "c\\\\d"}'),
        ({"HEX": 31}, "#define HEX", "#define HEX 0x1f // evo: {0x1f, 0x40}"),
        ({"OFFSET": -2}, "#define OFFSET", "#define OFFSET (-2) // evo: [-2..2]"),
    ],
)
def test_only_the_literal_is_rewritten_in_its_own_manner(change: dict[str, int], start: str, expected: str) -> None:
    child = KERNEL.with_values(change)
    assert line(child, start) == expected
    assert sum(a != b for a, b in zip(KERNEL.source.splitlines(), child.source.splitlines(), strict=True)) == 1
    assert child.values == {**KERNEL.values, **change}


@pytest.mark.parametrize(
    ("literal", "value", "expected"),
    [
        ("N = 'a'  # evo: {'a', \"it's\"}", "it's", "N = 'it\\'s'  # evo: {'a', \"it's\"}"),
        ("N = True  # evo: {True, False}", False, "N = False  # evo: {True, False}"),
        ("N = tl.constexpr( 8 )  # evo: {8, -8}", -8, "N = tl.constexpr( -8 )  # evo: {8, -8}"),
        ("N = (-8)  # evo: {8, -8, -9}", -9, "N = (-9)  # evo: {8, -8, -9}"),
        ("N = 1e-3  # evo: {1e-3, 1e16}", 1e16, "N = 1e+16  # evo: {1e-3, 1e16}"),
    ],
)
def test_python_literals_keep_their_manner(literal: str, value: object, expected: str) -> None:
    assert Kernel("triton", literal).with_values({"N": value}).source == expected  # type: ignore[dict-item]


def test_children_share_the_parsed_template_and_know_where_they_came_from() -> None:
    child = KERNEL.with_values({"TILE": 128}).with_values({"MODE": "c\\d"})
    assert child.template is KERNEL.template and child.family == KERNEL.family and child.id != KERNEL.id
    assert child.with_values(KERNEL.values) == KERNEL
    assert KERNEL.with_values({}) is KERNEL


def test_a_text_read_back_is_matched_to_the_template_it_came_from() -> None:
    child = KERNEL.with_values({"TILE": 128, "OFFSET": -2})
    again = Kernel("cpp", child.source)
    assert again.template is KERNEL.template and again.values == child.values and again.tunables == child.tunables
    other = Kernel("cpp", child.source + "\n")
    assert other.family != child.family and other.values == child.values


def test_a_text_that_breaks_its_own_constraint_is_not_matched_but_refused() -> None:
    assert KERNEL.template is not None
    broken = Kernel("cpp", SOURCE.replace("(-1)  ", "0  ", 1).replace("64u", "32u"))
    with pytest.raises(TunableError, match="current values break"):
        _ = broken.values


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"TILES": 64}, "`TILES`"),
        ({"TILE": 65}, "TILE = 65 is not in {32, 64, 128}"),
        ({"TILE": [64]}, r"TILE = \[64\]"),
        ({"TILE": 32, "BIAS": 0}, "breaks `require TILE % HEX == 0"),
    ],
)
def test_values_that_cannot_be_set_are_errors(values: dict[str, int], words: str) -> None:
    with pytest.raises(TunableError, match=words) as caught:
        KERNEL.with_values(values)
    assert caught.value.file == "seed.cpp"


def test_a_malformed_kernel_has_an_identity_and_an_error() -> None:
    kernel = Kernel("cpp", "#define N 8 // evo: {9}\n", "bad.cpp")
    assert len(kernel.id) == 20 and kernel.normalised_id == kernel.id
    with pytest.raises(TunableError, match=r"bad\.cpp:1"):
        _ = kernel.tunables


def test_kernels_survive_pickling() -> None:
    child = KERNEL.with_values({"TILE": 128})
    again = pickle.loads(pickle.dumps(child))
    assert again == child and again.values == child.values and again.file == child.file


def test_a_difference_reads_as_a_unified_diff() -> None:
    child = KERNEL.with_values({"HEX": 31})
    text = KERNEL.diff(child)
    assert "-#define HEX 0x40 // evo: {0x1f, 0x40}" in text and "+#define HEX 0x1f // evo: {0x1f, 0x40}" in text
    assert text.splitlines()[0] == f"--- {KERNEL.id}" and KERNEL.diff(KERNEL) == ""


@pytest.mark.parametrize(
    ("language", "one", "other", "same"),
    [
        ("cpp", "int x = 1; // one\n", "int  x=1;\n\n/* two */", True),
        ("cpp", "int x;\nint y;\n", "int x; int y;", True),
        ("cpp", "intx;", "int x;", False),
        ("cpp", "#define F(x) 1\n", "#define F (x) 1\n", False),
        ("cpp", "#define F  1 // c\nint x;", "  # define F 1\n\nint x;", True),
        ("cpp", "#define F 1\nint x;", "#define F 1 int x;", False),
        ("cpp", "int y;\n#define F 1\n", "int y; \n/* a */\n#define F 1\n", True),
        ("cpp", 's = "a  b";', 's = "a b";', False),
        ("cpp", 's = R"(a // b)";', 's = R"(a // c)";', False),
        ("cpp", "#define N 1 // evo: {1, 2}\n", "#define N 1 // evo: {1,2} // more", True),
        ("cpp", "#define N 1 // evo: {1, 2}\n", "#define N 1 // evo: {1, 3}\n", False),
        ("cpp", "#define N 1 // evo: {1, 2}\n", "#define N 2 // evo: {1, 2}\n", False),
        ("cpp", "#define N 1 // evo: {1}\n// evo: require N<2\n", "#define N 1 // evo: {1}\n// evo: require (N  <  2)\n", True),
        ("cpp", "#define N 1 // evo: {1}\n// evo: require N<2\n", "#define N 1 // evo: {1}\n", False),
        ("triton", "x = 1  # one\n\n\ny = 2\n", "x=1\ny = 2\n", True),
        ("triton", "if a:\n  b()\nc()\n", "if a:\n    b()\nc()\n", True),
        ("triton", "if a:\n  b()\nc()\n", "if a:\n  b()\n  c()\n", False),
        ("triton", "f(a,\n  b)\n", "f(a, b)\n", True),
    ],
)
def test_the_normalised_identity_ignores_comments_and_layout_only(language: str, one: str, other: str, same: bool) -> None:
    first, second = Kernel(language, one), Kernel(language, other)
    assert (first.normalised_id == second.normalised_id) is same
    assert first.id != second.id
