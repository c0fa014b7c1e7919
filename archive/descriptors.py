"""Descriptors: what a kernel is like, as opposed to how fast it is. They divide an archive into cells.

An axis reads one field of the measured profile (`vector_bits`, `working_set`, …) or one of the kernel's tunables
(`tunable.TILE_M`), and sorts its value into bins. Users choose axes in the config:

    descriptors:
      - {name: vectors, kind: categorical, field: vector_bits, values: [0, 128, 256, 512]}
      - {name: tile, kind: log2, field: tile_elements, low: 16, high: 4096, step: 2}
      - {name: unroll, kind: bins, field: tunable.UNROLL, edges: [1, 4, 16], out_of_range: drop}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from archive.axes import Axis, Bins, Categorical, DescriptorError, Log2, is_number
from archive.candidate import Cell
from archive.evaluation import EMPTY
from archive.space import Space
from archive.tunables import Value

__all__ = ["Axis", "Bins", "Categorical", "DescriptorError", "Descriptors", "Log2", "default_descriptors", "parse_descriptors"]

TUNABLE = "tunable."
REMEMBERED = 4096
"""Different values of an axis whose bins are remembered."""


class Descriptors:
    """The axes of an archive, in order."""

    def __init__(self, axes: Iterable[Axis]) -> None:
        """Raises DescriptorError when there is no axis or two share a name."""
        self.axes = tuple(axes)
        names = [a.name for a in self.axes]
        if not names or len(set(names)) != len(names):
            raise DescriptorError("descriptors", names, "one axis or more, each with a name of its own", "Name every axis once.")
        self._bins: list[dict[object, int | None]] = [{} for _ in self.axes]
        self._embedded: list[dict[object, tuple[float, ...] | None]] = [{} for _ in self.axes]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(a.name for a in self.axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Bins per axis."""
        return tuple(len(a.labels) for a in self.axes)

    @property
    def size(self) -> int:
        """How many cells there are."""
        return math.prod(self.shape)

    def cell(self, profile: Mapping[str, Value], tunables: Mapping[str, Value] = EMPTY) -> Cell | None:
        """Bin numbers of a described kernel; None when an axis drops it.

        A field `tunable.NAME` is looked up in the profile first, then as NAME in `tunables` (the kernel's values).
        """
        cell = []
        for axis, known in zip(self.axes, self._bins, strict=True):
            value = _lookup(axis.field, profile, tunables)
            key = (value.__class__, value)
            try:
                found = known[key]
            except KeyError:
                found = axis.bin(value)
                if len(known) < REMEMBERED:
                    known[key] = found
            if found is None:
                return None
            cell.append(found)
        return tuple(cell)

    def embed(self, profile: Mapping[str, Value], tunables: Mapping[str, Value] = EMPTY) -> tuple[float, ...] | None:
        """Coordinates of a described kernel in the numeric embedding of the axes; None when an axis drops it."""
        point: list[float] = []
        for axis, known in zip(self.axes, self._embedded, strict=True):
            value = _lookup(axis.field, profile, tunables)
            key = (value.__class__, value)
            try:
                part = known[key]
            except KeyError:
                part = axis.embed(value)
                if len(known) < REMEMBERED:
                    known[key] = part
            if part is None:
                return None
            point.extend(part)
        return tuple(point)

    def random_points(self, rng: np.random.Generator, n: int) -> NDArray[np.float64]:
        """(n, d) points of the embedding, every bin of an axis equally likely, and every place in it."""
        columns = []
        for axis in self.axes:
            columns.append(axis.places(rng.integers(0, len(axis.labels), n), rng.random(n)))
        return np.concatenate(columns, axis=1)

    def label(self, cell: Cell) -> dict[str, str]:
        """Bin labels of a cell by axis name."""
        return {axis.name: axis.labels[i] for axis, i in zip(self.axes, cell, strict=True)}

    def config(self) -> list[dict[str, object]]:
        """JSON-able entries that `parse_descriptors` reads back as equal descriptors."""
        return [a.config() for a in self.axes]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Descriptors) and self.axes == other.axes

    def __hash__(self) -> int:
        return hash(self.axes)

    def __repr__(self) -> str:
        return f"Descriptors({list(self.axes)})"


KINDS: dict[str, tuple[Callable[..., Axis], tuple[str, ...], tuple[str, ...]]] = {
    "categorical": (Categorical, ("values",), ()),
    "log2": (Log2, ("low", "high"), ("step",)),
    "bins": (Bins, ("edges",), ()),
}


