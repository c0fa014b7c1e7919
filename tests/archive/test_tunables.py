"""Declarations are found where they are, and only there."""

from __future__ import annotations

import pytest

from archive.tunables import Declarations, TunableError, parse

C = """\
#define TILE_M 32            // evo: {8, 16, 32, 64}
constexpr int UNROLL = 4;    // evo: 2**[0..4]
#define BIAS (-1)            // evo: {(-1), 0, 1}
#define EVO_FLAGS "-O3"      // evo: {"-O2", "-O3", "-O3 -ffast-math"}
// evo: require TILE_M % UNROLL == 0
"""
TRITON = """\
BLOCK = tl.constexpr(1024)   # evo: {256, 512, 1024, 2048, 4096}
NUM_WARPS = 8                # evo: [2..16 step 2]
EVICT = tl.constexpr("evict_first")   # evo: {"", "evict_first", "evict_last"}
"""


def domains(declarations: Declarations) -> dict[str, tuple[object, ...]]:
    return {tunable.name: tunable.domain for tunable in declarations.tunables}


def only(source: str, language: str = "cpp") -> tuple[object, tuple[object, ...], str]:
    """Value, domain and literal text of the one tunable in `source`."""
    (tunable,) = parse(source, language).tunables
    return tunable.value, tunable.domain, source[slice(*tunable.span)]


def test_the_documented_c_declarations_are_read() -> None:
    declarations = parse(C, "cpp")
    assert domains(declarations) == {
        "TILE_M": (8, 16, 32, 64),
        "UNROLL": (1, 2, 4, 8, 16),
        "BIAS": (-1, 0, 1),
        "EVO_FLAGS": ("-O2", "-O3", "-O3 -ffast-math"),
    }
    assert [tunable.value for tunable in declarations.tunables] == [32, 4, -1, "-O3"]
    assert [tunable.line for tunable in declarations.tunables] == [1, 2, 3, 4]
    assert [C[slice(*tunable.span)] for tunable in declarations.tunables] == ["32", "4", "(-1)", '"-O3"']
    assert [(require.text, require.line, require.names) for require in declarations.requires] == [
        ("TILE_M % UNROLL == 0", 5, frozenset({"TILE_M", "UNROLL"}))
    ]


def test_the_documented_triton_declarations_are_read() -> None:
    declarations = parse(TRITON, "triton")
    assert domains(declarations) == {
        "BLOCK": (256, 512, 1024, 2048, 4096),
        "NUM_WARPS": (2, 4, 6, 8, 10, 12, 14, 16),
        "EVICT": ("", "evict_first", "evict_last"),
    }
    assert [tunable.value for tunable in declarations.tunables] == [1024, 8, "evict_first"]


