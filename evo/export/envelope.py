"""The sizes that kernels were verified for, as a rule: between the extents that were seen, in a footprint that was seen.

Verification on awkward small shapes and certification on held-out ones are evidence for what lies between, and none for
what lies beyond: there the dispatcher falls back.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from fitness.problem import Problem, Sizes

__all__ = ["Envelope", "envelope_of"]


@dataclass(frozen=True, slots=True)
class Envelope:
    low: Mapping[str, int]
    high: Mapping[str, int]
    footprint: int
    """Bytes of all arguments together, at most."""

    def covers(self, problem: Problem, sizes: Sizes) -> bool:
        within = all(self.low[name] <= sizes[name] <= self.high[name] for name in problem.sizes)
        return within and problem.footprint(sizes) <= self.footprint

    def rule(self) -> str:
        """For the reader."""
        ranges = (
            f"{name} = {low}" if low == self.high[name] else f"{low} <= {name} <= {self.high[name]}" for name, low in self.low.items()
        )
        return f"{', '.join(ranges)}, and at most {self.footprint} bytes of arguments"


def envelope_of(problem: Problem) -> Envelope:
    """Over every shape of the problem: small and full ones are verified in a search, held-out ones in a certification."""
    seen = list(itertools.chain(problem.small_shapes, problem.shapes, problem.held_out_shapes))
    low = {name: min(sizes[name] for sizes in seen) for name in problem.sizes}
    high = {name: max(sizes[name] for sizes in seen) for name in problem.sizes}
    return Envelope(low, high, max(problem.footprint(sizes) for sizes in seen))
