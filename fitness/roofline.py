"""Ceilings of this machine, measured: what no kernel can beat, so that a share says how good one is and over 1 is a mistake.

Bandwidth depends on the footprint (a working set that fits a cache is not bound by memory), so it is a curve. It is measured hot,
by passes over one footprint again and again: the fastest that data of that size can be had, hence an upper bound for a
kernel whose data may be colder. See Williams, Waterman, Patterson, "Roofline", CACM 52 (2009).
"""

from __future__ import annotations

import fcntl
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from fitness.cache import Cache, content_key
from fitness.device import cpu_device

if TYPE_CHECKING:
    from fitness.targets.toolchain import Toolchain

__all__ = ["Ceilings", "Level", "RooflineError", "ceilings", "known_ceilings", "minimum_seconds"]

KIND = "ceilings"
VERSION = "3"
"""Raised when the same machine would be measured differently."""
DOUBLE = frozenset({"float64", "int64", "complex128"})


class RooflineError(Exception):
    """The ceilings could not be measured, or are implausible; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Level:
    """Bandwidths (bytes/s, reads and writes counted) over one footprint."""

    footprint: int
    """Bytes passed over again and again (for copies, source and destination together)."""
    read: float
    copy: float
    nt_copy: float
    """Copy with non-temporal stores."""

    @property
    def best(self) -> float:
        return max(self.read, self.copy, self.nt_copy)


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Measured upper bounds of the cores that kernels are measured on."""

    levels: tuple[Level, ...]
    """By footprint, ascending; the last is far beyond every cache."""
    gathers: tuple[tuple[int, float], ...]
    """(bytes of a row, bytes/s of random rows of that size from a table beyond every cache)."""
    fma_f32: float
    """FLOP/s; a fused multiply-add counts two."""
    fma_f64: float
    frequency: float
    """Hz while it was measured."""
    cores: tuple[int, ...]

    @property
    def read(self) -> float:
        """From memory, bytes/s."""
        return self.levels[-1].read

    @property
    def copy(self) -> float:
        """From and to memory, bytes/s, both counted."""
        return self.levels[-1].copy

    @property
    def nt_copy(self) -> float:
        return self.levels[-1].nt_copy

    def bandwidth(self, footprint: int | None = None) -> float:
        """Bytes/s: the largest of read, copy and non-temporal copy at this footprint, interpolated in its logarithm.

        None, or more than the largest measured footprint, is memory; less than the smallest is the smallest.
        """
        if footprint is None:
            return self.levels[-1].best
        return _interpolate([(level.footprint, level.best) for level in self.levels], footprint)

    def gather(self, row_bytes: int) -> float:
        """Bytes/s of randomly picked rows of this many bytes."""
        return _interpolate(self.gathers, row_bytes)

    def rate(self, dtype: str = "float32") -> float:
        """FLOP/s of multiply-adds in this precision (lower ones count as float32: a CPU converts them)."""
        return self.fma_f64 if dtype in DOUBLE else self.fma_f32


def minimum_seconds(
    ceilings: Ceilings, bytes_moved: int, flops: int, footprint: int | None = None, dtype: str = "float32"
) -> float:
    """The least time in which so much can be moved and computed; positive for anything that moves or computes at all."""
    return max(bytes_moved / ceilings.bandwidth(footprint), flops / ceilings.rate(dtype))


