"""What the driver is told when a plan is played, by a stand-in for the driver that writes it down. Needs a C compiler; no device."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fitness.gpu import driver
from fitness.gpu.launcher import Loaded
from fitness.gpu.plan import archive

COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C compiler")
DRIVER = r"""
#include <stdio.h>
#include <string.h>
typedef struct { int id; char pad[4]; unsigned value[16]; } attribute;
typedef struct { unsigned grid[3], block[3], shared; void* stream; attribute* attributes; unsigned count; } config;
static char said[1 << 16];
static const int sizes[] = {8, 24, 4};
static void launched(const char* how, void* f, const unsigned* g, const unsigned* b, unsigned shared, void* stream, void** arguments) {
    char* to = said + strlen(said);
    to += sprintf(to, "%s %zu %u %u %u %u %u %u %u %zu", how, (size_t)f, g[0], g[1], g[2], b[0], b[1], b[2], shared, (size_t)stream);
    for (int i = 0; i < 3; ++i) {
        to += sprintf(to, " ");
        for (int at = 0; at < sizes[i]; ++at) to += sprintf(to, "%02x", ((unsigned char*)arguments[i])[at]);
    }
    sprintf(to, "\n");
}
const char* heard(void) { return said; }
int cuModuleLoadData(void** module, const char* image) { return *module = (void*)(size_t)image[0], 0; }
int cuModuleUnload(void* module) { return sprintf(said + strlen(said), "unload %zu\n", (size_t)module), 0; }
int cuModuleGetFunction(void** function, void* module, const char* name) {
    return *function = (void*)(1000 * (size_t)module + (size_t)name[0]), 0;
}
int cuFuncSetAttribute(void* function, int id, int value) {
    return sprintf(said + strlen(said), "set %zu %d %d\n", (size_t)function, id, value), 0;
}
int cuLaunchKernel(void* f, unsigned x, unsigned y, unsigned z, unsigned a, unsigned b, unsigned c, unsigned shared, void* stream,
                   void** arguments, void** extra) {
    unsigned grid[] = {x, y, z}, block[] = {a, b, c};
    return launched("launch", f, grid, block, shared, stream, arguments), extra ? 1 : 0;
}
int cuLaunchKernelEx(const config* c, void* f, void** arguments, void** extra) {
    launched("launch_ex", f, c->grid, c->block, c->shared, c->stream, arguments);
    for (unsigned i = 0; i < c->count; ++i) {
        const attribute* a = &c->attributes[i];
        sprintf(said + strlen(said), "attribute %d %u %u %u\n", a->id, a->value[0], a->value[1], a->value[2]);
    }
    return extra ? 1 : 0;
}
int cuMemsetD8Async(unsigned long long to, unsigned char byte, size_t count, void* stream) {
    return sprintf(said + strlen(said), "memset %llu %d %zu %zu\n", to, byte, count, (size_t)stream), 0;
}
int cuMemcpyDtoDAsync_v2(unsigned long long to, unsigned long long from, size_t count, void* stream) {
    return sprintf(said + strlen(said), "copy %llu %llu %zu %zu\n", to, from, count, (size_t)stream), 0;
}
"""
ARGUMENTS = [
    ["pointer", 1, 16],
    ["pieces", [["value", "0100000000000000"], ["pointer", 0, -8], ["value", "0200000003000000"]]],
    ["value", "07000000"],
]


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    assert COMPILER is not None
    (tmp_path / "driver.c").write_text(DRIVER)
    library = tmp_path / "driver.so"
    subprocess.run([COMPILER, "-shared", "-fPIC", "-w", "-o", str(library), str(tmp_path / "driver.c")], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.heard.restype = ctypes.c_char_p
    monkeypatch.setattr(driver, "_cuda", lambda: loaded)
    return lambda: loaded.heard().decode().splitlines()


def played(kernels: list[dict[str, Any]], launches: list[dict[str, Any]]) -> None:
    plan = {"kernels": kernels, "cases": [{"sizes": [1], "bytes": [64, 64], "workspace": 0, "launches": launches}]}
    loaded = Loaded(archive(plan, [b"\1", b"\2"]))
    for each in loaded.of(0, 0, [1 << 20, 1 << 21, 1 << 22]):
        each.queue(77)
    loaded.close()


def parameters() -> str:
    one, two = ((1 << 21) + 16).to_bytes(8, "little").hex(), ((1 << 20) - 8).to_bytes(8, "little").hex()
    return f"{one} 0100000000000000{two}0200000003000000 07000000"


def test_a_cuda_file_s_plan_is_played_as_it_is_written(heard: Callable[[], list[str]]) -> None:
    plain = {"name": "a", "image": 0, "block": [32, 4, 2], "shared": 100, "attributes": [], "settings": [[8, 9000], [9, 50]], "scratch": 0}
    wide = {**plain, "name": "b", "settings": [], "attributes": [[4, [2, 1, 1]], [2, [1, 0, 0]]]}
    launches: list[dict[str, Any]] = [
        {"memset": [2, 4], "byte": 255, "bytes": 12},
        {"kernel": 0, "grid": [5, 6, 7], "arguments": ARGUMENTS},
        {"kernel": 1, "grid": [8, 1, 1], "arguments": ARGUMENTS},
        {"copy": [1, 0], "from": [0, 8], "bytes": 16},
    ]
    played([plain, wide], launches)
    assert heard() == [
        "set 1097 8 9000", "set 1097 9 50",
        f"memset {(1 << 22) + 4} 255 12 77",
        f"launch 1097 5 6 7 32 4 2 100 77 {parameters()}",
        f"launch_ex 1098 8 1 1 32 4 2 100 77 {parameters()}", "attribute 4 2 1 1", "attribute 2 1 0 0",
        f"copy {1 << 21} {(1 << 20) + 8} 16 77",
        "unload 1",
    ]  # fmt: skip


def test_a_triton_file_s_plan_counts_clusters_and_has_an_image_a_kernel(heard: Callable[[], list[str]]) -> None:
    plain = {"name": "a", "threads": 128, "shared": 0, "clusters": 1, "cooperative": False, "scratch": 0}
    wide = {**plain, "name": "b", "clusters": 2, "shared": 60000, "cooperative": True}
    played([plain, wide], [{"kernel": n, "grid": [3, 2, 1], "arguments": ARGUMENTS} for n in (0, 1)])
    assert heard() == [
        "set 2098 8 60000",
        f"launch 1097 3 2 1 128 1 1 0 77 {parameters()}",
        f"launch_ex 2098 6 2 1 128 1 1 60000 77 {parameters()}", "attribute 2 1 0 0", "attribute 4 2 1 1", "attribute 5 1 0 0",
        "unload 1", "unload 2",
    ]  # fmt: skip


def test_an_empty_grid_is_not_launched(heard: Callable[[], list[str]]) -> None:
    plain = {"name": "a", "threads": 128, "shared": 0, "clusters": 1, "cooperative": False, "scratch": 0}
    played([plain], [{"kernel": 0, "grid": [0, 2, 1], "arguments": ARGUMENTS}])
    assert heard() == ["unload 1"]
