"""What a CUDA file may contain."""

from __future__ import annotations

from pathlib import Path

import pytest

from fitness.problem import default_roots
from fitness.targets.cuda_policy import check_cuda

SEEDS = sorted(path for root in default_roots() for path in root.glob("*/seed.cu"))


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: path.parent.name)
def test_every_shipped_seed_passes(path: Path) -> None:
    assert check_cuda(path.read_text()) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("#include <cublas_v2.h>", "forbidden_include"),
        ('#include "/etc/passwd"', "forbidden_include"),
        ("void f() { void* p; cudaMalloc(&p, 4); }", "forbidden_name"),
        ("void f() { cudaDeviceSynchronize(); }", "forbidden_name"),
        ("void f() { cublasSgemm(); }", "library_call"),
        ("void f() { thrust::sort(); }", "library_call"),
        ("void f() { cuMemAlloc(); }", "library_call"),
        ('void f() { system("true"); }', "forbidden_name"),
        ("void f() { clock_gettime(0, 0); }", "forbidden_name"),
    ],
)
def test_host_code_may_only_launch(line: str, reason: str) -> None:
    finding = check_cuda(f"#include <cstdint>\n{line}\n")
    assert finding is not None
    assert finding.reason == reason
    assert finding.details["line"] == 2


def test_ptx_and_launch_attributes_are_allowed() -> None:
    launch = "cudaFuncSetAttribute(g, cudaFuncAttributeMaxDynamicSharedMemorySize, 1);"
    source = f'void f(cudaStream_t s) {{ asm volatile("bar.sync 0;"); {launch} }}'
    assert check_cuda(source) is None
