"""Which part of a tuning space is recorded, and how: a plan, and the configurations that it names."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from archive.space import Key, Space
from archive.values import Value
from evo.errors import UserError

__all__ = ["Plan", "chosen"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Which configurations of which problem are recorded, and how: the same plan continues the same recording."""

    problem: str
    target: str
    problem_version: str = ""
    shapes: tuple[str, ...] = ()
    """Labels of the shapes that are timed."""
    only: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)
    """Tunables that are held to some of their values."""
    sample: int | None = None
    """How many configurations are drawn at random from that part; None takes every one."""
    seed: int = 0
    """Of the sample, and of the order in which configurations are measured."""
    repetitions: int = 16
    precision: float = 0.02
    threads: int = 1

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:20]


def chosen(space: Space, plan: Plan, first: Key | None = None) -> list[Key]:
    """Keys of the configurations that the plan names, in the space's own order.

    Args:
        first: the seed's; where the part has it, a sample has it too, and the others are drawn uniformly.

    Raises:
        UserError: a name or a value that the space does not have, or a part that is empty.
    """
    allowed: list[frozenset[int]] = []
    for name, domain in zip(space.names, space.domains, strict=True):
        wanted = plan.only.get(name)
        positions = {value: index for index, value in enumerate(domain)}
        for value in wanted or ():
            if value not in positions:
                raise UserError(
                    f"The tunable `{name}` has no such value.",
                    key=f"--only {name}",
                    found=repr(value),
                    expected=", ".join(map(repr, domain)),
                )
        allowed.append(frozenset(positions.values() if wanted is None else (positions[value] for value in wanted)))
    for name in plan.only.keys() - set(space.names):
        raise UserError("There is no such tunable.", key="--only", found=name, expected=", ".join(space.names))
    part = Space(space.names, [[d[i] for i in sorted(a)] for d, a in zip(space.domains, allowed, strict=True)], space.requires)
    keys = [space.key(values) for values in part]
    if not keys:
        raise UserError("No configuration is left to record.", key="--only", found=repr(dict(plan.only)), expected="a part with members")
    if plan.sample is not None and plan.sample < len(keys):
        sure = [key for key in keys if key == first]
        others = [key for key in keys if key != first]
        picked = {*sure, *random.Random(plan.seed).sample(others, plan.sample - len(sure))}
        keys = [key for key in keys if key in picked]
    return keys
