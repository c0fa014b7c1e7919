"""Which compiler flags a kernel may ask for."""

from __future__ import annotations

import subprocess

import pytest

from fitness.targets.flags import DEFAULT_FLAGS, FlagError, is_code_generation_flag, parse_flags
from fitness.targets.toolchain import find_toolchain

GOOD = [
    "-O0", "-O2", "-O3", "-Ofast", "-Os", "-ffast-math", "-fno-math-errno", "-funroll-loops", "-fno-trapping-math", "-march=native",
    "-mtune=native", "-mprefer-vector-width=512", "-mavx512f", "-mno-avx512f", "-mfma", "-fopenmp-simd", "-fvect-cost-model=unlimited",
    "--param=max-unroll-times=8", "-falign-loops=64", "-ffp-contract=off", "-fno-tree-vectorize", "-mrecip=all", "-fno-exceptions",
    "-fprefetch-loop-arrays", "-fno-inline", "-fomit-frame-pointer",
]  # fmt: skip

BAD = [
    "-fplugin=/tmp/x.so", "-wrapper", "-include", "-I/etc", "-lcblas", "-L/tmp", "-Wl,-init,f", "@file", "-o", "-ox", "-specs=x", "-B/tmp",
    "-x", "-xc", "-Xlinker", "-fopenmp", "-pthread", "-D_GNU_SOURCE", "-DX=1", "-U__AVX__", "-std=c++11", "-fuse-ld=gold", "-flto",
    "-fprofile-generate", "-fprofile-use=/tmp/x", "-fsanitize=address", "-finstrument-functions", "-fdump-tree-all", "-save-temps", "-E",
    "-S", "-c", "-shared", "-static", "-nostdlib", "-fexceptions", "-mdaz-ftz", "-march=native/../../x", "-fplugin-arg-x-y", "-dumpdir",
    "-fauxbase=x", "-mllvm", "-Xclang", "-load", "-isystem", "-fmodules-ts", "kernel.cpp", "/etc/passwd", "-", "--", "-O9", "-O33", "-g",
    "-Werror", "--param=ggc-min-heapsize=1", "--param=max-unroll-times=x", "-fmax-errors=0", "-fdiagnostics-format=json", "-fPIE", "-m32",
    "-falign-loops=64;x", "-O3\n-lx", "--sysroot=/", "-imacros", "-fcf-protection", "-mcmodel=large", "-fvisibility=hidden",
]  # fmt: skip


@pytest.mark.parametrize("flag", GOOD)
def test_code_generation_flags_are_allowed(flag: str) -> None:
    assert parse_flags(flag) == (flag,)


@pytest.mark.parametrize("flag", BAD)
def test_everything_else_is_refused(flag: str) -> None:
    assert not is_code_generation_flag(flag)


@pytest.mark.parametrize("text", ["-O3 -lcblas", "-O2 @/tmp/flags", "-O3 -Wl,-z,execstack", "-O3 -include /etc/passwd", "-O3 -fplugin=x"])
def test_a_refusal_names_the_flag_and_what_to_do(text: str) -> None:
    with pytest.raises(FlagError, match=r"EVO_FLAGS has '.*'.*(remove|Use|Write)") as caught:
        parse_flags(text)
    assert text.split()[1] in str(caught.value)


def test_words_are_split_like_a_shell_does_and_parameters_are_joined() -> None:
    assert parse_flags("  -O3   -funroll-loops ") == ("-O3", "-funroll-loops")
    assert parse_flags("--param max-unroll-times=4 -O2") == ("--param=max-unroll-times=4", "-O2")
    assert parse_flags("") == ()
    assert parse_flags(DEFAULT_FLAGS) == (DEFAULT_FLAGS,)


@pytest.mark.parametrize("text", ['-O3 "-funroll', "-O3 --param", " ".join(["-O3"] * 65)])
def test_what_is_no_list_of_flags_is_refused(text: str) -> None:
    with pytest.raises(FlagError):
        parse_flags(text)


def test_the_compiler_knows_the_flags_that_are_allowed() -> None:
    command = [str(find_toolchain("g++").command), *GOOD, "-E", "-x", "c++", "/dev/null"]
    assert subprocess.run(command, capture_output=True).returncode == 0
