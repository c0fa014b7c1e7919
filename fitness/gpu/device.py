"""The GPU as facts, without making a context on it: by nvidia-smi and by what is installed."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from dataclasses import dataclass

__all__ = ["ARCHITECTURES", "GpuDevice", "clocks", "count_gpus", "find_gpu", "installed", "multiprocessors"]

ARCHITECTURES: dict[str, tuple[str, int | str, int]] = {
    "sm_80": ("cuda", 80, 32), "sm_86": ("cuda", 86, 32), "sm_89": ("cuda", 89, 32), "sm_90": ("cuda", 90, 32), "sm_100": ("cuda", 100, 32),
    "sm_120": ("cuda", 120, 32), "gfx90a": ("hip", "gfx90a", 64), "gfx942": ("hip", "gfx942", 64), "gfx950": ("hip", "gfx950", 64),
}  # fmt: skip
"""Architecture → (Triton's backend, its name of it, threads a warp)."""


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """Facts that decide whether two measurements are comparable."""

    name: str
    kind: str
    architecture: str
    """`sm_90`, …; of the device, or the one that is built for without a device."""
    memory: int
    """MiB; 0 without a device."""
    driver: str
    torch: str
    triton: str

    @property
    def present(self) -> bool:
        return self.kind == "gpu"


def installed(package: str) -> str:
    """Version of a package, empty where it is not installed. Imports nothing."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return ""


@functools.cache
def find_gpu() -> GpuDevice | None:
    """The first NVIDIA GPU, or None."""
    query = "--query-gpu=name,compute_cap,memory.total,driver_version"
    try:
        done = subprocess.run(["nvidia-smi", query, "--format=csv,noheader,nounits"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = done.stdout.strip().splitlines()
    parts = [part.strip() for part in lines[0].split(",")] if done.returncode == 0 and lines else []
    if len(parts) != 4:
        return None
    name, capability, memory, driver = parts
    return GpuDevice(
        name, "gpu", "sm_" + capability.replace(".", ""), int(float(memory)) if memory[:1].isdigit() else 0, driver,
        installed("torch"), installed("triton"),
    )  # fmt: skip


@functools.cache
def count_gpus() -> int:
    """NVIDIA GPUs of this machine."""
    try:
        done = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines()) if done.returncode == 0 else 0


CLOCKS = ("clocks.sm", "clocks.mem", "clocks.max.sm", "clocks.max.mem", "power.draw", "power.limit", "temperature.gpu")


def clocks() -> dict[str, str]:
    """Clocks, power and temperature of the GPU in use as nvidia-smi says them now, by its own names; empty where it does not answer."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "").partition(",")[0] or "0"
    command = ["nvidia-smi", f"--query-gpu={','.join(CLOCKS)}", "--format=csv,noheader", "-i", chosen]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    said = [part.strip() for part in done.stdout.strip().split(",")]
    return dict(zip(CLOCKS, said, strict=True)) if done.returncode == 0 and len(said) == len(CLOCKS) else {}


_ASK = """
import ctypes
cuda, count, device = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(), ctypes.c_int()
assert cuda.cuInit(0) == 0 and cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
assert cuda.cuDeviceGetAttribute(ctypes.byref(count), 16, device) == 0
print(count.value)
"""


@functools.cache
def multiprocessors() -> int:
    """Of the first GPU; 0 without one. The driver is asked in a process of its own, so that this one stays without it."""
    try:
        done = subprocess.run([sys.executable, "-I", "-S", "-c", _ASK], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return int(done.stdout) if done.returncode == 0 and done.stdout.strip().isdigit() else 0


def absent(architecture: str) -> GpuDevice:
    """What stands for the device where kernels are only built and interpreted."""
    return GpuDevice(f"none ({architecture})", "none", architecture, 0, "", installed("torch"), installed("triton"))
