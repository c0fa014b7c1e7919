"""Building C++ kernels: cache, artifact hash, every way to fail, limits."""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from archive.evaluation import Outcome
from archive.kernel import Kernel
from fitness.cache import Cache
from fitness.protocol import EvaluationSettings
from fitness.targets.base import BuildFailure, TargetError
from fitness.targets.commands import Finished, confined
from fitness.targets.compiling import Builder, Limits
from fitness.targets.cpp import CppTarget
from fitness.targets.ctokens import read
from fitness.targets.elf import ElfError, SharedObject
from fitness.targets.precompiled import certain_headers
from fitness.targets.toolchain import cpu_flags, find_toolchain, installed_compilers

PLAIN = """
#include <cstdint>
#define SCALE 2     // evo: {2, 3}
#define DEAD 0      // evo: {0, 1, 2}
extern "C" void kernel(const float* x, float* y, void*, int64_t n) {
#if SCALE == 7
    for (int64_t i = 0; i < n; ++i) y[i] = DEAD;
#endif
    for (int64_t i = 0; i < n; ++i) y[i] = SCALE * x[i];
}
"""
HEAD = "#include <cstdint>\n#include <cmath>\n"
SIGNATURE = 'extern "C" void kernel(const float* x, float* y, void*, int64_t n)'


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> CppTarget:
    return CppTarget(EvaluationSettings(cache=tmp_path_factory.mktemp("cache")))


def fails(target: CppTarget, source: str) -> BuildFailure:
    with pytest.raises(BuildFailure) as caught:
        target.build(Kernel("cpp", source))
    return caught.value


def test_a_built_kernel_computes(target: CppTarget) -> None:
    artifact = target.build(Kernel("cpp", PLAIN))
    x, y = (ctypes.c_float * 100)(*range(100)), (ctypes.c_float * 100)()
    ctypes.CDLL(str(artifact.path)).kernel(x, y, None, ctypes.c_int64(100))
    assert list(y) == [2.0 * i for i in range(100)]


def test_a_second_build_is_found_in_the_cache_also_by_another_process(target: CppTarget) -> None:
    kernel = Kernel("cpp", PLAIN + "// cached\n")
    first = target.build(kernel)
    again = target.build(kernel)
    assert not first.cached and first.seconds > 0
    assert again.cached and again.seconds == 0.0 and again.path == first.path and again.hash == first.hash
    assert pickle.loads(pickle.dumps(target)).build(kernel).cached


def test_comments_dead_code_and_dead_tunables_do_not_change_the_hash(target: CppTarget) -> None:
    kernel = Kernel("cpp", PLAIN)
    one = target.build(kernel)
    others = [
        target.build(kernel.with_values({"DEAD": 2})),
        target.build(Kernel("cpp", PLAIN.replace("#if SCALE", "// a comment\n\n#if SCALE"))),
        target.build(Kernel("cpp", PLAIN + "static int unused(int a) { return a + 1; }\n")),
    ]
    assert {each.hash for each in others} == {one.hash}
    assert len({each.path for each in (one, *others)}) == 4
    assert target.build(kernel.with_values({"SCALE": 3})).hash != one.hash


def test_a_call_of_another_library_function_changes_the_hash(target: CppTarget) -> None:
    body = SIGNATURE + " { for (int64_t i = 0; i < n; ++i) y[i] = %s(x[i]); }\n"
    assert target.build(Kernel("cpp", HEAD + body % "sinhf")).hash != target.build(Kernel("cpp", HEAD + body % "coshf")).hash


def test_flags_reach_the_compiler_and_the_key(target: CppTarget) -> None:
    source = '#define EVO_FLAGS "-O0"  // evo: {"-O0", "-O3"}\n' + PLAIN
    kernel = Kernel("cpp", source)
    assert target.build(kernel).hash != target.build(kernel.with_values({"EVO_FLAGS": "-O3"})).hash


