"""What is read from machine code, on stored listings."""

from __future__ import annotations

from pathlib import Path

import pytest

from fitness.gpu import sass
from fitness.gpu.describing import occupancy

LISTINGS = Path(__file__).parent.parent / "data" / "gpu"


def test_a_streaming_kernel_reads_and_writes_sixteen_bytes_a_thread() -> None:
    facts = sass.read((LISTINGS / "swiglu_sm90.sass").read_text())
    assert facts["load_bytes"] == 16
    assert facts["store_bytes"] == 16
    assert facts["memory_pattern"] == "vector"
    assert facts["compute_pattern"] == "fma"
    assert facts["special"] > 0
    assert facts["spill_instructions"] == 0


def test_a_matrix_product_shows_asynchronous_copies_and_warpgroup_products() -> None:
    facts = sass.read((LISTINGS / "gemm_sm90_excerpt.sass").read_text())
    assert facts["memory_pattern"] == "pipeline"
    assert facts["compute_pattern"] == "wgmma"


@pytest.mark.parametrize(
    ("line", "fact", "value"),
    [
        ("        /*0010*/                   LDL.64 R2, [R1] ;", "spill_instructions", 1),
        ("        /*0010*/               @P0 RED.E.ADD.F32.FTZ.RN.STRONG.GPU desc[UR4][R2.64], R5 ;", "atomics", 1),
        ("        /*0010*/                   UTMALDG.2D [UR8], [UR4] ;", "memory_pattern", "tma"),
        ("        /*0010*/              @!P1 HMMA.16816.F32.BF16 R4, R8, R2, R4 ;", "compute_pattern", "mma"),
        ("        /*0010*/                   LDG.E.64 R2, desc[UR4][R2.64] ;", "load_bytes", 8),
    ],
)
def test_an_instruction_is_recognised(line: str, fact: str, value: object) -> None:
    assert sass.read(line)[fact] == value


def test_resource_usage_is_read_from_cuobjdump() -> None:
    text = "Resource usage:\n Function f:\n  REG:63 STACK:8 SHARED:1024 LOCAL:0 CONSTANT[0]:576"
    assert sass.resources(text) == {"registers": 63, "stack_bytes": 8, "static_shared": 1024}


def test_the_keys_do_not_depend_on_the_listing() -> None:
    assert set(sass.read("")) == set(sass.read((LISTINGS / "swiglu_sm90.sass").read_text()))
    assert set(sass.from_amdgcn("")) == set(sass.read("")) | set(sass.resources(""))


def test_metadata_of_an_amd_kernel_are_read() -> None:
    facts = sass.from_amdgcn("  global_load_dwordx4 v[0:3], v4, s[0:1]\n  v_mfma_f32_16x16x16_f16\n.vgpr_count: 96\n.vgpr_spill_count: 2\n")
    assert (facts["memory_pattern"], facts["compute_pattern"]) == ("vector", "mma")
    assert (facts["registers"], facts["spill_instructions"]) == (96, 2)


@pytest.mark.parametrize(
    ("registers", "warps", "shared", "expected"),
    [(32, 8, 0, 1.0), (128, 8, 0, 0.25), (32, 4, 100 << 10, 0.125), (255, 32, 0, 0.0)],
)
def test_occupancy_follows_from_registers_warps_and_shared_memory(registers: int, warps: int, shared: int, expected: float) -> None:
    assert occupancy(registers, warps, shared) == expected
