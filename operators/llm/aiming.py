"""Directed mutation: a neighbouring cell that is empty or weak becomes the goal, in words."""

from __future__ import annotations

import random
import statistics

from archive.axes import Axis
from archive.candidate import Candidate, Cell, VisitCell
from archive.descriptors import Descriptors
from operators.base import View

__all__ = ["choose_cell", "goal_in_words"]

WORDS = {
    (
        "memory_pattern",
        "streaming",
    ): "write the outputs with non-temporal (streaming) stores, so that they are not read before they are overwritten",
    ("memory_pattern", "prefetch"): "prefetch the data of later iterations explicitly",
    ("memory_pattern", "vector"): "use plain vector loads and stores, without prefetching and without streaming stores",
    ("memory_pattern", "gather"): "use vector gathers where addresses are scattered",
    ("memory_pattern", "scalar"): "use scalar loads and stores only",
    ("vector_bits", "512"): "use 512-bit vectors (AVX-512)",
    ("vector_bits", "256"): "use 256-bit vectors (AVX2)",
    ("vector_bits", "128"): "use 128-bit vectors (SSE)",
    ("vector_bits", "0"): "use scalar arithmetic with as much instruction-level parallelism as possible",
}
"""What a bin asks for, by profile field and label."""


def choose_cell(parent: Candidate, view: View, rng: random.Random) -> VisitCell | None:
    """A cell that differs from the parent's in one axis: an empty one if there is any, else one of the weaker half; None without cells."""
    descriptors = getattr(view.archive, "descriptors", None)
    if not isinstance(descriptors, Descriptors) or parent.cell is None or len(parent.cell) != len(descriptors.axes):
        return None
    near = [cell for cell in _neighbours(parent.cell, descriptors) if "other" not in descriptors.label(cell).values()]
    empty = [cell for cell in near if view.archive.elite(cell) is None]
    if empty:
        return VisitCell(rng.choice(empty))
    held = {cell: elite.objective for cell in near if (elite := view.archive.elite(cell)) is not None}
    if not held:
        return None
    middle = statistics.median(held.values())
    return VisitCell(rng.choice([cell for cell, objective in held.items() if objective <= middle]))


def _neighbours(cell: Cell, descriptors: Descriptors) -> list[Cell]:
    """Ordered axes have two neighbouring bins, categories all others."""
    found = []
    for position, axis in enumerate(descriptors.axes):
        here, last = cell[position], len(axis.labels) - 1
        bins = [b for b in (here - 1, here + 1) if 0 <= b <= last] if _ordered(axis) else [b for b in range(last + 1) if b != here]
        found += [(*cell[:position], b, *cell[position + 1 :]) for b in bins]
    return found


def _ordered(axis: Axis) -> bool:
    return type(axis).__name__ != "Categorical"


def goal_in_words(cell: Cell, parent: Candidate, view: View) -> str:
    """What reaching `cell` asks of a kernel, said as an instruction; empty when the cell is the parent's own."""
    descriptors = getattr(view.archive, "descriptors", None)
    if not isinstance(descriptors, Descriptors) or len(cell) != len(descriptors.axes):
        return ""
    here = parent.cell if parent.cell is not None and len(parent.cell) == len(cell) else None
    wishes = []
    for position, axis in enumerate(descriptors.axes):
        if here is not None and here[position] == cell[position]:
            continue
        wishes.append(_wish(axis, None if here is None else here[position], cell[position]))
    if not wishes:
        return ""
    elite = view.archive.elite(cell)
    state = (
        "Nobody has found a kernel of that kind yet."
        if elite is None
        else f"The best of that kind so far reaches {elite.speedup:.3g}x only."
    )
    wish = "; and ".join(wishes)
    return f"{wish[0].upper()}{wish[1:]}. {state} Make it as fast as you can under that condition."


def _wish(axis: Axis, here: int | None, wanted: int) -> str:
    label = axis.labels[wanted]
    known = WORDS.get((axis.field, label))
    if known is not None:
        return known
    name = axis.field.removeprefix("tunable.")
    kind = "the tunable" if axis.field.startswith("tunable.") else "the property"
    if here is None or not _ordered(axis):
        return f"{kind} `{name}` ({axis.name}) should be {label}"
    direction = "larger" if wanted > here else "smaller"
    return f"make {kind} `{name}` ({axis.name}) {direction}: {label} instead of {axis.labels[here]}"
