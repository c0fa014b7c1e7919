"""What a tunable operator can do for a `VisitCell` goal: set the tunables that the cell's axes read."""

from __future__ import annotations

import random
from collections.abc import Mapping

from archive.candidate import Goal, VisitCell
from archive.descriptors import TUNABLE, Descriptors
from archive.kernel import Kernel
from archive.space import Key
from operators.base import View

__all__ = ["Aim"]


class Aim:
    """Turns keys towards a cell as far as descriptors over tunables allow.

    Axes that read measured fields are out of an operator's hands and ignored, as are bins that no value of the tunable
    falls into. Without such axes, or without the goal, keys stay as they are.
    """

    def __init__(self, goal: Goal, kernel: Kernel, view: View) -> None:
        self.allowed: Mapping[int, tuple[int, ...]] = _allowed(goal, kernel, view)
        """Per dimension that an axis reads: the indices of the values that fall into the wanted bin."""

    def turn(self, key: Key, rng: random.Random) -> Key:
        """The key with every such dimension set to an allowed value (kept where it already is); legal or not."""
        if not self.allowed:
            return key
        turned = list(key)
        for dimension, indices in self.allowed.items():
            if turned[dimension] not in indices:
                turned[dimension] = rng.choice(indices)
        return tuple(turned)


def _allowed(goal: Goal, kernel: Kernel, view: View) -> dict[int, tuple[int, ...]]:
    descriptors = getattr(view.archive, "descriptors", None)
    if not isinstance(goal, VisitCell) or not isinstance(descriptors, Descriptors) or len(goal.cell) != len(descriptors.axes):
        return {}
    allowed: dict[int, tuple[int, ...]] = {}
    for axis, wanted in zip(descriptors.axes, goal.cell, strict=True):
        position = kernel.template.positions.get(axis.field.removeprefix(TUNABLE)) if axis.field.startswith(TUNABLE) else None
        if position is None:
            continue
        indices = [index for index, value in enumerate(kernel.space.domains[position]) if axis.bin(value) == wanted]
        indices = [index for index in indices if index in allowed.get(position, indices)]
        if indices:
            allowed[position] = tuple(indices)
    return allowed
