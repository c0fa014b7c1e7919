"""Independent parts of a constrained space: dimensions that no constraint ties together can be counted and drawn apart."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod

from archive.requires import Require, compile_requires
from archive.values import EmptySpaceError, Value

__all__ = ["MOST_COUNTED", "Component", "components"]

MOST_COUNTED = 2_000_000
"""Largest product of domain sizes that is enumerated for an exact size."""

PROBES = 256
ACCEPTANCE = 1 / 32
"""Rejection sampling is used outright while at least this share of random configurations is legal."""
MOST_REJECTED = 4096
"""Draws of rejection sampling before another way is taken."""
STEPS, RESTARTS = 50_000, 10
"""Partial assignments that one randomised depth-first search may visit, and how many searches are made."""

Key = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Check:
    """A compiled constraint and where its arguments stand in the component."""

    holds: Callable[..., object]
    positions: tuple[int, ...]

    def met(self, values: Sequence[Value]) -> bool:
        try:
            return bool(self.holds(*[values[position] for position in self.positions]))
        except ArithmeticError:
            return False


@dataclass(frozen=True)
class Component:
    """Dimensions tied by constraints, directly or through others. Keys are indices into its domains."""

    dimensions: tuple[int, ...]
    """Positions in the whole space, ascending."""
    domains: tuple[tuple[Value, ...], ...]
    checks: tuple[Check, ...]
    texts: tuple[str, ...]
    """The constraints as written, for messages."""

    @property
    def product(self) -> int:
        return prod(len(domain) for domain in self.domains)

    @cached_property
    def size(self) -> int | None:
        """Number of legal keys; None when the product is over `MOST_COUNTED`."""
        if not self.checks:
            return self.product
        if self.product > MOST_COUNTED:
            return None
        return sum(1 for _ in self.solutions())

    def legal(self, key: Key) -> bool:
        values = [domain[index] for domain, index in zip(self.domains, key, strict=True)]
        return all(check.met(values) for check in self.checks)

    def solutions(self) -> Iterator[Key]:
        """Every legal key in lexicographic order; a partial key that breaks a constraint is left at once."""
        orders = [range(len(domain)) for domain in self.domains]
        return self._search(orders, None)

    def sample(self, rng: random.Random) -> Key:
        """A legal key: uniform, unless legal keys are rarer than about one in 4096 of more than `MOST_COUNTED`.

        Which way is taken depends on the component alone, so a generator's state decides the result.

        Raises:
            EmptySpaceError: there is no legal key, or none was found within the step limit.
        """
        if not self.checks:
            return self._draw(rng)
        if self._often or self.product > MOST_COUNTED:
            for _ in range(MOST_REJECTED):
                key = self._draw(rng)
                if self.legal(key):
                    return key
        if self.product <= MOST_COUNTED:
            if not self._listed:
                raise EmptySpaceError(
                    "the space is empty",
                    found=self._shown,
                    expected="at least one configuration that meets every require",
                    remedy="loosen a require or extend a domain",
                )
            return self._listed[rng.randrange(len(self._listed))]
        for _ in range(RESTARTS):
            orders = [rng.sample(range(len(domain)), len(domain)) for domain in self.domains]
            for key in self._search(orders, STEPS):
                return key
        raise EmptySpaceError(
            f"no legal configuration found in {RESTARTS} searches of {STEPS} steps", found=self._shown,
            expected="constraints that a fair share of configurations meets", remedy="loosen a require, or narrow the domains",
        )  # fmt: skip

    def _draw(self, rng: random.Random) -> Key:
        return tuple(rng.randrange(len(domain)) for domain in self.domains)

    @property
    def _shown(self) -> str:
        return " and ".join(f"`require {text}`" for text in self.texts)

    @cached_property
    def _often(self) -> bool:
        rng = random.Random(0)
        return sum(self.legal(self._draw(rng)) for _ in range(PROBES)) >= PROBES * ACCEPTANCE

    @cached_property
    def _listed(self) -> list[Key]:
        return list(self.solutions())

    def _search(self, orders: Sequence[Sequence[int]], most: int | None) -> Iterator[Key]:
        """Depth-first search that tries values in the given orders and visits at most `most` partial keys."""
        depth_of = [max(check.positions) for check in self.checks]
        at_depth = [
            [check for check, last in zip(self.checks, depth_of, strict=True) if last == depth] for depth in range(len(self.domains))
        ]
        last, depth, steps = len(self.domains) - 1, 0, 0
        tried = [-1] * len(self.domains)
        values: list[Value] = [domain[0] for domain in self.domains]
        while depth >= 0:
            tried[depth] += 1
            if tried[depth] == len(orders[depth]):
                tried[depth] = -1
                depth -= 1
                continue
            steps += 1
            if most is not None and steps > most:
                return
            values[depth] = self.domains[depth][orders[depth][tried[depth]]]
            if all(check.met(values) for check in at_depth[depth]):
                if depth == last:
                    yield tuple(order[index] for order, index in zip(orders, tried, strict=True))
                else:
                    depth += 1


def components(names: Sequence[str], domains: Sequence[tuple[Value, ...]], requires: Sequence[Require]) -> tuple[Component, ...]:
    """Splits a space into its independent components: one of all unconstrained dimensions, and those that constraints tie together."""
    tied = frozenset().union(*(require.names for require in requires))
    group = [position if name in tied else -1 for position, name in enumerate(names)]
    positions = {name: position for position, name in enumerate(names)}
    for require in requires:
        members = {group[positions[name]] for name in require.names}
        group = [min(members) if label in members else label for label in group]
    return tuple(_component(label, group, names, domains, requires) for label in dict.fromkeys(group))


def _component(
    label: int, group: list[int], names: Sequence[str], domains: Sequence[tuple[Value, ...]], requires: Sequence[Require]
) -> Component:
    dimensions = tuple(position for position, other in enumerate(group) if other == label)
    inside = [names[position] for position in dimensions]
    own = [require for require in requires if require.names <= set(inside)]
    checks = []
    for require in own:
        arguments = [name for name in inside if name in require.names]
        holds = compile_requires([require], arguments)
        assert holds is not None
        checks.append(Check(holds, tuple(inside.index(name) for name in arguments)))
    return Component(dimensions, tuple(domains[position] for position in dimensions), tuple(checks), tuple(require.text for require in own))
