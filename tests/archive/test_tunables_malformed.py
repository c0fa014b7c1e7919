"""Malformed declarations are errors that name file, line, what was found, what was expected, and what to do."""

from __future__ import annotations

import pickle

import pytest

from archive.tunables import TunableError, parse

C_ERRORS = {
    "no domain": ("#define N 8 // evo:", "no domain"),
    "a domain without brackets": ("#define N 8 // evo: 8, 16", "no domain"),
    "an unclosed domain": ("#define N 8 // evo: {8, 16", "malformed domain"),
    "a missing comma": ("#define N 8 // evo: {8 16}", "malformed domain"),
    "an empty value": ("#define N 8 // evo: {8,,16}", "malformed value"),
    "an expression in the domain": ("#define N 8 // evo: {8, 2*8}", "malformed domain"),
    "an unquoted string": ("#define N 8 // evo: {abc}", "malformed value"),
    "an unknown escape": ('#define N "a" // evo: {"a", "\\q"}', "unknown escape"),
    "an empty domain": ("#define N 8 // evo: {}", "empty domain"),
    "a value outside the domain": ("#define N 9 // evo: {8, 16}", "not in its domain"),
    "mixed types": ("#define N 8 // evo: {8, 16.0}", "mixed types"),
    "numbers and strings": ('#define N 8 // evo: {8, "8"}', "mixed types"),
    "numbers and bools": ("#define N 1 // evo: {1, true}", "mixed types"),
    "a duplicate": ("#define N 8 // evo: {8, 16, 0x8}", "occurs twice"),
    "a literal of another type": ("#define N 8 // evo: {8.0, 16.0}", "differ in type"),
    "an integer among strings": ('#define N 8 // evo: {"8", "16"}', "differ in type"),
    "an integer among bools": ("#define N 1 // evo: {true, false}", "differ in type"),
    "an empty range": ("#define N 8 // evo: [16..8]", "empty range"),
    "a huge range": ("#define N 8 // evo: [1..5000]", "too large"),
    "an astronomical range": ("#define N 8 // evo: [0..9000000000000000000]", "too large"),
    "step zero": ("#define N 8 // evo: [8..16 step 0]", "not positive"),
    "a negative step": ("#define N 8 // evo: [8..16 step -1]", "not positive"),
    "floats without a step": ("#define N 0.5 // evo: [0.5..1.5]", "without a step"),
    "a range of mixed types": ("#define N 8 // evo: [1..16 step 0.5]", "mixed types"),
    "a range of strings": ('#define N "a" // evo: ["a".."c"]', "malformed value"),
    "another base": ("#define N 9 // evo: 3**[0..4]", "no domain"),
    "huge powers": ("#define N 8 // evo: 2**[0..64]", "exponents"),
    "negative powers": ("#define N 1 // evo: 2**[-2..4]", "exponents"),
    "no powers": ("#define N 1 // evo: 2**[4..2]", "empty range"),
    "over 64 bits": ("#define N 8 // evo: {8, 18446744073709551616}", "64 bits"),
    "a remark without a comment": ("#define N 8 // evo: {8, 16} rows", "text behind a domain"),
    "a continued comment that swallows code": ("#define N 8 // evo: {8} \\\nint x;", "text behind a domain"),
    "no declaration": ("int n = 8; // evo: {8, 16}", "declares no tunable"),
    "a domain alone": ("// evo: {8, 16}", "declares no tunable"),
    "a const": ("const int N = 8; // evo: {8, 16}", "declares no tunable"),
    "a function-like macro": ("#define N(x) 8 // evo: {8, 16}", "declares no tunable"),
    "a macro without a value": ("#define N // evo: {8, 16}", "declares no tunable"),
    "two declarators": ("constexpr int N = 8, M = 4; // evo: {8, 16}", "no literal"),
    "two statements": ("constexpr int N = 8; int m; // evo: {8, 16}", "no literal"),
    "braces": ("constexpr int N{8}; // evo: {8, 16}", "declares no tunable"),
    "no type": ("constexpr N = 8; // evo: {8, 16}", "declares no tunable"),
    "an unfinished line": ("constexpr int N = // evo: {8}\n 8;", "declares no tunable"),
    "an expression": ("#define N 4*2 // evo: {8, 16}", "no literal"),
    "another name": ("#define N M // evo: {8, 16}", "no literal"),
    "a character": ("#define N 'a' // evo: {8, 16}", "no literal"),
    "a prefixed string": ('#define N L"a" // evo: {"a"}', "no literal"),
    "a raw string": ('#define N R"(a)" // evo: {"a"}', "no literal"),
    "a signed string": ('#define N -"a" // evo: {"a"}', "no literal"),
    "joined strings": ('#define N "a" "b" // evo: {"ab"}', "no literal"),
    "an infinite float": ("#define N 1e999 // evo: {1.0}", "no literal"),
    "an octal that is none": ("#define N 09 // evo: {9}", "no literal"),
    "a bare negative macro": ("#define N -1 // evo: {(-1), 1}", "without parentheses"),
    "a literal across lines": ("#define N 1\\\n6 // evo: {16}", "broken across lines"),
    "an empty require": ("#define N 8 // evo: {8}\n// evo: require", "malformed require"),
    "a require of nothing": ("#define N 8 // evo: {8}\n// evo: require 1 < 2", "names no tunable"),
    "an unknown name": ("#define N 8 // evo: {8}\n// evo: require M > 2", "names no tunable"),
    "a broken expression": ("#define N 8 // evo: {8}\n// evo: require N >", "malformed require"),
    "an unbalanced expression": ("#define N 8 // evo: {8}\n// evo: require (N > 2", "malformed require"),
    "a power": ("#define N 8 // evo: {8}\n// evo: require N ** N ** N > 2", "not allowed"),
    "a shift": ("#define N 8 // evo: {8}\n// evo: require N << 99999 > 2", "not allowed|malformed require"),
    "a bit operation": ("#define N 8 // evo: {8}\n// evo: require ~N > 2", "not allowed"),
    "a call": ("#define N 8 // evo: {8}\n// evo: require __import__('os')", "not allowed"),
    "an attribute": ("#define N 8 // evo: {8}\n// evo: require N.real > 2", "not allowed|malformed"),
    "a lambda": ("#define N 8 // evo: {8}\n// evo: require (lambda: N)()", "not allowed|malformed"),
    "a comprehension": ("#define N 8 // evo: {8}\n// evo: require max(N for N in (1, 2)) > 1", "not allowed|malformed"),
    "a keyword argument": ("#define N 8 // evo: {8}\n// evo: require max(N, default=1) > 1", "not allowed|malformed"),
    "a conditional": ("#define N 8 // evo: {8}\n// evo: require 1 if N else 0", "not allowed"),
    "an assignment": ("#define N 8 // evo: {8}\n// evo: require N = 8", "not allowed"),
    "repeated strings": ('#define N "a" // evo: {"a"}\n// evo: require N * 1000000000 == N', "arithmetic on a string"),
    "formatted strings": ('#define N 8 // evo: {8}\n// evo: require "%1000000000d" % N == "8"', "arithmetic on a string"),
    "a string with a number": ('#define N "a" // evo: {"a"}\n// evo: require N == 1', "string with a number"),
    "ordered strings": ('#define N "a" // evo: {"a"}\n// evo: require N < "b"', "order of strings"),
    "a string as condition": ('#define N "a" // evo: {"a"}\n// evo: require N', "string as a condition"),
    "membership in a name": ("#define N 8 // evo: {8}\n// evo: require N in N", "without a tuple"),
    "membership of mixed types": ('#define N 8 // evo: {8}\n// evo: require N in (8, "a")', "string with a number"),
    "a number over 64 bits": ("#define N 8 // evo: {8}\n// evo: require N < 99999999999999999999", "malformed number"),
    "an endless expression": ("#define N 8 // evo: {8}\n// evo: require N > " + "(" * 999 + "1", "malformed require"),
    "a deep expression": ("#define N 8 // evo: {8}\n// evo: require N > " + "-" * 980 + "1", "nested too deeply"),
    "values that break it": ("#define N 8 // evo: {8, 16}\n// evo: require N > 8", "break a require"),
    "a division by zero": ("#define N 0 // evo: {0, 16}\n// evo: require 8 / N > 0", "break a require"),
}

