"""A fixed copy and a fixed matrix product, timed before and after a measurement: did the machine move meanwhile?

EVALUATION.md, cascade stage 8. The canary says nothing about a kernel; it says whether the core ran at the same speed at
both ends of the sitting.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from fitness.possession import pinned, undisturbed

__all__ = ["Canary", "Reading"]

COPY_BYTES = 1 << 16
"""Source and destination fit a core's own cache with much room to spare: what a neighbour does to a shared cache is in every pair of
times alike, and a second thread of the core, which may be another machine's, halves its own one. With 1 << 18, 42 % of all pairs of
readings on an idle virtual machine differed by over 3 %; with 1 << 16 as many as of the product, 10 %."""
COPIES = 32
PRODUCT = 64
"""Small enough that no BLAS gives it to several threads."""
PRODUCTS = 8
READS = 9
SLOWER = 0.015
"""Relative slowness beside the last reading from which a reading is taken again: half of what counts as drift."""
AGAIN = 3
"""How often. A passing moment of somebody else's is over by then; a core that runs slower from now on still does."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds of the fastest of a few tries."""

    copy: float
    product: float

    def drift(self, later: Reading) -> float:
        """The larger relative change of the two figures between this reading and a later one, as a fraction."""
        return max(abs(later.copy / self.copy - 1), abs(later.product / self.product - 1))

    def slower_than(self, other: Reading) -> bool:
        return max(self.copy / other.copy, self.product / other.product) > 1 + SLOWER

    def fastest(self, other: Reading) -> Reading:
        """The faster one of each figure."""
        return Reading(min(self.copy, other.copy), min(self.product, other.product))


class Canary:
    """Lives on the measuring core. Holds its arrays, so that a reading touches no allocator."""

    def __init__(self, core: int) -> None:
        self._core = core
        words = COPY_BYTES // 8
        self._source = np.arange(words, dtype=np.float64)
        self._destination = np.zeros(words)
        self._left = np.full((PRODUCT, PRODUCT), 0.5)
        self._product = np.zeros((PRODUCT, PRODUCT))
        self._last: Reading | None = None

    def read(self) -> Reading:
        """About 1 ms; up to four when the core seems to have become slower since the last reading."""
        reading = self.look()
        for _ in range(AGAIN):
            if self._last is None or not reading.slower_than(self._last):
                break
            reading = reading.fastest(self.look())
        self._last = reading
        return reading

    def look(self) -> Reading:
        """One reading as it comes."""
        copies, products = [], []
        with pinned(self._core), undisturbed():
            for _ in range(READS):
                start = time.perf_counter()
                for _ in range(COPIES):
                    np.copyto(self._destination, self._source)
                copied = time.perf_counter()
                for _ in range(PRODUCTS):
                    np.matmul(self._left, self._left, out=self._product)
                products.append(time.perf_counter() - copied)
                copies.append(copied - start)
        return Reading(min(copies), min(products))
