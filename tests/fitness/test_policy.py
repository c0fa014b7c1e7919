"""What a C++ kernel may contain, by text."""

from __future__ import annotations

import pytest

from archive.evaluation import Diagnostic
from fitness.targets.ctokens import SourceError, read
from fitness.targets.policy import check_flags, check_source

HONEST = r"""
// A kernel; `system("rm")` in a comment harms nobody.
#include <immintrin.h>
#include <cmath>
#include <cstdint>
#define TILE 32            // evo: {16, 32, 64}
#define EVO_FLAGS "-O3"    // evo: {"-O2", "-O3"}
#define EACH _Pragma("GCC unroll 8") for (int u = 0; u < 8; ++u)
#if TILE > 16 && \
    defined(__AVX2__)
#pragma GCC optimize ("unroll-loops")
#endif
typedef float vec __attribute__((vector_size(64), aligned(4), may_alias));
[[gnu::always_inline]] static inline float f(float x) { return x * time_scale(x); }
static const char* text = R"(#include "secret.h" asm("syscall"))";
struct alignas(64) S { [[maybe_unused]] float time[4]; };
extern "C" __attribute__((noinline, optimize("fast-math"))) void kernel(const float* __restrict__ x, float* y, void*, int64_t n) {
    float clock = 0, index[4]; int exit[3]; exit[0] = exit[index[0] > 0];
    asm volatile("" ::: "memory");
#pragma omp simd reduction(+ : clock)
    for (int64_t i = 0; i < n; ++i) y[i] = std::exp(x[i]) + clock;
#pragma GCC ivdep
    for (int64_t i = 0; i < n; ++i) y[i] += 1'000.0f;
}
"""


def reason(source: str, threads: int = 1) -> str | None:
    finding = check_source(source, threads=threads)
    return None if finding is None else finding.reason


def test_an_honest_kernel_passes() -> None:
    assert check_source(HONEST) is None


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('#include "x.h"', "forbidden_include"),
        ("#include </etc/passwd>", "forbidden_include"),
        ("#include <../secret>", "forbidden_include"),
        ("#include <thread>", "forbidden_include"),
        ("#include <cblas.h>", "forbidden_include"),
        ("#include <omp.h>", "forbidden_include"),
        ("#define H <unistd.h>\n#include H", "forbidden_include"),
        ("#  include/**/<unistd.h>", "forbidden_include"),
        ("#inc\\\nlude <unistd.h>", "forbidden_include"),
        ("%:include <unistd.h>", "forbidden_include"),
        ("#if __has_include(<secret.h>)\n#endif", "forbidden_include"),
        ("#include_next <cmath>", "forbidden_directive"),
        ("#import <cmath>", "forbidden_directive"),
        ('#line 3 "/etc/passwd"', "forbidden_directive"),
        ("#embed </etc/passwd>", "forbidden_directive"),
        ('# 1 "/etc/passwd"', "forbidden_directive"),
        ("#pragma omp parallel for", "forbidden_pragma"),
        ("#pragma GCC plugin", "forbidden_pragma"),
        ("#pragma comment(lib, \"x\")", "forbidden_pragma"),
        ("#pragma GCC dependency \"x\"", "forbidden_pragma"),
        ("#define P _Pragma(\"omp parallel\")", "forbidden_pragma"),
        ("#define P(x) _Pragma(#x)", "forbidden_pragma"),
        ("#pragma GCC optimize (\"plugin=/tmp/x\")", "forbidden_flag"),
        ("__attribute__((optimize(\"-fplugin=x\"))) void f();", "forbidden_flag"),
        ("__attribute__((constructor)) void f();", "forbidden_attribute"),
        ("__attribute__((__constructor__(101))) void f();", "forbidden_attribute"),
        ("[[gnu::constructor]] void f();", "forbidden_attribute"),
        ("[[using gnu: hot, destructor]] void f();", "forbidden_attribute"),
        ("__attribute__((hot, section(\".init\"))) void f();", "forbidden_attribute"),
        ("#define A __attribute__((ifunc(\"g\")))", "forbidden_attribute"),
        ("void f() { asm(\"syscall\"); }", "forbidden_asm"),
        ("void f() { __asm__ volatile (\"\" \"int $0x80\"); }", "forbidden_asm"),
        ("int g() asm(\"system\");", "forbidden_asm"),
        ("void f() { system(\"x\"); }", "forbidden_name"),
        ("void f() { ::fork(); }", "forbidden_name"),
        ("extern \"C\" void pthread_create();", "forbidden_name"),
        ("extern \"C\" void cblas_dsymm();", "forbidden_name"),
        ("#define CALL execve", "forbidden_name"),
        ("auto t = __rdtsc();", "forbidden_name"),
        ("const char* when = __TIME__;", "forbidden_name"),
        ("void f() { float x = 'unclosed; }", "malformed_source"),
        ("/* open", "malformed_source"),
        ("int x;\0", "malformed_source"),
        ("x" * ((1 << 20) + 1), "source_too_large"),
    ],
)  # fmt: skip
def test_each_forbidden_construct_has_its_own_reason(source: str, expected: str) -> None:
    assert reason(source) == expected


def test_threads_open_openmp() -> None:
    source = "#include <omp.h>\n#pragma omp parallel for\n"
    assert reason(source) == "forbidden_include"
    assert reason(source, threads=2) is None
    assert reason("#pragma omp target\n", threads=2) == "forbidden_pragma"


def test_a_finding_names_the_line_the_text_and_what_to_do() -> None:
    found = check_source("int a;\nint b; \\\nint c;\n#include \"x.h\"\nvoid f() { system(0); }\n")
    assert isinstance(found, Diagnostic)
    assert found.stage == "policy" and found.details["line"] == 4 and found.details["text"] == '#include "x.h"'
    assert found.message.startswith("line 4: found #include")
    assert "line 5: found system" in found.message and "remove it" in found.message


def test_findings_are_listed_in_order_and_cut_at_twenty() -> None:
    found = check_source("#include <a>\n" * 30)
    assert found is not None and found.message.count("\n") == 20 and "and 10 more" in found.message


def test_what_is_in_strings_and_comments_is_no_code() -> None:
    assert reason('const char* s = "asm(\\"syscall\\") \\\\"; // fork()\n/* system() */ const char* r = R"x(fork() )" )x";') is None


def test_lines_are_those_of_the_file_despite_continuations_and_raw_strings() -> None:
    text = read('a \\\n b\nR"(\n\n)" c\n/*\n*/ d\n')
    assert [(token.text, token.line) for token in text.tokens if token.kind == "name"] == [("a", 1), ("b", 2), ("c", 5), ("d", 7)]


def test_depth_of_directives_is_known() -> None:
    text = read("#if A\n#ifdef B\n#include <cmath>\n#endif\n#endif\n#include <cstdint>\n")
    assert [(each.name, each.depth) for each in text.directives if each.name == "include"] == [("include", 2), ("include", 0)]


@pytest.mark.parametrize(("source", "line"), [('int a;\n"open', 2), ("a\nb\n/* x", 3), ("'", 1)])
def test_open_literals_are_errors_with_their_line(source: str, line: int) -> None:
    with pytest.raises(SourceError) as caught:
        read(source)
    assert caught.value.line == line


def test_flags_are_checked_with_their_line() -> None:
    assert check_flags("-O3 -march=native") is None
    found = check_flags("-O3 -lm", 7)
    assert found is not None and found.reason == "forbidden_flag" and found.details["line"] == 7 and "'-lm'" in found.message