PYTHON_ERRORS = {
    "no declaration": ("print(8)  # evo: {8}", "declares no tunable"),
    "an annotated name": ("N: int = 8  # evo: {8}", "declares no tunable"),
    "an attribute": ("a.N = 8  # evo: {8}", "declares no tunable"),
    "a chained assignment": ("N = M = 8  # evo: {8}", "no literal"),
    "an augmented assignment": ("N += 8  # evo: {8}", "declares no tunable"),
    "two statements": ("N = 8; M = 9  # evo: {8}", "no literal"),
    "a comment inside brackets": ("N = (8,  # evo: {8}\n     9)", "no literal"),
    "a constructor of another kind": ("N = int(8)  # evo: {8}", "no literal"),
    "a raw string": ("N = r'a'  # evo: {'a'}", "no literal"),
    "a formatted string": ("N = f'a'  # evo: {'a'}", "no literal"),
    "bytes": ("N = b'a'  # evo: {'a'}", "no literal"),
    "a triple-quoted string": ("N = '''a'''  # evo: {'a'}", "no literal"),
    "a C suffix": ("N = 8  # evo: {8}\nM = 0x1fu  # evo: {31}", "no literal|not Python"),
    "a C bool": ("N = true  # evo: {true}", "no literal"),
    "a complex number": ("N = 8j  # evo: {8}", "no literal"),
    "the comment marker of C": ("N = 8  # evo: {8} // warps", "text behind a domain"),
    "an unclosed bracket": ("N = 8  # evo: {8}\nx = (", "not Python"),
    "a bad indentation": ("if 1:\n        N = 8  # evo: {8}\n    x = 1", "not Python"),
    "an unclosed string": ("N = 8  # evo: {8}\nx = '''", "not Python"),
}