def test_fast_math_does_not_touch_the_process(target: CppTarget) -> None:
    source = '#define EVO_FLAGS "-Ofast"  // evo: {"-Ofast"}\n' + PLAIN
    artifact = target.build(Kernel("cpp", source))
    object_ = SharedObject(artifact.path)
    assert object_.load_time_code == ()
    script = f"import ctypes; ctypes.CDLL({str(artifact.path)!r}); x = 5e-324; import sys; sys.exit(x * 1.0 == 0.0 or 2.5e-308 / 16 == 0.0)"
    assert subprocess.run(["python3", "-c", script]).returncode == 0


def test_every_vector_feature_of_this_cpu_is_in_force() -> None:
    toolchain = find_toolchain()
    for feature, bits in (("avx512f", 512), ("avx", 256)):
        if feature in cpu_flags():
            assert feature in toolchain.features and toolchain.vector_bits >= bits


@pytest.mark.parametrize("command", [str(each) for each in installed_compilers()])
def test_every_installed_compiler_builds(command: str, tmp_path: Path) -> None:
    target = CppTarget(EvaluationSettings(compiler=command, cache=tmp_path))
    source = "#include <immintrin.h>\n" + PLAIN if os.uname().machine == "x86_64" else PLAIN
    first = target.build(Kernel("cpp", source))
    assert SharedObject(first.path).exports == {"kernel"}
    broken = fails(target, PLAIN.replace("SCALE * x[i]", "SCALE * z[i]"))
    assert broken.outcome is Outcome.BUILD_ERROR and broken.diagnostic.details["line"] == 9


def test_a_compiler_that_is_not_there_is_an_error_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TargetError, match=r"target\.compiler: .*found no-such-g\+\+.*apt install"):
        find_toolchain("no-such-g++")
    with pytest.raises(TargetError, match="calls itself"):
        find_toolchain("/bin/echo")
    monkeypatch.setenv("PATH", str(tmp_path))
    installed_compilers.cache_clear()
    try:
        with pytest.raises(TargetError, match=r"no C\+\+ compiler"):
            find_toolchain()
    finally:
        installed_compilers.cache_clear()


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_compile_error_shows_the_compilers_words_and_the_marked_line(target: CppTarget) -> None:
    source = HEAD + SIGNATURE + " {\n    y[0] = undeclared + 1;\n    y[1] = another;\n}\n"
    failure = fails(target, source)
    assert failure.outcome is Outcome.BUILD_ERROR and failure.diagnostic.reason == "compile_error"
    assert failure.diagnostic.details["errors"] == 2 and failure.diagnostic.details["line"] == 4
    message = failure.diagnostic.message
    assert "2 errors" in message and "undeclared" in message and "another" in message
    marked = message.splitlines()
    place = next(index for index, line in enumerate(marked) if "y[0] = undeclared + 1;" in line)
    assert marked[place + 1].index("^") == marked[place].index("undeclared")


def test_a_failure_is_remembered(target: CppTarget) -> None:
    source = SIGNATURE.replace("int64_t", "long") + " { y[0] = nowhere; }\n"
    first = fails(target, source)
    start = time.perf_counter()
    again = fails(target, source)
    assert again.diagnostic == first.diagnostic and time.perf_counter() - start < 0.05


