"""The kinds of axes that descriptors are made of, and how each sorts a value into bins."""

from __future__ import annotations

import bisect
import dataclasses
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from archive.tunables import Value

__all__ = ["Axis", "Bins", "Categorical", "DescriptorError", "Log2", "is_number"]

POLICIES = ("clip", "drop", "other")


class DescriptorError(ValueError):
    """A malformed descriptor: where, what was found, what was expected, what to do."""

    def __init__(self, where: str, found: object, expected: str, remedy: str) -> None:
        super().__init__(f"{where}: found {found!r}, expected {expected}. {remedy}")
        self.what, self.key, self.expected, self.remedy = "malformed descriptor", where, expected, remedy
        self.where, self.value, self.found = where, found, repr(found)


@dataclass(frozen=True, slots=True)
class Axis(ABC):
    """One dimension of an archive.

    A value outside the axis goes, by `out_of_range`, into the nearest bin (`clip`), out of the archive (`drop`), or into an
    extra last bin labelled `other`. A field that the profile lacks, or that is not a finite number where one is
    needed, has no nearest bin: it goes into the `other` bin where there is one, and out of the archive under `clip` and `drop`.
    """

    name: str
    field: str
    out_of_range: str = dataclasses.field(default="clip", kw_only=True)

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Labels of the regular bins."""

    @abstractmethod
    def regular(self, value: Value) -> int | None:
        """Bin of a value, under 0 or over the last for a number on that side of the range; None when it has no place."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of all bins."""
        return (*self.names, "other") if self.out_of_range == "other" else self.names

    def bin(self, value: Value | None) -> int | None:
        """The bin of a value (None: the field is missing); None when the candidate is to be dropped."""
        last = len(self.names) - 1
        found = None if value is None else self.regular(value)
        if found is not None and 0 <= found <= last:
            return found
        if self.out_of_range == "other":
            return last + 1
        if found is None or self.out_of_range == "drop":
            return None
        return 0 if found < 0 else last

    def embed(self, value: Value | None) -> tuple[float, ...] | None:
        """Where a value lies in the numeric embedding; None when the candidate is to be dropped."""
        found = self.bin(value)
        if found is None:
            return None
        inside = value is not None and self.regular(value) == found
        return self.place(found, self.fraction(value, found) if inside and value is not None else 0.5)

    def fraction(self, value: Value, number: int) -> float:
        """How far into bin `number` a value lies, 0…1."""
        return 0.5

    def place(self, number: int, fraction: float = 0.5) -> tuple[float, ...]:
        """Coordinates of a point in bin `number`: all bins of a numeric axis lie side by side on 0…1."""
        return ((number + fraction) / len(self.labels),)

    def places(self, numbers: NDArray[np.intp], fractions: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, coordinates) of n points: `place` of each."""
        found: NDArray[np.float64] = ((numbers + fractions) / len(self.labels))[:, None]
        return found

    @abstractmethod
    def config(self) -> dict[str, object]:
        """The entry that `parse_descriptors` reads back as this axis."""


@dataclass(frozen=True, slots=True)
class Categorical(Axis):
    """A bin per listed value; `clip` makes no sense here, so a value that is not listed goes to `other` unless it says `drop`."""

    values: tuple[Value, ...]
    out_of_range: str = dataclasses.field(default="other", kw_only=True)

    def __post_init__(self) -> None:
        if len(self.values) < 1 or len({_key(v) for v in self.values}) != len(self.values):
            raise DescriptorError(_where(self.name, "values"), list(self.values), "distinct values", "List each value once.")
        _check_policy(self, ("drop", "other"))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(str(v) for v in self.values)

    def regular(self, value: Value) -> int | None:
        key = _key(value)
        return next((i for i, v in enumerate(self.values) if _key(v) == key), None)

    def place(self, number: int, fraction: float = 0.5) -> tuple[float, ...]:
        """One-hot, scaled so that two different values are at distance 1: categories have no order."""
        return tuple(math.sqrt(0.5) if i == number else 0.0 for i in range(len(self.labels)))

    def places(self, numbers: NDArray[np.intp], fractions: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.array([self.place(number) for number in range(len(self.labels))])[numbers]
        return found

    def config(self) -> dict[str, object]:
        return {**_common(self, "categorical"), "values": list(self.values)}


@dataclass(frozen=True, slots=True)
class Log2(Axis):
    """Bins of `step` octaves: [low, low·2^step), … up to the one that holds `high`. Numbers <= 0 are below the range."""

    low: float
    high: float
    step: int = 1

    def __post_init__(self) -> None:
        if not (is_number(self.low) and is_number(self.high) and 0.0 < self.low <= self.high < math.inf):
            raise DescriptorError(
                _where(self.name, "low, high"), (self.low, self.high), "0 < low <= high", "Give the range in the field's own unit."
            )
        if not isinstance(self.step, int) or isinstance(self.step, bool) or self.step < 1:
            raise DescriptorError(
                _where(self.name, "step"), self.step, "a whole number of octaves >= 1", "Use 1 for a bin per power of two."
            )
        _check_policy(self, POLICIES)

    @property
    def count(self) -> int:
        return int(math.log2(self.high / self.low) / self.step) + 1

    @property
    def names(self) -> tuple[str, ...]:
        edges = [self.low * 2.0 ** (self.step * i) for i in range(self.count)]
        return tuple(_short(e) if self.step == 1 else f"{_short(e)}…" for e in edges)

    def regular(self, value: Value) -> int | None:
        if not is_number(value) or math.isnan(float(value)):
            return None
        number = float(value)
        if number <= 0.0:
            return -1
        return self.count if math.isinf(number) else math.floor(math.log2(number / self.low) / self.step)

    def fraction(self, value: Value, number: int) -> float:
        return math.log2(float(value) / self.low) / self.step - number

    def config(self) -> dict[str, object]:
        return {**_common(self, "log2"), "low": self.low, "high": self.high, "step": self.step}


@dataclass(frozen=True, slots=True)
class Bins(Axis):
    """Explicit bins [edges[i], edges[i+1]); the last includes its upper edge."""

    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        ordered = (
            len(self.edges) >= 2
            and all(map(is_number, self.edges))
            and all(a < b for a, b in zip(self.edges, self.edges[1:], strict=False))
        )
        if not ordered:
            raise DescriptorError(
                _where(self.name, "edges"), list(self.edges), "at least two ascending numbers", "n + 1 edges make n bins."
            )
        _check_policy(self, POLICIES)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{_short(a)}…{_short(b)}" for a, b in zip(self.edges, self.edges[1:], strict=False))

    def regular(self, value: Value) -> int | None:
        if not is_number(value) or math.isnan(float(value)):
            return None
        number = float(value)
        if number == self.edges[-1]:
            return len(self.edges) - 2
        return bisect.bisect_right(self.edges, number) - 1

    def fraction(self, value: Value, number: int) -> float:
        low, high = self.edges[number], self.edges[number + 1]
        return (float(value) - low) / (high - low)

    def config(self) -> dict[str, object]:
        return {**_common(self, "bins"), "edges": list(self.edges)}


def _key(value: Value) -> tuple[str, Value]:
    """True is not 1 here, but 256.0 is 256: YAML and profiles differ in how they write whole numbers."""
    return ("bool" if isinstance(value, bool) else "str" if isinstance(value, str) else "number"), value


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _short(number: float) -> str:
    for unit, size in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if abs(number) >= size and number % size == 0:
            return f"{int(number // size)}{unit}"
    return f"{number:g}"


def _where(name: str, key: str) -> str:
    return f"axis {name!r}, {key}"


def _check_policy(axis: Axis, allowed: tuple[str, ...]) -> None:
    if axis.out_of_range not in allowed:
        raise DescriptorError(
            _where(axis.name, "out_of_range"), axis.out_of_range, " or ".join(allowed), "Say where values outside the axis go."
        )


def _common(axis: Axis, kind: str) -> dict[str, object]:
    return {"name": axis.name, "kind": kind, "field": axis.field, "out_of_range": axis.out_of_range}
