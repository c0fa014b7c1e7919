"""What the machine code of a kernel is found to be: on listings written down here, and on kernels really built."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from archive.kernel import Kernel
from archive.tunables import Value
from fitness.protocol import EvaluationSettings
from fitness.targets.cpp import CppTarget
from fitness.targets.disassembly import parse, reachable
from fitness.targets.instruction_mix import MEMORY_PATTERNS, instruction_mix
from fitness.targets.tiles import tile_elements
from fitness.targets.toolchain import cpu_flags

LISTING = """
/tmp/kernel.so:     file format elf64-x86-64

Disassembly of section .plt:

0000000000001000 <expf@plt-0x10>:
    1000:	push   0x2fea(%rip)        # 3ff0 <x>
    1006:	jmp    *0x2fec(%rip)        # 3ff8 <y>

0000000000001010 <expf@plt>:
    1010:	jmp    *0x2fea(%rip)        # 4000 <expf>

Disassembly of section .text:

0000000000001020 <kernel@@Base-0x10>:
    1020:	vgatherdps (%rdi,%zmm1,4),%zmm0{%k1}
    1027:	ret

0000000000001030 <kernel@@Base>:
    1030:	xor    %eax,%eax
    1032:	vmovups (%rdi,%rax,1),%zmm0
    1039:	vfmadd132ps %zmm0,%zmm1,%zmm2
    103f:	vmovntps %zmm2,(%rsi,%rax,1)
    1046:	vmovaps %ymm3,-0x40(%rsp)
    104b:	prefetcht0 0x100(%rdi,%rax,1)
    1053:	call   1070 <kernel@@Base+0x40>
    1058:	add    $0x40,%rax
    105c:	cmp    %rax,%rdx
    105f:	jne    1032 <kernel@@Base+0x2>
    1061:	jmp    1010 <expf@plt>
    1066:	nopw   0x0(%rax,%rax,1)
    1070:	vdivss %xmm1,%xmm0,%xmm0
    1074:	notrack jmp *%rax
    1077:	ret