@pytest.mark.parametrize(
    ("line", "value", "text"),
    [
        ("#define N 64u // evo: {32, 64}", 64, "64u"),
        ("#define N 64ULL // evo: {32u, 64u}", 64, "64ULL"),
        ("#define N 0x40 // evo: {0x20, 0x40}", 64, "0x40"),
        ("#define N 0b100 // evo: {2, 4}", 4, "0b100"),
        ("#define N 010 // evo: {4, 8}", 8, "010"),
        ("#define N 1'024 // evo: {512, 1024}", 1024, "1'024"),
        ("#define N 1.0f // evo: {0.5, 1.0}", 1.0, "1.0f"),
        ("#define N 1e-3 // evo: {1e-3, 1e-2}", 1e-3, "1e-3"),
        ("#define N .5F // evo: {.25, .5}", 0.5, ".5F"),
        ("#define N 2. // evo: {1., 2.}", 2.0, "2."),
        ("#define N (-1.5f) // evo: {-1.5, 1.5}", -1.5, "(-1.5f)"),
        ("#define N ( - 1 ) // evo: {-1, 1}", -1, "( - 1 )"),
        ("#define N (7) // evo: {7, 8}", 7, "7"),
        ("#define N true // evo: {true, false}", True, "true"),
        ('#define N "a // b" // evo: {"a // b", "c"}', "a // b", '"a // b"'),
        ('#define N "a\\"b\\\\" // evo: {"a\\"b\\\\", ""}', 'a"b\\', '"a\\"b\\\\"'),
        ('#define N "größe" // evo: {"größe", "\\u00e4"}', "größe", '"größe"'),
        ("#  define N 3 // evo: {3}", 3, "3"),
        ("  # define /* c */ N /* // evo: {9} */ 3 /* d */ // evo: {3}", 3, "3"),
        ("#define N 3 /* rows */ // evo: {3, 4} // rows of a tile", 3, "3"),
        ("#define N 3 //evo:{3,4}", 3, "3"),
        ("#define N 3 // evo: {3, 4,}", 3, "3"),
        ("constexpr int N = -1; // evo: {-1, 1}", -1, "-1"),
        ("static constexpr std::size_t N = 3; // evo: {3}", 3, "3"),
        ("    constexpr unsigned long long N=3ull; // evo: {3}", 3, "3ull"),
        ('constexpr const char* N = "x"; // evo: {"x", "y"}', "x", '"x"'),
        ("inline constexpr bool N = false; // evo: {false, true}", False, "false"),
        ("#define N 3 // evo: [0..9 step 3]", 3, "3"),
        ("#define N 0.3 // evo: [0.1..0.5 step 0.1]", 0.3, "0.3"),
        ("#define N 18446744073709551615u // evo: {18446744073709551615u, 1}", 2**64 - 1, "18446744073709551615u"),
    ],
)
def test_every_kind_of_c_literal_is_read(line: str, value: object, text: str) -> None:
    found, domain, written = only(f"int before;\n{line}\nint after;\n")
    assert (found, type(found), written) == (value, type(value), text)
    assert value in domain


@pytest.mark.parametrize(
    ("line", "value", "text"),
    [
        ("N = -1  # evo: {-1, 1}", -1, "-1"),
        ("N = (-1)  # evo: {-1, 1}", -1, "(-1)"),
        ("N = 1_024  # evo: {512, 1024}", 1024, "1_024"),
        ("N = 0o17  # evo: {15, 16}", 15, "0o17"),
        ("N = True  # evo: {True, False}", True, "True"),
        ("N = 'it\\'s'  # evo: {\"it's\", 'x'}", "it's", "'it\\'s'"),
        ("N = tl.constexpr(-2.5)  # evo: {-2.5, 1.0}", -2.5, "-2.5"),
        ("N = tl.constexpr( 8 )#evo:{8}  # warps", 8, "8"),
        ("if True:\n    N = 8  # evo: {8}", 8, "8"),
        ("N = tl.constexpr(\n    8\n)  # evo: {8}", 8, "8"),
    ],
)
def test_every_kind_of_python_literal_is_read(line: str, value: object, text: str) -> None:
    found, _, written = only(f"import math\n{line}\nx = 1\n", "triton")
    assert (found, type(found), written) == (value, type(value), text)


@pytest.mark.parametrize(
    "source",
    [
        'const char* help = "#define N 8 // evo: {8, 16}";',
        "#define N 8 /* // evo: {8, 16} */",
        "/*\n#define N 8 // evo: {8, 16}\n*/",
        'auto s = R"(\n#define N 8 // evo: {8, 16}\n)";',
        'auto s = R"x(\n)" // evo: {1}\n)x";',
        'auto s = LR"--(\n#define N 8 \\\n// evo: {8}\n)--";',
        '"quote \\" // evo: {8}";',
        "char c = '\"'; char d = '\\''; // evo is not a declaration here",
        "#include <weird//evo: {1}>",
        "#error don't // evo: {1}",
        "// #define N 8 // evo: {8, 16}",
        "// a remark \\\n#define N 8 // evo: {8}",
        "int x; // see evo: {8}",
        "int x; /* unfinished // evo: {8}",
    ],
)
def test_what_only_looks_like_a_c_declaration_is_none(source: str) -> None:
    assert parse(source + "\n", "cpp") == Declarations()


