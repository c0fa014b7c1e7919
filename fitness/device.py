"""The machine that kernels run on, as facts, and its measured ceilings when asked for."""

from __future__ import annotations

import functools
import os
import platform
import re
from collections.abc import Callable
from dataclasses import InitVar, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fitness.pages import collapses

if TYPE_CHECKING:
    from fitness.roofline import Ceilings

__all__ = ["CacheLevel", "Device", "DeviceError", "cpu_device", "last_level_cache_bytes"]

Measure = Callable[[bool], "Ceilings"]
"""Gives ceilings; when told True, measured anew."""

_CPU = Path("/sys/devices/system/cpu")
_LEAST_CACHE = 8 << 20
"""Assumed last-level cache where the system does not tell (some containers)."""


class DeviceError(Exception):
    """The device has no measured ceilings, or cannot be asked."""


@dataclass(frozen=True, slots=True)
class CacheLevel:
    level: int
    kind: str
    """`data` or `unified`."""
    bytes: int
    line: int
    shared_by: int
    """CPUs that share it."""


@dataclass(frozen=True)
class Device:
    """Facts that do not change between two looks. `ceilings` are measured when first asked for (seconds), then cached."""

    name: str
    kind: str
    cores: int
    """CPUs this process may use."""
    features: tuple[str, ...]
    """Instruction-set features the compiler may use, as /proc/cpuinfo names them."""
    vector_bits: int
    caches: tuple[CacheLevel, ...]
    memory: int
    """Bytes of main memory."""
    governor: str
    """Frequency governor of the first CPU; `unknown` in most virtual machines."""
    hypervisor: str
    """Vendor, or empty on bare metal."""
    huge_pages: str
    """Transparent huge pages of anonymous memory: always, madvise or never."""
    shared_huge_pages: str
    """The same of memfd and shared memory, which the slots are made of; `collapse`: made when asked for, whatever the setting."""
    kernel: str
    compiler: str = ""
    measure: InitVar[Measure | None] = None

    def __post_init__(self, measure: Measure | None) -> None:
        object.__setattr__(self, "_measure", measure)

    @functools.cached_property
    def ceilings(self) -> Ceilings:
        """Measured peak bandwidths (bytes/s) and rates (FLOP/s). Raises `DeviceError`, `fitness.roofline.RooflineError`."""
        return self._ask(False)

    def remeasure(self) -> Ceilings:
        """Measures again and keeps the larger values: what to do when a time below the least possible one shows that a
        neighbour disturbed the first measurement. Raises like `ceilings`."""
        self.__dict__["ceilings"] = found = self._ask(True)
        return found

    def _ask(self, refresh: bool) -> Ceilings:
        measure: Measure | None = self.__dict__["_measure"]
        if measure is None:
            raise DeviceError(f"{self.name}: nothing measures this device's ceilings. Open it through a target.")
        return measure(refresh)


def cpu_device(
    features: tuple[str, ...] = (), vector_bits: int = 0, compiler: str = "", measure: Measure | None = None
) -> Device:
    """This machine's CPU. What the system does not tell is `unknown` or 0, never invented."""
    info = _text("/proc/cpuinfo")
    return Device(
        name=_field(info, "model name") or _field(info, "Model") or platform.processor() or platform.machine(),
        kind="cpu",
        cores=len(os.sched_getaffinity(0)),
        features=features,
        vector_bits=vector_bits,
        caches=caches(),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        governor=_text(_CPU / "cpu0/cpufreq/scaling_governor").strip() or "unknown",
        hypervisor=_hypervisor(info),
        huge_pages=_chosen("/sys/kernel/mm/transparent_hugepage/enabled"),
        shared_huge_pages="collapse" if collapses() else _chosen("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
        kernel=platform.release(),
        compiler=compiler,
        measure=measure,
    )


@functools.cache
def caches(cpu: int = 0) -> tuple[CacheLevel, ...]:
    """Data and unified caches of a CPU, innermost first; empty where the system does not tell."""
    found = []
    for folder in sorted((_CPU / f"cpu{cpu}/cache").glob("index*")):
        kind = _text(folder / "type").strip().lower()
        size = re.fullmatch(r"(\d+)([KMG]?)", _text(folder / "size").strip())
        if kind not in ("data", "unified") or size is None:
            continue
        number = int(size[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[size[2]]
        level, line = _text(folder / "level").strip(), _text(folder / "coherency_line_size").strip()
        found.append(CacheLevel(int(level or 0), kind, number, int(line or 64), _count(_text(folder / "shared_cpu_list"))))
    return tuple(sorted(found, key=lambda each: each.level))


def last_level_cache_bytes() -> int:
    """Bytes of the largest cache of CPU 0; 8 MiB where the system does not tell."""
    return max((each.bytes for each in caches()), default=_LEAST_CACHE)


def _count(cpus: str) -> int:
    """CPUs in a list such as `0-3,8`."""
    total = 0
    for part in filter(None, cpus.strip().split(",")):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return max(1, total)


def _hypervisor(info: str) -> str:
    flags = f" {_field(info, 'flags')} "
    if " hypervisor " not in flags:
        return ""
    vendor = _text("/sys/class/dmi/id/sys_vendor").strip() or _text("/sys/hypervisor/type").strip()
    return vendor or "unknown hypervisor"


def _field(info: str, key: str) -> str:
    match = re.search(rf"^{re.escape(key)}\s*:\s*(.*)$", info, re.MULTILINE)
    return match[1].strip() if match else ""


def _chosen(path: str) -> str:
    match = re.search(r"\[(\w+)\]", _text(path))
    return match[1] if match else "unknown"


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text()
    except (OSError, UnicodeDecodeError):
        return ""
