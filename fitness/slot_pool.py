"""The shared memory of one problem's calls, kept between candidates."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable

from fitness.problem import Problem, Sizes, shape_label
from fitness.slots import Slot

__all__ = ["SlotPool"]

SLOTS = 2
"""Of one lane and shape."""
WORKSPACE_KEPT = 16 << 20
"""Bytes of workspace up to which an idle slot keeps its own for the next kernel that wants as much."""


class SlotPool:
    """Shared memory by shape, kept and pre-faulted between candidates.

    A lane has SLOTS of a shape (one of a small shape, which is never timed) and takes them in turn, so that neither contents nor
    addresses come again in the next call.
    No call finds its arguments in a cache: `Slot.fill` and `Slot.poison` write past the caches, and what a non-temporal store
    writes, no cache holds any more. Slots are poisoned before another runner may map them, so nothing of one candidate's
    answers is left for the next.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._made: dict[str, list[Slot]] = defaultdict(list)
        self._idle: dict[str, list[Slot]] = defaultdict(list)

    def count(self, sizes: Sizes) -> int:
        """How many slots a lane has of one shape."""
        return 1 if sizes in self._problem.small_shapes else SLOTS

    def rotation(self, sizes: Sizes, workspace: int) -> list[Slot]:
        """Slots for one lane and shape, the oldest that are idle: candidates that are measured one after the other all have the same ones,
        so that whatever these are like, none has an advantage. Give them back with `release`."""
        idle = self._idle[shape_label(sizes)]
        slots = [idle.pop() if idle else self._new(sizes) for _ in range(self.count(sizes))]
        for slot in slots:
            slot.fit(workspace)
        return slots

    def refit(self, slots: list[Slot], workspace: int) -> list[Slot]:
        """The same slots for another lane, with nothing left in them."""
        for slot in slots:
            slot.poison()
            slot.late_write()  # whoever wrote late is gone
            slot.fit(workspace)
        return slots

    def deal(self, sizes: Sizes, lanes: int) -> None:
        """Has slots ready for so many lanes, in an order that nobody foresees.

        Memory is not the same everywhere: what the system gives out first is made of scattered pages, and a kernel that picks rows or
        goes down columns takes up to a third longer there (measured: the same program in six lanes). Whoever sits down first must not
        always get that.
        """
        idle = self._idle[shape_label(sizes)]
        while len(idle) < lanes * self.count(sizes):
            idle.append(self._new(sizes))
        random.SystemRandom().shuffle(idle)

    def release(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            slot.poison()
            slot.late_write()  # whoever wrote late is gone: the next lane must not be blamed for it
            if slot.workspace_bytes > WORKSPACE_KEPT:
                slot.fit(0)
            label = shape_label(slot.sizes)
            self._idle[label].append(slot)
            self._idle[label].sort(key=self._made[label].index, reverse=True)

    def _new(self, sizes: Sizes) -> Slot:
        slot = Slot(self._problem, sizes)
        self._made[shape_label(sizes)].append(slot)
        return slot

    def close(self) -> None:
        for slots in self._idle.values():
            for slot in slots:
                slot.close()
        self._idle.clear()
        self._made.clear()