@pytest.mark.parametrize("case", C_ERRORS)
def test_malformed_c_is_refused(case: str) -> None:
    refused("cpp", *C_ERRORS[case])


@pytest.mark.parametrize("case", PYTHON_ERRORS)
def test_malformed_python_is_refused(case: str) -> None:
    refused("triton", *PYTHON_ERRORS[case])


def refused(language: str, source: str, reason: str) -> None:
    with pytest.raises(TunableError, match=reason) as caught:
        parse("\n" + source + "\n", language, "seed.txt")
    error = caught.value
    assert error.file == "seed.txt"
    assert 2 <= error.line <= source.count("\n") + 3
    assert error.found and error.expected and error.remedy
    assert str(error).startswith(f"seed.txt:{error.line}: ")


def test_a_name_declared_twice_is_refused_with_both_lines() -> None:
    source = "#if FAST\n#define N 8 // evo: {8}\n#else\n#define N 4 // evo: {4}\n#endif\n"
    with pytest.raises(TunableError, match=r"k\.cpp:4: .*declared twice.*line 2"):
        parse(source, "cpp", "k.cpp")


def test_an_unknown_language_is_refused_with_those_there_are() -> None:
    with pytest.raises(TunableError, match=r"`cobol`.*cpp.*triton"):
        parse("", "cobol")


def test_errors_survive_pickling() -> None:
    with pytest.raises(TunableError) as caught:
        parse("// evo: {1}", "cpp")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert again.line == 1