"""

VECTORS = """
#include <cstdint>
#include <cmath>
#if defined(__x86_64__)
#include <immintrin.h>
#endif
#define TILE_M 8    // evo: {8, 16}
#define BLOCK 4     // evo: {4}
#define UNROLL 2    // evo: {2}
extern "C" void kernel(const float* __restrict__ x, float* __restrict__ y, void*, int64_t n) { BODY }
"""

x86 = pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs an x86-64 CPU")
avx512 = pytest.mark.skipif("avx512f" not in cpu_flags(), reason="needs a CPU with AVX-512")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> CppTarget:
    return CppTarget(EvaluationSettings(cache=tmp_path_factory.mktemp("cache")))


def facts(target: CppTarget, body: str, flags: str = "-O3 -fno-tree-vectorize -fno-slp-vectorize") -> dict[str, Value]:
    if target.toolchain.family == "gcc":
        flags = flags.replace("-fno-slp-vectorize", "-fno-tree-slp-vectorize")
    source = f'#define EVO_FLAGS "{flags}"  // evo: {{"{flags}"}}\n' + VECTORS.replace("BODY", body)
    kernel = Kernel("cpp", source)
    return target.describe(target.build(kernel), kernel)


def test_only_what_the_kernel_reaches_is_counted() -> None:
    code = reachable(*parse(LISTING))
    assert [hex(each.address) for each in code.instructions][:3] == ["0x1030", "0x1032", "0x1039"]
    assert 0x1020 not in {each.address for each in code.instructions}
    assert 0x1070 in {each.address for each in code.instructions} and 0x1066 not in {each.address for each in code.instructions}
    assert code.imports == ("expf",) and code.indirect == 1
    mix = instruction_mix(code)
    expected = {
        "fma": 1, "gathers": 0, "streaming_stores": 1, "prefetches": 1, "vector_loads": 1, "vector_stores": 0, "unaligned": 1,
        "divisions": 1, "spills": 1, "branches": 1, "calls": 1, "vector_bits": 512, "memory_pattern": "streaming", "loop_depth": 1,
        "library_calls": "expf",
    }  # fmt: skip
    assert {name: mix[name] for name in expected} == expected


def test_loops_around_a_call_count_for_what_is_called() -> None:
    code = reachable(*parse(LISTING))
    depth = {each.address: depth for each, depth in zip(code.instructions, code.depth, strict=True)}
    assert depth[0x1030] == 0 and depth[0x1032] == 1 and depth[0x105F] == 1 and depth[0x1070] == 1 and depth[0x1061] == 0


def test_a_listing_without_the_kernel_gives_zeros() -> None:
    mix = instruction_mix(reachable(*parse("nothing to see\n")))
    assert mix["vector_bits"] == 0 and mix["memory_pattern"] == "scalar" and mix["code_bytes"] == 0
    assert set(mix) == set(instruction_mix(reachable(*parse(LISTING))))


def test_recursion_ends() -> None:
    listing = "0000000000000010 <kernel>:\n  10:\tcall   10 <kernel>\n  15:\tjne    10 <kernel>\n  17:\tret\n"
    code = reachable(*parse(listing))
    assert len(code.instructions) == 3 and max(code.depth) <= 8


@x86
def test_a_scalar_kernel_has_no_vectors(target: CppTarget) -> None:
    found = facts(target, "for (int64_t i = 0; i < n; ++i) y[i] = x[i] * 2.5f + x[i + 1];")
    assert found["vector_bits"] == 0 and found["memory_pattern"] == "scalar"
    assert found["streaming_stores"] == found["gathers"] == found["prefetches"] == 0
    assert int(found["loop_depth"]) >= 1 and 0 < int(found["code_bytes"]) < 400


@avx512
@pytest.mark.parametrize("bits", [128, 256, 512])
def test_the_width_of_the_vectors_is_found(target: CppTarget, bits: int) -> None:
    prefix = "" if bits == 128 else bits
    body = f"""for (int64_t i = 0; i < n; i += {bits // 32}) {{
        __m{bits} v = _mm{prefix}_loadu_ps(x + i); _mm{prefix}_storeu_ps(y + i, _mm{prefix}_mul_ps(v, v)); }}"""
    found = facts(target, body)
    assert found["vector_bits"] == bits and found["memory_pattern"] == "vector"
    assert int(found["vector_stores"]) >= 1 and int(found["unaligned"]) >= 1


@avx512
def test_what_is_vectorised_outside_the_hot_loop_does_not_decide(target: CppTarget) -> None:
    body = """__m512 wide = _mm512_mul_ps(_mm512_loadu_ps(x), _mm512_loadu_ps(x)); _mm512_storeu_ps(y, wide);
        for (int64_t i = 0; i < n; ++i) for (int64_t j = 0; j < n; ++j) for (int64_t k = 0; k < n; ++k) y[i] = y[i] * x[j] + y[k];"""
    assert facts(target, body)["vector_bits"] == 0


@avx512
@pytest.mark.parametrize(
    ("body", "pattern", "counted"),
    [
        ("for (int64_t i = 0; i < n; i += 16) _mm512_stream_ps(y + i, _mm512_loadu_ps(x + i));", "streaming", "streaming_stores"),
        ("for (int64_t i = 0; i < n; i += 16) { __builtin_prefetch(x + i + 512); _mm512_storeu_ps(y + i, _mm512_loadu_ps(x + i)); }",
         "prefetch", "prefetches"),
        ("for (int64_t i = 0; i < n; i += 16) _mm512_storeu_ps(y + i, _mm512_i32gather_ps(_mm512_loadu_si512(x + i), x, 4));",
         "gather", "gathers"),
    ],
)  # fmt: skip
def test_the_memory_pattern_is_found(target: CppTarget, body: str, pattern: str, counted: str) -> None:
    found = facts(target, body)
    assert found["memory_pattern"] == pattern and pattern in MEMORY_PATTERNS and int(found[counted]) >= 1


@x86
def test_library_calls_are_named(target: CppTarget) -> None:
    found = facts(target, "for (int64_t i = 0; i < n; ++i) y[i] = std::exp(x[i]) + std::tanh(x[i]);")
    assert found["library_calls"] == "expf tanhf" and found["calls"] == 2


@x86
def test_spills_are_estimated(target: CppTarget) -> None:
    names = [f"a{index}" for index in range(40)]
    loads = " ".join(f"__m256 {name} = _mm256_loadu_ps(x + {8 * i});" for i, name in enumerate(names))
    step = "{0} = _mm256_add_ps(_mm256_mul_ps({0}, {1}), _mm256_loadu_ps(x + i));"
    steps = " ".join(step.format(name, names[i - 1]) for i, name in enumerate(names))
    stores = " ".join(f"_mm256_storeu_ps(y + {8 * i}, {name});" for i, name in enumerate(names))
    assert int(facts(target, f"{loads} for (int64_t i = 0; i < n; ++i) {{ {steps} }} {stores}")["spills"]) >= 8
    few = facts(target, "__m256 a = _mm256_loadu_ps(x); for (int64_t i = 0; i < n; ++i) a = _mm256_mul_ps(a, a); _mm256_storeu_ps(y, a);")
    assert few["spills"] == 0


def test_tunables_and_tiles_are_in_the_profile(target: CppTarget) -> None:
    found = facts(target, "y[0] = x[0];")
    assert found["tile_elements"] == 32 and found["tunable.TILE_M"] == 8 and found["tunable.UNROLL"] == 2
    assert found["working_set"] == 0 and found["uses_threads"] is False
    assert all(isinstance(value, bool | int | float | str) for value in found.values())


def test_tile_elements_takes_whole_numbers_only() -> None:
    assert tile_elements({"TILE": 4, "tile_n": 2, "BLOCK_X": 3, "UNROLL": 9, "TILED": True, "BLOCKS": "x", "TILE_Z": 0}) == 24
    assert tile_elements({}) == 1


def test_threads_are_seen(tmp_path: Path) -> None:
    target = CppTarget(EvaluationSettings(cache=tmp_path, threads=2))
    source = VECTORS.replace("BODY", "_Pragma(\"omp parallel for\") for (int64_t i = 0; i < n; ++i) y[i] = x[i];")
    if target.toolchain.family == "clang":
        pytest.skip("Clang's OpenMP runtime is a package of its own")
    kernel = Kernel("cpp", source)
    assert target.policy(kernel) is None
    found = target.describe(target.build(kernel), kernel)
    assert found["uses_threads"] is True
    assert int(found["loop_depth"]) >= 1 and found["memory_pattern"] == "vector", "the body is in a function of its own"
