"""The supply of a problem's cases: each made once, when it is first asked for, and kept while memory allows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from fitness.inputs import DISTRIBUTIONS, Case, make_case
from fitness.problem import Problem, Sizes, shape_label

__all__ = ["CaseSupply", "Wanted"]

MAX_MEMORY = 4 << 30


@dataclass(frozen=True, slots=True)
class Wanted:
    """A place in a `CaseSupply`."""

    purpose: Literal["verify", "time"]
    sizes: Sizes
    distribution: str
    index: int
    key: tuple[str, str, str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (self.purpose, shape_label(self.sizes), self.distribution, self.index))


def default_memory() -> int:
    """Bytes a supply may keep: a quarter of the machine's memory, at most MAX_MEMORY."""
    return min(MAX_MEMORY, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 4)


class CaseSupply:
    """A problem's cases: each made once, when first asked for, and kept while they fit into `memory`.

    Once the memory is full, further cases are made afresh on every request and not kept. Not thread-safe.
    """

    timed_distribution = "normal"

    def __init__(self, problem: Problem, *, entropy: Callable[[int], bytes] = os.urandom, memory: int | None = None) -> None:
        """`entropy(n)` gives n secret bytes; `memory` is the bytes to keep (default_memory)."""
        self._problem = problem
        self._entropy = entropy
        self._memory = default_memory() if memory is None else memory
        self._kept: dict[tuple[str, str, str, int], Case] = {}
        self._bytes = 0

    @property
    def nbytes(self) -> int:
        """Bytes kept now."""
        return self._bytes

    @property
    def memory(self) -> int:
        """Bytes that may be kept."""
        return self._memory

    def verification(self, sizes: Sizes, distributions: Sequence[str] = DISTRIBUTIONS, draws: int = 5) -> Iterator[Case]:
        """`draws` cases of each distribution, made as they are consumed."""
        for distribution in distributions:
            for index in range(draws):
                yield self.drawn(sizes, distribution, index)

    def drawn(self, sizes: Sizes, distribution: str, index: int) -> Case:
        """One case to verify with, the `index`-th (>= 0) of its distribution; made when first asked for."""
        return self._case(Wanted("verify", sizes, distribution, index))

    def timed(self, sizes: Sizes, index: int) -> Case:
        """A case to time with; any index >= 0."""
        return self._case(self.to_time(sizes, index))

    def to_time(self, sizes: Sizes, index: int) -> Wanted:
        """The place of a timed case."""
        return Wanted("time", sizes, self.timed_distribution, index)

    def has(self, wanted: Wanted) -> bool:
        """Whether the case is there and takes no time."""
        return wanted.key in self._kept

    def adopt(self, wanted: Wanted, case: Case) -> None:
        """Takes in a case that was made elsewhere, unless there is one already or the memory is full."""
        if wanted.key not in self._kept and self._bytes + case.nbytes <= self._memory:
            self._kept[wanted.key] = case
            self._bytes += case.nbytes

    def forget(self, case: Case) -> None:
        """Frees a case that is not needed again; asked for again, it is made anew."""
        for key, kept in list(self._kept.items()):
            if kept is case:
                del self._kept[key]
                self._bytes -= case.nbytes

    def clear(self) -> None:
        """Frees all cases; whatever is asked for again is made anew."""
        self._kept.clear()
        self._bytes = 0

    def _case(self, wanted: Wanted) -> Case:
        kept = self._kept.get(wanted.key)
        if kept is not None:
            return kept
        case = make_case(self._problem, wanted.sizes, wanted.distribution, entropy=self._entropy)
        self.adopt(wanted, case)
        return case