@pytest.mark.parametrize(
    ("source", "outcome", "reason"),
    [
        ("int other() { return 1; }", Outcome.BUILD_ERROR, "missing_symbol"),
        ("static void kernel(const float* x, float* y) { y[0] = x[0]; }", Outcome.BUILD_ERROR, "missing_symbol"),
        ("void kernel(const float* x, float* y) { y[0] = x[0]; }", Outcome.BUILD_ERROR, "missing_symbol"),
        ('extern "C" int kernel; int kernel = 3;', Outcome.BUILD_ERROR, "missing_symbol"),
        ('extern "C" void elsewhere(); extern "C" void kernel() { elsewhere(); }', Outcome.BUILD_ERROR, "undefined_symbol"),
        ('extern "C" int getppid(); extern "C" int kernel() { return getppid(); }', Outcome.REJECTED, "forbidden_import"),
        ('extern "C" long write(int, const void*, long); extern "C" void kernel() { write(1, "x", 1); }',
         Outcome.REJECTED, "forbidden_import"),
        ("int f(); static int global = f(); int f() { return global + 1; } extern \"C\" int kernel() { return global; }",
         Outcome.REJECTED, "load_time_code"),
        ('volatile int v; __attribute__((constructor)) static void early() { v = 1; } extern "C" void kernel() { }',
         Outcome.REJECTED, "load_time_code"),
        ('volatile int v; extern "C" void _init() { v = 1; } extern "C" void kernel() { }', Outcome.REJECTED, "load_time_code"),
        ('static void* pick() { return 0; } extern "C" void f() __attribute__((ifunc("_ZL4pickv"))); extern "C" void kernel() { f(); }',
         Outcome.REJECTED, "load_time_code"),
        ('struct S { ~S(); float x; }; S::~S() { x = 1; } S s; extern "C" void kernel() { s.x = 2; }',
         Outcome.BUILD_ERROR, "undefined_symbol"),
        ('#error "no"', Outcome.BUILD_ERROR, "compile_error"),
        ('#include <no_such_header>', Outcome.BUILD_ERROR, "compile_error"),
        ('extern "C" void kernel() { throw 1; }', Outcome.BUILD_ERROR, "compile_error"),
    ],
)  # fmt: skip
def test_each_unacceptable_object_has_its_own_reason(target: CppTarget, source: str, outcome: Outcome, reason: str) -> None:
    failure = fails(target, source)
    assert (failure.outcome, failure.diagnostic.reason) == (outcome, reason)
    assert failure.diagnostic.message and failure.seconds > 0


def test_a_flag_that_is_not_on_the_list_never_reaches_the_compiler(target: CppTarget) -> None:
    source = '#define EVO_FLAGS "-fplugin=/tmp/x.so"  // evo: {"-fplugin=/tmp/x.so"}\n' + PLAIN
    finding = target.policy(Kernel("cpp", source))
    assert finding is not None and finding.reason == "forbidden_flag" and finding.details["line"] == 1
    assert fails(target, source).outcome is Outcome.REJECTED


def test_a_kernel_of_another_language_is_refused(target: CppTarget) -> None:
    with pytest.raises(BuildFailure, match="found a kernel in triton, expected cpp"):
        target.build(Kernel("triton", "x = 1\n"))


def test_the_sources_of_the_machine_cannot_be_included(target: CppTarget, tmp_path: Path) -> None:
    secret = tmp_path / "secret.h"
    secret.write_text("int secret_value = 42;\n")
    failure = fails(target, f'#include "{secret}"\n' + PLAIN)
    assert failure.outcome is Outcome.BUILD_ERROR and "secret_value" not in json.dumps(dict(failure.diagnostic.details))


# -- limits ------------------------------------------------------------------------------------------------------------

DEEP = "template <int N> long f() { return f<N + 1>() + 1; } "
WIDE = "template <unsigned long N, typename = void> struct B { static int g() { return B<2 * N>::g() + B<2 * N + 1>::g(); } }; "


@pytest.fixture
def limited(tmp_path: Path) -> Builder:
    limits = Limits(seconds=4.0, memory=1 << 30, output=64 << 10, object=4 << 20)
    return Builder(Cache(tmp_path), find_toolchain(), confined(), limits=limits)


@pytest.mark.parametrize(
    ("source", "reasons"),
    [
        (DEEP + 'extern "C" long kernel() { return f<0>(); }', {"compile_error"}),
        (WIDE + 'extern "C" int kernel() { return B<1>::g(); }', {"compile_error", "compile_timeout", "compile_memory", "compile_output"}),
        ("".join(f"#define {name} {' '.join(8 * inner)}\n" for name, inner in zip("ABCDEFGHI", "xABCDEFGH", strict=True)) + "I",
         {"compile_timeout", "compile_memory", "compile_output", "compile_error"}),
        ('static const int big[1 << 22] = {1}; extern "C" const int* kernel() { return big; }', {"object_too_large"}),
        ('constexpr long spin() { long s = 0; for (long i = 0; i < (1L << 60); ++i) s += i; return s; } constexpr long v = spin(); '
         'extern "C" long kernel() { return v; }', {"compile_error", "compile_timeout"}),
        ('#include "/dev/zero"\n', {"compile_error", "compile_timeout", "compile_memory"}),
        ("".join(f"int a{i} = undeclared{i};\n" for i in range(5000)), {"compile_error"}),
    ],
    ids=["deep_templates", "wide_templates", "macro_explosion", "giant_object", "constexpr_spin", "endless_include", "many_errors"],
)  # fmt: skip
def test_compile_bombs_end_within_their_limits(limited: Builder, source: str, reasons: set[str]) -> None:
    start = time.perf_counter()
    with pytest.raises(BuildFailure) as caught:
        limited.build(source, ("-O1",))
    assert caught.value.diagnostic.reason in reasons
    assert len(caught.value.diagnostic.message) < 40000
    assert time.perf_counter() - start < 15
    assert not list((limited.cache.root / "scratch").iterdir())


