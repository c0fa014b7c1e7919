"""Operators that keep a kernel's text and set its tunables; the simple ones: seed, sample, set_values.

All share one course. The operator's own moves come first, in its own order. When they were all proposed before, it
changes more tunables at random, then draws from the whole space, then takes the first configuration that nobody proposed.
Only a space that was wholly explored ends in `exhausted`.

Goals: `SetValues` overrides the operator's choice: the draft is the first parent with exactly these values, proposed
before or not. `VisitCell` is honoured as far as the cell's axes read tunables (`operators.aim`).

Reasons for no kernel: `exhausted`, `no_parent_tunables`, `no_shared_tunables`, `illegal_values`, `malformed_tunables`,
`no_legal_configuration`.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

from archive.candidate import Draft, Proposal, SetValues, VisitCell
from archive.kernel import Kernel
from archive.space import Key, Space
from archive.values import EmptySpaceError, TunableError, Value
from operators.aim import Aim
from operators.base import Context, Operator, OperatorError
from operators.unseen import Unseen

__all__ = ["Sample", "Seed", "SetTo", "TunableOperator", "scatter"]

DRAWS = 8
"""Random configurations of the whole space that are tried before the walk over it."""


class TunableOperator(Operator):
    """An operator that sets tunables of its first parent; subclasses say which moves they would make.

    Args:
        retries: moves tried at random, and as many wider ones when they were all proposed before.
    """

    goals = (SetValues, VisitCell)

    def __init__(self, *, retries: int = 12) -> None:
        if retries < 1:
            raise OperatorError(f"operators.{self.name}.retries: found {retries}, expected at least 1")
        self.retries = retries
        self._unseen = Unseen()

    @abstractmethod
    def moves(self, parents: tuple[Kernel, ...], space: Space, rng: random.Random) -> Iterator[Key]:
        """Keys of `space`, best first, legal or not; finitely many."""

    def impossible(self, parents: tuple[Kernel, ...]) -> str:
        """A reason why these parents cannot be worked with, or nothing."""
        return "" if parents[0].template.tunables else "no_parent_tunables"  # not its own: their places in the text cost time

    def propose(self, proposal: Proposal, context: Context) -> Draft:
        parents = self.take(proposal, context)
        try:
            if isinstance(proposal.goal, SetValues):
                return with_exactly(parents[0], proposal.goal.values, context)
            reason = self.impossible(parents)
            if reason:
                return Draft(None, reason)
            return self._unseen_move(parents, proposal, context)
        except EmptySpaceError as error:
            return Draft(None, "no_legal_configuration", {"message": str(error)})
        except TunableError as error:
            return Draft(None, "malformed_tunables", {"message": str(error)})

    def _unseen_move(self, parents: tuple[Kernel, ...], proposal: Proposal, context: Context) -> Draft:
        base, view = parents[0], context.view
        if self._unseen.explored(base, view):
            return Draft(None, "exhausted")
        space = context.space(base)
        aim = Aim(proposal.goal, base, view)
        for widened, keys in (("", self.moves(parents, space, context.rng)), ("further", self._further(base.key, space, context.rng))):
            for key in keys:
                child = _unseen(base, aim.turn(key, context.rng), space, context)
                if child is not None:
                    return _draft(base, child, widened)
        for _ in range(DRAWS):
            child = _unseen(base, space.sample_key(context.rng), space, context)
            if child is not None:
                return _draft(base, child, "anywhere")
        child = self._unseen.first(base, space, view)
        return Draft(None, "exhausted") if child is None else _draft(base, child, "first_unseen")

    def _further(self, key: Key, space: Space, rng: random.Random) -> Iterator[Key]:
        """Keys that differ from `key` in two tunables, then in more and more."""
        for attempt in range(self.retries):
            yield scatter(key, 2 + attempt * len(key) // (2 * self.retries), space, rng)


def scatter(key: Key, count: int, space: Space, rng: random.Random) -> Key:
    """`count` dimensions (as many as have a choice) set to a random other value; legal or not."""
    free = [dimension for dimension, domain in enumerate(space.domains) if len(domain) > 1]
    changed = list(key)
    for dimension in rng.sample(free, min(count, len(free))):
        drawn = rng.randrange(len(space.domains[dimension]) - 1)
        changed[dimension] = drawn + (drawn >= key[dimension])
    return tuple(changed)


def with_exactly(base: Kernel, values: Mapping[str, Value], context: Context) -> Draft:
    """The kernel with these values and its other tunables as they are, seen before or not."""
    space = context.space(base)
    wanted = {**base.values, **values}
    if not space.legal(wanted):
        return Draft(None, "illegal_values", {"message": space.why_illegal(wanted) or "illegal"})
    return _draft(base, base.with_values(values), "")


def _unseen(base: Kernel, key: Key, space: Space, context: Context) -> Kernel | None:
    if not space.legal_key(key):
        return None
    child = base.with_key(key)
    return None if context.view.seen(child.id) else child


def _draft(base: Kernel, child: Kernel, widened: str) -> Draft:
    old = base.values
    changed = {name: [old[name], value] for name, value in child.values.items() if old[name] != value}
    return Draft(child, notes={"changed": changed, "widened": widened} if widened else {"changed": changed})


class Sample(TunableOperator):
    """A fresh random legal configuration of its parent, or of a random seed when it is given none."""

    name = "sample"
    parents: ClassVar[int] = 0

    def take(self, proposal: Proposal, context: Context) -> tuple[Kernel, ...]:
        return super().take(proposal, context) or (context.rng.choice(_seeds(proposal, context)),)

    def moves(self, parents: tuple[Kernel, ...], space: Space, rng: random.Random) -> Iterator[Key]:
        for _ in range(self.retries):
            yield space.sample_key(rng)


class SetTo(Operator):
    """Exactly the values of its `SetValues` goal; tunables that the goal leaves out stay as the parent has them.

    Args:
        repair: go to the nearest legal configuration instead of refusing an illegal one.
    """

    name = "set_values"
    parents: ClassVar[int] = 0
    goals = (SetValues,)

    def __init__(self, *, repair: bool = False) -> None:
        self.repair = repair

    def propose(self, proposal: Proposal, context: Context) -> Draft:
        if not isinstance(proposal.goal, SetValues):
            raise OperatorError(f"proposal {proposal.number}: `{self.name}` found goal {proposal.goal!r}, expected SetValues")
        parents = self.take(proposal, context)
        base = parents[0] if parents else _seeds(proposal, context)[0]
        try:
            draft = with_exactly(base, proposal.goal.values, context)
            if draft.kernel is not None or not self.repair:
                return draft
            nearest = context.space(base).nearest({**base.values, **proposal.goal.values})
            return draft if nearest is None else _draft(base, base.with_values(nearest), "repaired")
        except TunableError as error:
            return Draft(None, "malformed_tunables", {"message": str(error)})


class Seed(Operator):
    """The first of the problem's plain kernels that was not proposed yet; with a `SetValues` goal, the first one with these values."""

    name = "seed"
    parents: ClassVar[int] = 0
    goals = (SetValues,)
    weight: ClassVar[float] = 0.0

    def propose(self, proposal: Proposal, context: Context) -> Draft:
        seeds = _seeds(proposal, context)
        if isinstance(proposal.goal, SetValues):
            return SetTo().propose(proposal, context)
        for number, kernel in enumerate(seeds):
            if not context.view.seen(kernel.id):
                return Draft(kernel, notes={"seed": number})
        return Draft(None, "exhausted")


def _seeds(proposal: Proposal, context: Context) -> tuple[Kernel, ...]:
    kernels = tuple(context.seeds) or tuple(candidate.kernel for candidate in context.view.seeds if candidate.kernel is not None)
    if not kernels:
        raise OperatorError(f"proposal {proposal.number}: found no seed, expected at least one kernel to start from")
    return kernels