@pytest.mark.parametrize(
    "source",
    [
        'help = "N = 8  # evo: {8, 16}"',
        '"""\nN = 8  # evo: {8, 16}\n"""',
        "help = r'\\\\' + ' # evo: {8}'",
        "help = f'{1} # evo: {8}'",
        "# N = 8  # evo: {8, 16}",
        "x = 1 // 2  // 3",
    ],
)
def test_what_only_looks_like_a_python_declaration_is_none(source: str) -> None:
    assert parse(source + "\n# evolution: no\n", "python") == Declarations()


def test_a_declaration_behind_a_raw_string_with_quotes_and_comments_is_found() -> None:
    source = 'auto s = R"d(" // \\\n /* )" )d"; int y;\n#define N 8 // evo: {8, 16}\n'
    tunable = parse(source, "cpp").tunables[0]
    assert (tunable.line, source[slice(*tunable.span)]) == (3, "8")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_continued_lines_are_joined_and_offsets_stay_those_of_the_file(newline: str) -> None:
    source = newline.join(['auto s = "a\\', 'b";', "#define \\", "  N \\", "  8 // evo: {8, \\", "16}", "#define M 2 // evo: {2, 4}", ""])
    first, second = parse(source, "cpp").tunables
    assert (first.name, first.domain, first.line, source[slice(*first.span)]) == ("N", (8, 16), 5, "8")
    assert (second.name, second.line, source[slice(*second.span)]) == ("M", 7, "2")


@pytest.mark.parametrize(("language", "source"), [("cuda", C), ("hip", C), ("triton", TRITON), ("python", TRITON), ("tabular", TRITON)])
def test_crlf_files_declare_the_same(language: str, source: str) -> None:
    unix, windows = parse(source, language), parse(source.replace("\n", "\r\n"), language)
    assert domains(unix) == domains(windows)
    assert [tunable.line for tunable in unix.tunables] == [tunable.line for tunable in windows.tunables]
    text = source.replace("\n", "\r\n")
    assert [text[slice(*tunable.span)] for tunable in windows.tunables] == [source[slice(*tunable.span)] for tunable in unix.tunables]


def test_text_outside_ascii_does_not_shift_anything() -> None:
    for source, language in (
        ("// größe 🚀\n#define N 8 // evo: {8} // 行\n", "cpp"),
        ("s = '🚀'  # größe\nN = 8  # evo: {8}  # 行\n", "triton"),
    ):
        tunable = parse(source, language).tunables[0]
        assert (source[slice(*tunable.span)], tunable.line) == ("8", 2)


def test_a_file_without_declarations_is_not_even_tokenized() -> None:
    assert parse("def broken(:\n  'unclosed", "triton") == Declarations()


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("A % B == 0", True),
        ("A//B==2 and not A<B", True),
        ("A / 3 > 2.6 && A / 3 < 2.7", True),
        ("!(A == 8) || B >= 4", True),
        ("!A == 0", True),
        ("A in (8, 16) and S not in ('x', \"y\")", True),
        ("min(A, B, 3) == 3 and max(A, B) == abs(-8)", True),
        ("2 < B < A <= 0x8u", True),
        ("(A == 8) + (B == 4) == 2", True),
        ("F && S == 's//t'", True),
        ("A - B * 2 == 0 and -A < +B", True),
        ("A == B", False),
        ("A % (B - 4) == 0", False),
        ("F == false", False),
    ],
)
def test_constraints_say_what_they_say_in_c_and_in_python(expression: str, holds: bool) -> None:
    source = '#define A 8 // evo: {8}\n#define B 4 // evo: {4}\n#define S "s//t" // evo: {"s//t"}\n#define F true // evo: {true, false}\n'
    if holds:
        assert len(parse(f"{source}// evo: require {expression}\n", "cpp").requires) == 1
    else:
        with pytest.raises(TunableError, match="current values break"):
            parse(f"{source}// evo: require {expression}\n", "cpp")


def test_a_constraint_may_stand_before_its_tunables_and_on_any_line() -> None:
    declarations = parse("int x; // evo: require N > 4\n#define N 8 // evo: {8, 16}\n", "cpp")
    assert declarations.requires[0].line == 1