def test_timeouts_and_memory_are_not_remembered_as_the_kernels_fault(tmp_path: Path) -> None:
    answers = [Finished(-9, "", 4.0, "timeout"), Finished(1, "cc1plus: out of memory allocating 9 bytes", 1.0, "exit")]

    def run(argv: object, **_: object) -> Finished:
        return answers.pop(0)

    builder = Builder(Cache(tmp_path), find_toolchain(), run)
    outcomes = []
    for _ in range(2):
        with pytest.raises(BuildFailure) as caught:
            builder.build('extern "C" void kernel() { }', ())
        outcomes.append(caught.value.outcome)
    assert outcomes == [Outcome.TIMEOUT, Outcome.OUT_OF_MEMORY]


# -- cache -------------------------------------------------------------------------------------------------------------


def test_a_damaged_or_deleted_artifact_is_built_again(tmp_path: Path) -> None:
    target = CppTarget(EvaluationSettings(cache=tmp_path))
    kernel = Kernel("cpp", PLAIN)
    first = target.build(kernel)
    first.path.write_bytes(first.path.read_bytes()[:-1] + b"!")
    again = target.build(kernel)
    assert not again.cached and again.hash == first.hash == SharedObject(again.path).content_hash()
    shutil.rmtree(tmp_path)
    assert not target.build(kernel).cached


def test_many_threads_may_build_the_same_kernel(tmp_path: Path) -> None:
    target = CppTarget(EvaluationSettings(cache=tmp_path))
    with ThreadPoolExecutor(4) as pool:
        built = list(pool.map(lambda _: target.build(Kernel("cpp", PLAIN)), range(4)))
    assert len({(each.path, each.hash) for each in built}) == 1


def _build(cache: str, number: int) -> str:
    target = CppTarget(EvaluationSettings(cache=Path(cache)))
    return target.build(Kernel("cpp", PLAIN)).hash


