"""The configurations of a kernel's tunables: which are legal, how many, their neighbours, random ones.

A configuration is a mapping of every name to a value, or a key: a tuple of indices into the domains, in the order of
the names. Both say the same (`key` and `values` convert); keys are what fast code uses.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from math import prod
from typing import Literal

from archive.components import Component, components
from archive.nearby import nearby
from archive.requires import Require, compile_requires, parse_require
from archive.values import Place, TunableError, Value, kind_of, show

__all__ = ["Key", "Kind", "Space"]

Key = tuple[int, ...]
Kind = Literal["adjacent", "any"]

MOST_VISITED = 20_000
"""Configurations that `nearest` looks at before it gives up."""


class Space:
    """All configurations of some tunables that meet every constraint.

    Args:
        names: the tunables, unique.
        domains: the values of each, in the order that keys count.
        requires: constraints, parsed or as text.

    Raises:
        TunableError: lengths differ, a name or a value occurs twice, a domain is empty, or a constraint is malformed.
    """

    def __init__(self, names: Sequence[str], domains: Sequence[Sequence[Value]], requires: Sequence[Require | str] = ()) -> None:
        self.names = tuple(names)
        self.domains: tuple[tuple[Value, ...], ...] = tuple(tuple(domain) for domain in domains)
        self._indices: tuple[dict[Value, int], ...] = tuple({value: index for index, value in enumerate(domain)} for domain in self.domains)
        if len(self.names) != len(self.domains) or len(set(self.names)) != len(self.names):
            raise TunableError(
                "names and domains do not match",
                found=f"{self.names!r} with {len(self.domains)} domains",
                expected="unique names, a domain each",
            )
        for name, domain, index in zip(self.names, self.domains, self._indices, strict=True):
            if not domain or len(index) != len(domain):
                raise TunableError(f"bad domain of `{name}`", found=repr(domain), expected="at least one value, each once")
        by_name = dict(zip(self.names, self.domains, strict=True))
        self.requires: tuple[Require, ...] = tuple(
            parse_require(one, by_name, Place("<space>", 0)) if isinstance(one, str) else one for one in requires
        )
        self._check: Callable[..., object] | None = compile_requires(self.requires, self.names)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.names, self.domains, self.requires)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {len(domain)}" for name, domain in zip(self.names, self.domains, strict=True))
        return f"{type(self).__name__}({sizes}; {len(self.requires)} requires)"

    # Size and enumeration

    @cached_property
    def product(self) -> int:
        """Number of configurations, legal or not."""
        return prod(len(domain) for domain in self.domains)

    @cached_property
    def size(self) -> int | None:
        """Number of legal configurations; None when it would take too long to count (a component over 2e6 combinations)."""
        sizes = [component.size for component in self._components]
        return None if None in sizes else prod(size for size in sizes if size is not None)

    @cached_property
    def _components(self) -> tuple[Component, ...]:
        return components(self.names, self.domains, self.requires)

    def keys(self) -> Iterator[Key]:
        """Every legal key once, lazily, in an order that depends on the space alone."""
        return self._combined(self._components, [0] * len(self.names))

    def _combined(self, parts: tuple[Component, ...], key: list[int]) -> Iterator[Key]:
        # Component by component: a search over all dimensions at once would try in vain every value of the free ones.
        if not parts:
            yield tuple(key)
            return
        for chosen in parts[-1].solutions():
            for dimension, index in zip(parts[-1].dimensions, chosen, strict=True):
                key[dimension] = index
            if len(parts) == 1:
                yield tuple(key)
            else:
                yield from self._combined(parts[:-1], key)

    def __iter__(self) -> Iterator[dict[str, Value]]:
        return map(self.values, self.keys())

    # Configurations and keys

    def key(self, values: Mapping[str, Value]) -> Key:
        """The key of a configuration, legal or not.

        Raises:
            TunableError: a name is missing or unknown, or a value is not in its domain.
        """
        try:
            if len(values) == len(self.names):
                return tuple([index[values[name]] for name, index in zip(self.names, self._indices, strict=True)])
        except (KeyError, TypeError):
            pass
        raise TunableError(
            "not a configuration of this space",
            found=self._misfit(values) or repr(dict(values)),
            expected="a value of its domain for each tunable",
        )

    def values(self, key: Key) -> dict[str, Value]:
        """The configuration of a key."""
        return {name: domain[index] for name, domain, index in zip(self.names, self.domains, key, strict=True)}

    def legal_key(self, key: Key) -> bool:
        """Whether the configuration meets every constraint; the indices must be within the domains."""
        if self._check is None:
            return True
        try:
            return bool(self._check(*[domain[index] for domain, index in zip(self.domains, key, strict=True)]))
        except ArithmeticError:
            return False

    def legal(self, values: Mapping[str, Value]) -> bool:
        """Whether this is a configuration of the space that meets every constraint."""
        try:
            return self.legal_key(self.key(values))
        except TunableError:
            return False

    def why_illegal(self, values: Mapping[str, Value]) -> str | None:
        """What is wrong with a configuration, in words; None when it is legal."""
        misfit = self._misfit(values)
        if misfit is not None:
            return misfit
        for require in self.requires:
            alone = compile_requires([require], self.names)
            assert alone is not None
            try:
                met = bool(alone(*[values[name] for name in self.names]))
            except ArithmeticError:
                met = False
            if not met:
                used = ", ".join(f"{name} = {show(values[name])}" for name in self.names if name in require.names)
                return f"{used} breaks `require {require.text}`"
        return None if self.legal(values) else "not among the configurations of this space"

    def _misfit(self, values: Mapping[str, Value]) -> str | None:
        for name in values:
            if name not in self.names:
                return f"`{name}` is no tunable (there are {', '.join(self.names) or 'none'})"
        for name, domain, index in zip(self.names, self.domains, self._indices, strict=True):
            if name not in values:
                return f"no value for `{name}`"
            value = values[name]
            if value.__hash__ is None or value not in index:
                shown = ", ".join(show(one) for one in domain[:8]) + (", …" if len(domain) > 8 else "")
                return f"{name} = {value!r} is not in {{{shown}}}"
        return None

    # Moves

    def sample_key(self, rng: random.Random) -> Key:
        """A random legal key, uniform where that is affordable (see `Component.sample`).

        Raises:
            TunableError: the space is empty.
        """
        drawn = [0] * len(self.names)
        for component in self._components:
            for dimension, index in zip(component.dimensions, component.sample(rng), strict=True):
                drawn[dimension] = index
        return tuple(drawn)

    def sample(self, rng: random.Random) -> dict[str, Value]:
        """A random legal configuration; see `sample_key`."""
        return self.values(self.sample_key(rng))

    @cached_property
    def _ranks(self) -> tuple[tuple[int, ...] | None, ...]:
        """Per numeric dimension the indices in ascending order of value; None for strings and bools, which have no order."""
        return tuple(
            None if kind_of(domain[0]) in ("bool", "string") else tuple(sorted(range(len(domain)), key=domain.__getitem__))
            for domain in self.domains
        )

    @cached_property
    def _rank_of(self) -> tuple[tuple[int, ...], ...]:
        """Per dimension the rank of each index."""
        return tuple(
            tuple(range(len(domain))) if ranks is None else tuple(sorted(range(len(domain)), key=ranks.__getitem__))
            for domain, ranks in zip(self.domains, self._ranks, strict=True)
        )

    def neighbour_keys(self, key: Key, kind: Kind = "adjacent") -> list[Key]:
        """Legal keys that differ in exactly one dimension.

        `adjacent`: on a numeric dimension the next legal value below and above, on others every other value.
        `any`: every other value of every dimension.
        """
        found: list[Key] = []
        for dimension, ranks in enumerate(self._ranks):
            if kind == "any" or ranks is None:
                found.extend(other for other in _variants(key, dimension, len(self.domains[dimension])) if self.legal_key(other))
                continue
            before, after = key[:dimension], key[dimension + 1 :]
            rank = self._rank_of[dimension][key[dimension]]
            for way in (reversed(ranks[:rank]), ranks[rank + 1 :]):
                for index in way:
                    other = (*before, index, *after)
                    if self.legal_key(other):
                        found.append(other)
                        break
        return found

    def neighbours(self, values: Mapping[str, Value], kind: Kind = "adjacent") -> list[dict[str, Value]]:
        """Legal configurations that differ in one tunable; see `neighbour_keys`."""
        return [self.values(key) for key in self.neighbour_keys(self.key(values), kind)]

    def distance_keys(self, one: Key, other: Key) -> float:
        """Sum over dimensions: the difference of ranks over the largest one where there is an order, else 0 or 1."""
        total = 0.0
        for dimension, (first, second) in enumerate(zip(one, other, strict=True)):
            if first != second:
                ranks = self._rank_of[dimension]
                ordered = self._ranks[dimension] is not None
                total += abs(ranks[first] - ranks[second]) / (len(ranks) - 1) if ordered else 1.0
        return total

    def distance(self, one: Mapping[str, Value], other: Mapping[str, Value]) -> float:
        """Distance of two configurations, from 0 to the number of tunables; see `distance_keys`."""
        return self.distance_keys(self.key(one), self.key(other))

    def snap(self, values: Mapping[str, Value | float]) -> Key:
        """The key of the closest values: a number goes to the nearest of its domain, anything unknown or missing to the first."""
        key = []
        for name, domain, index, ranks in zip(self.names, self.domains, self._indices, self._ranks, strict=True):
            value = values.get(name)
            if value in index:
                key.append(index[value])
            elif ranks is not None and isinstance(value, int | float) and value == value:
                key.append(min(range(len(domain)), key=lambda i: abs(domain[i] - value)))  # type: ignore[operator]
            else:
                key.append(0)
        return tuple(key)

    def nearest_key(self, key: Key) -> Key | None:
        """The closest legal key (ties: the first in a fixed order); None when none is found among the closest 20,000."""
        # Parts of the key that already meet their own constraints stay: moving them could only lengthen the way.
        unmet = {
            dimension
            for component in self._components
            if not component.legal(tuple(key[d] for d in component.dimensions))
            for dimension in component.dimensions
        }
        if not unmet and not self.legal_key(key):
            unmet = set(range(len(key)))  # illegal for a reason that no constraint of the text tells
        moves = [
            sorted((self.distance_keys(key, other), other[dimension]) for other in _variants(key, dimension, len(domain)))
            if dimension in unmet
            else []
            for dimension, domain in enumerate(self.domains)
        ]
        return next((near for near in islice(nearby(key, moves), MOST_VISITED) if self.legal_key(near)), None)

    def nearest(self, values: Mapping[str, Value | float]) -> dict[str, Value] | None:
        """The legal configuration closest to `values`, which need be neither legal nor in the domains; None when none is near."""
        key = self.nearest_key(self.snap(values))
        return None if key is None else self.values(key)

    def restricted(self, rows: Collection[tuple[Value, ...]]) -> Space:
        """The same names and domains, but only the listed configurations (tuples in the order of `names`) that are legal here.

        Raises:
            TunableError: a row has another length, or a value outside its domain.
        """
        from archive.recorded import RecordedSpace

        return RecordedSpace(self.names, self.domains, self.requires, rows)


def _variants(key: Key, dimension: int, size: int) -> Iterator[Key]:
    """The key with every other index in one dimension."""
    return ((*key[:dimension], index, *key[dimension + 1 :]) for index in range(size) if index != key[dimension])
