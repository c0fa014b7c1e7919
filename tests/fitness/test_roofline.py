"""Ceilings: measured, plausible, cached, never beaten."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import numpy as np
import pytest

from fitness.cache import Cache
from fitness.ceiling_kernels import footprints, measuring_cores
from fitness.device import CacheLevel, DeviceError, cpu_device, last_level_cache_bytes
from fitness.protocol import EvaluationSettings
from fitness.roofline import Ceilings, Level, RooflineError, ceilings, minimum_seconds, plausible
from fitness.targets.cpp import CppTarget
from fitness.targets.toolchain import find_toolchain

LEVELS = (Level(1 << 20, 80e9, 100e9, 50e9), Level(1 << 24, 40e9, 50e9, 45e9), Level(1 << 28, 20e9, 22e9, 40e9))
MADE_UP = Ceilings(LEVELS, ((64, 4e9), (1024, 16e9)), 100e9, 50e9, 3e9, (0,))
CORE = max(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cache, Ceilings]:
    cache = Cache(tmp_path_factory.mktemp("cache"))
    return cache, ceilings(cache, CORE, find_toolchain())


def test_bandwidth_is_the_largest_way_interpolated_over_the_footprint() -> None:
    assert MADE_UP.bandwidth() == 40e9
    assert MADE_UP.bandwidth(1 << 28) == MADE_UP.bandwidth(1 << 40) == 40e9
    assert MADE_UP.bandwidth(1 << 20) == MADE_UP.bandwidth(1) == 100e9
    assert MADE_UP.bandwidth(1 << 22) == pytest.approx(75e9)
    assert MADE_UP.gather(256) == pytest.approx(10e9)
    assert (MADE_UP.read, MADE_UP.copy, MADE_UP.nt_copy) == (20e9, 22e9, 40e9)


def test_the_least_time_is_set_by_memory_or_by_arithmetic() -> None:
    assert minimum_seconds(MADE_UP, 40 * 10**9, 0) == pytest.approx(1.0)
    assert minimum_seconds(MADE_UP, 1, 200 * 10**9) == pytest.approx(2.0)
    assert minimum_seconds(MADE_UP, 1, 200 * 10**9, dtype="float64") == pytest.approx(4.0)
    assert minimum_seconds(MADE_UP, 1 << 20, 0, footprint=1 << 20) < minimum_seconds(MADE_UP, 1 << 20, 0)


def test_the_machine_is_measured_plausibly(measured: tuple[Cache, Ceilings]) -> None:
    _, found = measured
    toolchain = find_toolchain()
    assert plausible(found, toolchain.vector_bits) is found
    assert found.cores == (CORE,)
    assert 0.5e9 < found.frequency < 8e9
    sizes = [level.footprint for level in found.levels]
    assert sizes == sorted(sizes) and sizes[-1] >= 2 * last_level_cache_bytes()
    assert found.levels[0].best > found.levels[-1].best, "caches are faster than memory"
    rows = dict(found.gathers)
    assert rows[64] < 1.5 * rows[1024], "short rows are not gathered faster than long ones"
    assert found.gather(256) <= 1.1 * found.bandwidth(sizes[0])


def test_no_copy_of_this_process_beats_the_ceiling(measured: tuple[Cache, Ceilings]) -> None:
    cache, found = measured
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {CORE})
    try:
        for size in (1 << 20, 8 << 20, 4 * last_level_cache_bytes()):
            x, y = np.ones(size // 8, np.float32), np.empty(size // 8, np.float32)
            np.copyto(y, x)
            best = 1e9
            for _ in range(20):
                start = time.perf_counter()
                np.copyto(y, x)
                best = min(best, time.perf_counter() - start)
            share = minimum_seconds(found, size, 0, footprint=size) / best
            if share > 1.05:  # a neighbour disturbed the first measurement: what a caller is to do then
                found = ceilings(cache, CORE, find_toolchain(), refresh=True)
                share = minimum_seconds(found, size, 0, footprint=size) / best
            assert 0.02 < share <= 1.05
    finally:
        os.sched_setaffinity(0, affinity)


def test_ceilings_come_from_the_cache_the_second_time(measured: tuple[Cache, Ceilings]) -> None:
    cache, _ = measured
    known = ceilings(cache, CORE, find_toolchain())
    start = time.perf_counter()
    assert ceilings(cache, CORE, find_toolchain()) == known
    assert time.perf_counter() - start < 0.2


def test_measuring_again_never_lowers_a_ceiling(measured: tuple[Cache, Ceilings], monkeypatch: pytest.MonkeyPatch) -> None:
    cache, _ = measured
    before = ceilings(cache, CORE, find_toolchain())
    slower = dataclasses.replace(
        before,
        levels=tuple(Level(each.footprint, each.read / 2, each.copy * 1.01, each.nt_copy / 2) for each in before.levels),
        fma_f32=before.fma_f32 / 2, fma_f64=before.fma_f64 / 2,
    )  # fmt: skip
    monkeypatch.setattr("fitness.ceiling_kernels.measure", lambda *_: slower)
    after = ceilings(cache, CORE, find_toolchain(), refresh=True)
    assert after.fma_f32 == before.fma_f32 and after.read == before.read
    assert [level.copy for level in after.levels] == [level.copy * 1.01 for level in before.levels]
    assert ceilings(cache, CORE, find_toolchain()) == after


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"fma_f32": 300e9}, "operations per cycle"),
        ({"fma_f32": 5e9}, "operations per cycle"),
        ({"fma_f64": 5e9}, "float64 rate"),
        ({"levels": (Level(1 << 20, 9e12, 1e9, 1e9),)}, "no core can do"),
        ({"levels": (Level(1 << 20, 1e6, 1e6, 1e6),)}, "no core can do"),
    ],
)
def test_absurd_ceilings_are_refused(wrong: dict[str, object], match: str) -> None:
    good = dataclasses.replace(MADE_UP, fma_f32=96e9, fma_f64=48e9)
    assert plausible(good, 512) is good
    with pytest.raises(RooflineError, match=match):
        plausible(dataclasses.replace(good, **wrong), 512 if "fma_f32" not in wrong else 256)  # type: ignore[arg-type]


def test_cores_beside_the_measuring_one_are_this_process_own() -> None:
    allowed = os.sched_getaffinity(0)
    assert measuring_cores(CORE, 1) == (CORE,)
    every = measuring_cores(CORE, len(allowed))
    assert every[0] == CORE and set(every) == allowed
    with pytest.raises(RooflineError, match=r"evaluation\.threads"):
        measuring_cores(CORE, len(allowed) + 1)


@pytest.mark.parametrize("cache", [1 << 20, 8 << 20, 32 << 20, 600 << 20])
def test_footprints_reach_from_the_caches_to_memory(cache: int) -> None:
    sizes = footprints(cache)
    assert list(sizes) == sorted(set(sizes)) and sizes[0] == 128 << 10
    assert sizes[-1] >= 2 * cache and cache in sizes
    assert all(size % 65536 == 0 for size in sizes)


def test_the_device_tells_what_the_system_tells() -> None:
    device = cpu_device(("avx2",), 256, "g++ 12")
    assert device.kind == "cpu" and device.name and device.cores == len(os.sched_getaffinity(0))
    assert device.memory > 1 << 28 and device.compiler == "g++ 12"
    assert all(isinstance(each, CacheLevel) and each.bytes > 0 for each in device.caches)
    assert device.huge_pages in ("always", "madvise", "never", "unknown")
    assert "ceilings" not in dataclasses.asdict(device), "facts do not change from one measurement to the next"
    with pytest.raises(DeviceError):
        _ = device.ceilings


def test_a_target_s_device_measures_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = CppTarget(EvaluationSettings(cache=tmp_path, core=CORE))
    monkeypatch.setattr("fitness.roofline.plausible", lambda found, *_: found)
    monkeypatch.setattr("fitness.ceiling_kernels.measure", lambda *_: MADE_UP)
    assert target.device().ceilings == MADE_UP
    assert target.device() is target.device()
    faster = dataclasses.replace(MADE_UP, fma_f32=200e9)
    monkeypatch.setattr("fitness.ceiling_kernels.measure", lambda *_: faster)
    assert target.device().ceilings == MADE_UP
    assert target.device().remeasure() == target.device().ceilings == faster