def test_many_processes_may_build_the_same_kernel(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert len(set(pool.starmap(_build, [(str(tmp_path), number) for number in range(4)]))) == 1


# -- precompiled headers -----------------------------------------------------------------------------------------------


def test_only_headers_that_are_certain_are_precompiled() -> None:
    predefined = frozenset({"__x86_64__"})
    sure = "#include <cmath>\n#if defined(__x86_64__)\n#include <immintrin.h>\n#endif\n"
    assert certain_headers(read(sure), predefined) == ("cmath", "immintrin.h")
    assert certain_headers(read(sure), frozenset()) == ("cmath",)
    assert certain_headers(read("#define X 1\n#if X\n#include <cmath>\n#endif\n"), predefined) == ()
    assert certain_headers(read("#ifdef __x86_64__\n#else\n#include <cmath>\n#endif\n"), predefined) == ()
    assert certain_headers(read("#define _GLIBCXX_MATH_H 1\n" + sure), predefined) == ()


def test_a_precompiled_header_changes_nothing_but_the_time(tmp_path: Path) -> None:
    target = CppTarget(EvaluationSettings(cache=tmp_path, compiler="g++"))
    source = HEAD + "#include <algorithm>\n" + SIGNATURE + " { for (int64_t i = 0; i < n; ++i) y[i] = std::max(x[i], std::sqrt(x[i])); }\n"
    built = [target.build(Kernel("cpp", source + "// again" * number + "\n")) for number in range(3)]
    assert len({each.hash for each in built}) == 1
    assert list((tmp_path / "headers").glob("*/*/headers.h.gch"))
    broken = source.replace("std::sqrt", "std::no_such_function")
    failure = fails(target, broken)
    assert failure.outcome is Outcome.BUILD_ERROR and failure.diagnostic.details["line"] == 4


def test_a_precompiled_header_that_vanishes_fails_no_kernel(tmp_path: Path) -> None:
    class Vanishing:
        """Deletes the headers just before they are used."""

        def __init__(self) -> None:
            self.used = 0

        def __call__(
            self, argv: Sequence[str], *, read: Sequence[Path] = (), write: Path | None = None,
            timeout: float, memory: int, output_limit: int,
        ) -> Finished:  # fmt: skip
            if "-include" in argv:
                self.used += 1
                shutil.rmtree(tmp_path / "headers")
                read = ()
            return plain(argv, read=read, write=write, timeout=timeout, memory=memory, output_limit=output_limit)

    plain, run = confined(), Vanishing()
    target = CppTarget(EvaluationSettings(cache=tmp_path, compiler="g++"), run=run)
    for number in range(3):
        target.build(Kernel("cpp", PLAIN + "// again" * number + "\n"))
    assert run.used >= 1


def test_a_file_that_is_no_object_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"\x7fELF", b"\x7fELF\x02\x01" + b"\xff" * 200, b"text"):
        path = tmp_path / "x.so"
        path.write_bytes(content)
        with pytest.raises(ElfError):
            SharedObject(path)


def test_a_cache_emptied_under_a_compiler_says_nothing_about_the_kernel(tmp_path: Path) -> None:
    real = confined("auto")

    def emptied(argv: Sequence[str], *, write: Path, **settings: object) -> Finished:
        shutil.rmtree(tmp_path / "cache")
        return real(argv, write=write, **settings)  # type: ignore[arg-type]

    target = CppTarget(EvaluationSettings(cache=tmp_path / "cache"), run=emptied)  # type: ignore[arg-type]
    with pytest.raises(BuildFailure) as caught:
        target.build(Kernel("cpp", "void plain() {}\n" + PLAIN.replace("#include <cstdint>", "typedef long int64_t;")))
    assert caught.value.outcome is Outcome.INFRASTRUCTURE_ERROR
    assert caught.value.diagnostic.reason == "cache_vanished"


@pytest.mark.parametrize("said", ["bwrap: execvp /opt/g++: No such file or directory\n", "evo-sandbox: OSError: unshare: refused\n"])
def test_a_compiler_that_could_not_be_started_is_not_the_kernels_fault_and_is_not_remembered(tmp_path: Path, said: str) -> None:
    compile_ = confined("auto")
    broken = [True]

    def run(argv: Sequence[str], **options: object) -> Finished:
        return Finished(1, said, 0.01, "exit") if broken else compile_(argv, **options)  # type: ignore[arg-type]

    target = CppTarget(EvaluationSettings(cache=tmp_path), run=run)
    source = HEAD + SIGNATURE + " { for (long i = 0; i < n; ++i) y[i] = x[i]; }\n"
    with pytest.raises(BuildFailure) as caught:
        target.build(Kernel("cpp", source))
    assert caught.value.outcome is Outcome.INFRASTRUCTURE_ERROR and "evo doctor" in caught.value.diagnostic.message
    broken.clear()
    assert target.build(Kernel("cpp", source)).hash


def test_no_message_of_a_compiler_passes_for_one_of_the_sandbox(target: CppTarget) -> None:
    for line in ("#error bwrap: execvp\n", 'static_assert(false, "\\nbwrap: x");\n'):
        assert fails(target, line).outcome is Outcome.BUILD_ERROR


def test_the_environment_may_name_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-c++")
    with pytest.raises(TargetError, match=r"CXX: .*found no-such-c"):
        find_toolchain()
    named = str(installed_compilers()[0])
    monkeypatch.setenv("CXX", named)
    assert str(find_toolchain().command) == named
