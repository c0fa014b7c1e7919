"""Ceilings of a GPU, measured: memory bandwidth and arithmetic rates that kernels are held against; and the canary."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from typing import Any

from fitness.canary import Reading

__all__ = ["GpuCanary", "GpuCeilings", "gather_rate", "measure_ceilings", "minimum_seconds"]

BYTES = 2 << 30
SIDE = 8192
REPEATS = 10
PICKS = 4 << 20
"""Rows that the measured gather picks."""
PICKERS = ((8, 1), (16, 2), (32, 4), (64, 4))
"""(rows a program, its warps) of which the fastest counts."""


@dataclass(frozen=True, slots=True)
class GpuCeilings:
    """Bytes/s (reads and writes counted) and FLOP/s (a multiply-add counts two) by compute precision."""

    read: float
    copy: float
    write: float
    bfloat16: float
    float16: float
    tf32: float
    float32: float
    float64: float

    @property
    def bandwidth(self) -> float:
        return max(self.read, self.copy, self.write)

    def moving(self, read: int, written: int) -> float:
        """Seconds to read and write so many bytes: as much as there is of both at the rate of a copy, the rest at its own."""
        both = min(read, written)
        return 2 * both / self.copy + (read - both) / max(self.read, self.copy) + (written - both) / max(self.write, self.copy)

    def rate(self, dtype: str) -> float:
        """The fastest arithmetic that a kernel allowed to compute in `dtype` may use."""
        return float(getattr(self, dtype))

    def larger(self, other: GpuCeilings) -> GpuCeilings:
        """Value by value: a disturbed measurement only ever looks lower."""
        mine, theirs = asdict(self), asdict(other)
        return GpuCeilings(**{f.name: max(mine[f.name], theirs[f.name]) for f in fields(self)})


def minimum_seconds(ceilings: GpuCeilings, bytes_moved: int, flops: int, dtype: str) -> float:
    return max(bytes_moved / ceilings.bandwidth, flops / ceilings.rate(dtype))


def _fastest(work: Callable[[], Any]) -> float:
    """Seconds of the fastest of a few runs, by device events (our own work: nobody else's word is involved)."""
    import torch

    work()
    best = float("inf")
    for _ in range(REPEATS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work()
        end.record()
        end.synchronize()
        best = min(best, float(start.elapsed_time(end)) / 1e3)
    return best


def measure_ceilings() -> GpuCeilings:
    """About half a second."""
    import torch

    source = torch.randint(0, 1 << 30, (BYTES // 4,), device="cuda", dtype=torch.int32)
    destination = torch.empty_like(source)
    floats = source.view(torch.float32)
    copy = 2 * BYTES / _fastest(lambda: destination.copy_(source))
    write = BYTES / _fastest(lambda: destination.fill_(7))
    read = BYTES / _fastest(lambda: torch.sum(floats))
    rates = {}
    precise = torch.backends.cuda.matmul.allow_tf32
    try:
        for name, dtype, side, tf32 in (
            ("bfloat16", torch.bfloat16, SIDE, False),
            ("float16", torch.float16, SIDE, False),
            ("tf32", torch.float32, SIDE, True),
            ("float32", torch.float32, SIDE // 2, False),
            ("float64", torch.float64, SIDE // 2, False),
        ):
            torch.backends.cuda.matmul.allow_tf32 = tf32
            left, right = (torch.randn((side, side), device="cuda", dtype=torch.float32).to(dtype) for _ in range(2))
            out = torch.empty_like(left)
            rates[name] = 2 * side**3 / _fastest(lambda left=left, right=right, out=out: torch.matmul(left, right, out=out))  # type: ignore[misc]
    finally:
        torch.backends.cuda.matmul.allow_tf32 = precise
    return GpuCeilings(read=read, copy=copy, write=write, **rates)


@functools.cache
def gather_rate(row_bytes: int, rows: int) -> float:
    """Bytes/s (rows and 8 bytes of index each) at which rows of this width can be picked at random from a table of `rows` of them."""
    import torch

    from fitness.gpu import kernels

    width = max(1, row_bytes // 4)
    table = torch.randint(0, 1 << 30, (rows, width), device="cuda", dtype=torch.int32)
    indices = torch.randint(0, rows, (PICKS,), device="cuda")
    out = torch.empty(PICKS, device="cuda", dtype=torch.int32)
    wide = 1 << (width - 1).bit_length()

    def picked(share: int, warps: int) -> float:
        return _fastest(lambda: kernels.pick[(PICKS // share,)](table, indices, out, PICKS, width, ROWS=share, WIDE=wide, num_warps=warps))

    return PICKS * (4 * width + 8) / min(picked(share, warps) for share, warps in PICKERS)


class GpuCanary:
    """A fixed copy and a fixed matrix product: did the device move meanwhile?"""

    def __init__(self) -> None:
        import torch

        self._source = torch.zeros(256 << 20, device="cuda", dtype=torch.uint8)
        self._destination = torch.empty_like(self._source)
        self._left = torch.randn((2048, 2048), device="cuda").to(torch.bfloat16)
        self._out = torch.empty_like(self._left)

    def read(self) -> Reading:
        import torch

        copy = _fastest(lambda: self._destination.copy_(self._source))
        product = _fastest(lambda: [torch.matmul(self._left, self._left, out=self._out) for _ in range(8)])
        return Reading(copy, product)
