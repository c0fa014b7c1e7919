"""The device memory of one problem's calls, kept between candidates."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from fitness.gpu.cases import GpuCase
from fitness.gpu.slots import GpuSlot
from fitness.problem import Problem, Sizes, shape_label

__all__ = ["SlotPool"]


class SlotPool:
    """Slots by shape, kept between candidates. All lanes of a shape share them: only one of them runs at a time, the others are stopped,
    and what one wrote is poisoned before another is let on."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._slots: dict[str, list[GpuSlot]] = defaultdict(list)

    def take(self, sizes: Sizes, count: int) -> list[GpuSlot]:
        """`count` slots of a shape."""
        import torch

        slots = self._slots[shape_label(sizes)]
        if len(slots) < count:
            torch.cuda.empty_cache()
        while len(slots) < count:
            slots.append(GpuSlot(self._problem, sizes))
        return slots[:count]

    def all(self) -> list[GpuSlot]:
        return [slot for slots in list(self._slots.values()) for slot in list(slots)]

    def seat(self, cases: Sequence[GpuCase], *, anywhere: bool) -> list[GpuSlot]:
        """A slot for each case of one shape. anywhere: a secret one; else the slot that holds it already, where there is one."""
        sizes = cases[0].sizes
        self.take(sizes, len(cases))
        slots = list(self._slots[shape_label(sizes)])
        if anywhere:
            return random.SystemRandom().sample(slots, len(cases))
        wanted = {case.number for case in cases}
        holding = {slot.holds: slot for slot in slots if slot.holds in wanted}
        free = iter([slot for slot in reversed(slots) if slot.holds not in wanted or holding[slot.holds] is not slot])
        return [holding[case.number] if case.number in holding else next(free) for case in cases]

    def deal(self, sizes: Sizes, lanes: int) -> None:
        """Nothing to deal: all lanes use the same slots."""

    def doubt(self) -> None:
        """Forgets what slots hold and makes their guards anew: something wrote, or may have written, where nobody looked."""
        for slots in self._slots.values():
            for slot in slots:
                slot.restore()

    def clear(self) -> None:
        for slots in self._slots.values():
            for slot in slots:
                slot.close()
        self._slots.clear()
