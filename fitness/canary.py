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

COPY_BYTES = 1 << 18
"""Source and destination fit a core's own cache: what a neighbour does to a shared one is in every pair of times alike."""
COPIES = 8
PRODUCT = 64
"""Small enough that no BLAS gives it to several threads."""
PRODUCTS = 8
READS = 9


@dataclass(frozen=True, slots=True)
class Reading:
    """Seconds of the fastest of a few tries."""

    copy: float
    product: float

    def drift(self, later: Reading) -> float:
        """The larger relative change of the two figures between this reading and a later one, as a fraction."""
        return max(abs(later.copy / self.copy - 1), abs(later.product / self.product - 1))


class Canary:
    """Lives on the measuring core. Holds its arrays, so that a reading touches no allocator."""

    def __init__(self, core: int) -> None:
        self._core = core
        words = COPY_BYTES // 8
        self._source = np.arange(words, dtype=np.float64)
        self._destination = np.zeros(words)
        self._left = np.full((PRODUCT, PRODUCT), 0.5)
        self._product = np.zeros((PRODUCT, PRODUCT))

    def read(self) -> Reading:
        """About 1 ms."""
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