def ceilings(cache: Cache, core: int, toolchain: Toolchain, *, threads: int = 1, refresh: bool = False) -> Ceilings:
    """Of this core (and `threads` - 1 more), from the cache or measured now (about three seconds).

    refresh: measure again and keep the larger of old and new, for when a share over 1 shows that a busy neighbour had
    disturbed the first measurement. Raises `RooflineError`, `fitness.cache.CacheError`.
    """
    from fitness.ceiling_kernels import measure, measuring_cores

    cores = measuring_cores(core, threads)
    known = _load(cache, cores, toolchain)
    if known is not None and not refresh:
        return known
    cache.root.mkdir(parents=True, exist_ok=True)  # anybody may have emptied the cache meanwhile
    with (cache.root / "ceilings.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two at once would disturb each other
        known = _load(cache, cores, toolchain)
        if known is not None and not refresh:
            return known
        found = plausible(measure(cache, toolchain, cores), toolchain.vector_bits, len(cores))
        if known is not None:
            found = _larger(known, found)
        cache.replace(KIND, _key(cores, toolchain), {"ceilings.json": json.dumps(asdict(found)).encode()})
        return found


def known_ceilings(cache: Cache, core: int, toolchain: Toolchain, *, threads: int = 1) -> Ceilings | None:
    """What `ceilings` would take from the cache; None where it would have to measure."""
    from fitness.ceiling_kernels import measuring_cores

    return _load(cache, measuring_cores(core, threads), toolchain)


def plausible(found: Ceilings, vector_bits: int, threads: int = 1) -> Ceilings:
    """The same ceilings. Raises `RooflineError` when they cannot be true of any machine."""
    lanes = vector_bits // 32
    per_cycle = found.fma_f32 / found.frequency / threads
    if not 0.5 <= per_cycle / lanes <= 4.4:  # a quarter of one unit … two units, and a clock that moved by a tenth
        raise RooflineError(
            f"ceilings: found {per_cycle:.1f} float32 operations per cycle with {lanes} lanes, expected {lanes} to {4 * lanes}. "
            "The machine was too busy, or its clock changed meanwhile: try again."
        )
    if not 0.3 <= found.fma_f64 / found.fma_f32 <= 1.1:
        share = found.fma_f64 / found.fma_f32
        raise RooflineError(f"ceilings: found a float64 rate of {share:.2f} of float32, expected about 0.5: try again.")
    for level in found.levels:
        if not 1e8 <= level.best <= threads * vector_bits / 8 * 4 * found.frequency:
            raise RooflineError(f"ceilings: found {level.best:.3g} bytes/s over {level.footprint} bytes, which no core can do: try again.")
    return found


def _larger(one: Ceilings, other: Ceilings) -> Ceilings:
    """Value by value the larger: noise only ever makes a ceiling look lower."""
    levels = tuple(
        Level(a.footprint, max(a.read, b.read), max(a.copy, b.copy), max(a.nt_copy, b.nt_copy))
        for a, b in zip(one.levels, other.levels, strict=True)
    )
    gathers = tuple((a[0], max(a[1], b[1])) for a, b in zip(one.gathers, other.gathers, strict=True))
    rates = max(one.fma_f32, other.fma_f32), max(one.fma_f64, other.fma_f64), max(one.frequency, other.frequency)
    return Ceilings(levels, gathers, *rates, one.cores)


def _interpolate(points: Sequence[tuple[int, float]], at: float) -> float:
    """Linear in the logarithm of the first coordinate; constant beyond the ends."""
    if at <= points[0][0]:
        return points[0][1]
    for (low, value), (high, following) in pairwise(points):
        if at <= high:
            share = (math.log(at) - math.log(low)) / (math.log(high) - math.log(low))
            return value + share * (following - value)
    return points[-1][1]


def _key(cores: tuple[int, ...], toolchain: Toolchain) -> str:
    device = cpu_device()
    facts = (device.name, device.caches, device.memory, device.governor, device.hypervisor, device.huge_pages, device.shared_huge_pages)
    return content_key(VERSION, platform.node(), toolchain.identity, repr(cores), repr(facts))


def _load(cache: Cache, cores: tuple[int, ...], toolchain: Toolchain) -> Ceilings | None:
    entry = cache.get(KIND, _key(cores, toolchain))
    if entry is None:
        return None
    facts = json.loads(entry.read("ceilings.json"))
    levels = tuple(Level(**level) for level in facts.pop("levels"))
    gathers = tuple((int(row), float(speed)) for row, speed in facts.pop("gathers"))
    return Ceilings(levels, gathers, cores=tuple(facts.pop("cores")), **facts)