def parse_descriptors(entries: object, where: str = "descriptors") -> Descriptors:
    """Descriptors from a config's list of mappings; strict: unknown, missing or ill-typed keys raise DescriptorError."""
    if not isinstance(entries, (list, tuple)) or not entries:
        raise DescriptorError(where, entries, "a list of axes", "Leave the key out to take the target's own descriptors.")
    return Descriptors(_parse_axis(entry, f"{where}[{i}]") for i, entry in enumerate(entries))


def _parse_axis(entry: object, where: str) -> Axis:
    if not isinstance(entry, Mapping):
        raise DescriptorError(
            where,
            entry,
            "a mapping with name, kind and field",
            "Write e.g. {name: tile, kind: log2, field: tile_elements, low: 1, high: 4096}.",
        )
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise DescriptorError(f"{where}.kind", kind, " or ".join(KINDS), "Say what kind of bins the axis has.")
    make, required, optional = KINDS[kind]
    allowed = ("name", "kind", "field", *required, *optional, "out_of_range")
    for key in entry:
        if key not in allowed:
            raise DescriptorError(f"{where}.{key}", key, f"one of {', '.join(allowed)}", f"A {kind} axis has no such key.")
    for key in ("name", *required):
        if key not in entry:
            raise DescriptorError(
                f"{where}.{key}", None, f"a value for {key}", f"Add it: a {kind} axis needs {', '.join(('name', *required))}."
            )
    arguments = {key: _typed(key, value, f"{where}.{key}") for key, value in entry.items() if key != "kind"}
    arguments.setdefault("field", arguments["name"])
    try:
        return make(**arguments)
    except DescriptorError as error:
        raise DescriptorError(f"{where} ({error.where})", error.value, error.expected, error.remedy) from None


def _typed(key: str, value: object, where: str) -> object:
    if key in ("name", "field", "out_of_range"):
        if not isinstance(value, str) or not value:
            raise DescriptorError(where, value, "a non-empty string", "Quote it if it looks like something else.")
        return value
    if key in ("values", "edges"):
        if not isinstance(value, (list, tuple)) or not all(isinstance(v, (bool, int, float, str)) for v in value):
            raise DescriptorError(where, value, "a list of numbers, strings or booleans", "Write [a, b, …].")
        return tuple(value)
    return value


def default_descriptors(target: str, space: Space | None = None) -> Descriptors:
    """The axes a search uses when its config names none.

    `cpp`: vector width, memory pattern and tile size (bins of 4 octaves): coarse enough that a few hundred evaluations fill a
    fair part. (The working set is a fact of the problem, the same for all its kernels, and divides nothing.) Any other
    target: the two tunables of `space` with the most levels (the first ones of equals), in about 8 bins when numeric with
    more than 8 levels.
    Raises DescriptorError when there is no such space.
    """
    if target == "cpp":
        return Descriptors(
            (
                Categorical("vector_bits", "vector_bits", values=(0, 128, 256, 512), out_of_range="drop"),
                Categorical(
                    "memory_pattern",
                    "memory_pattern",
                    values=("scalar", "vector", "prefetch", "streaming", "gather"),
                    out_of_range="drop",
                ),
                Log2("tile_elements", "tile_elements", low=1, high=1 << 16, step=4),
            )
        )
    if space is None or not space.names:
        raise DescriptorError(
            "descriptors", None, f"axes for target {target!r}, which has none of its own", "Add a `descriptors` list to the config."
        )
    widest = sorted(space.names, key=lambda name: -len(space.domains[space.names.index(name)]))[:2]
    return Descriptors(_tunable_axis(name, space.domains[space.names.index(name)]) for name in widest)


def _tunable_axis(name: str, domain: Iterable[Value], most: int = 8) -> Axis:
    levels = tuple(domain)
    if len(levels) <= most or not all(map(is_number, levels)):
        return Categorical(name, TUNABLE + name, out_of_range="drop", values=levels)
    ordered = sorted(float(v) for v in levels)
    edges = dict.fromkeys(ordered[round(i * (len(ordered) - 1) / most)] for i in range(most + 1))
    return Bins(name, TUNABLE + name, edges=tuple(edges))


def _lookup(field: str, profile: Mapping[str, Value], tunables: Mapping[str, Value]) -> Value | None:
    value = profile.get(field)
    if value is None and field.startswith(TUNABLE):
        value = tunables.get(field[len(TUNABLE) :])
    return value
