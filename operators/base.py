"""What an operator is: it makes a kernel of a proposal, or says why it cannot.

An operator is made once per run (`operator`) and asked from one thread. What it drafts depends on the proposal, on what the
view shows and on `context.rng` alone; it reads no clock and no other random generator.

Third parties add operators through the entry-point group `evo.operators`: a name, and an `Operator` subclass.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Protocol

from archive.base import Archive
from archive.candidate import Candidate, Draft, Goal, Proposal
from archive.kernel import Kernel
from archive.space import Space

if TYPE_CHECKING:
    from operators.llm.studio import Studio

__all__ = ["ENTRY_POINTS", "Context", "Operator", "OperatorError", "View", "names", "operator", "operator_class", "pick"]

ENTRY_POINTS = "evo.operators"

BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        "seed": "operators.tunable:Seed",
        "sample": "operators.tunable:Sample",
        "set_values": "operators.tunable:SetTo",
        "mutate_uniform": "operators.mutate:MutateUniform",
        "mutate_neighbour": "operators.mutate:MutateNeighbour",
        "mutate_many": "operators.mutate:MutateMany",
        "crossover": "operators.recombine:Crossover",
        "graft": "operators.recombine:Graft",
        "llm_mutate": "operators.llm.mutate:Mutate",
        "llm_crossover": "operators.llm.crossover:Crossover",
        "llm_repair": "operators.llm.repair:RepairByModel",
        "llm_seed": "operators.llm.seed:SeedByModel",
        "llm_expose": "operators.llm.expose:Expose",
        "llm_universal": "operators.llm.universal:Universal",
        "asked": "operators.llm.asked:Asked",
    }
)
"""Where each operator of this package lives; nothing is imported before it is used."""


class OperatorError(Exception):
    """An operator is unknown, is misconfigured, or was given a proposal it cannot serve."""


class View(Protocol):
    """What may be seen of a run. Strategies and operators read it and never change it."""

    @property
    def archive(self) -> Archive: ...

    @property
    def candidates(self) -> Sequence[Candidate]:
        """Every finished candidate, in commit order."""
        ...

    @property
    def seeds(self) -> Sequence[Candidate]:
        """The finished candidates that the search started from."""
        ...

    @property
    def failures(self) -> Sequence[Candidate]:
        """Recent candidates that were evaluated and are not `ok`, oldest first."""
        ...

    @property
    def budget_left(self) -> float:
        """Share of the scarcest budget that is left, 0…1."""
        ...

    @property
    def evaluations(self) -> int:
        """Evaluations spent."""
        ...

    def candidate(self, number: int) -> Candidate:
        """A finished candidate. Raises KeyError."""
        ...

    def seen(self, kernel_id: str) -> bool:
        """Whether a kernel was proposed before, those in flight included."""
        ...

    def space(self, kernel: Kernel) -> Space:
        """The kernel's space as the evaluator knows it: `kernel.space`, or narrower (same names and domains)."""
        ...


async def _no_order() -> None:
    """Proposals are finished in any order."""


@dataclass(frozen=True, slots=True)
class Context:
    """What an operator works with on one proposal."""

    view: View
    rng: random.Random
    """Belongs to this proposal alone."""
    seeds: Sequence[Kernel] = ()
    """The kernels a search starts from, whether or not they were evaluated yet."""
    studio: Studio | None = None
    """What operators that ask a model work with; None in a run without models."""
    turn: Callable[[], Awaitable[None]] = _no_order
    """To be awaited before the view is looked at again after a pause: in a run that finishes in order, until its turn has come."""

    def space(self, kernel: Kernel) -> Space:
        return self.view.space(kernel)

    def parents(self, proposal: Proposal) -> tuple[Kernel, ...]:
        """The kernels of the proposal's parents.

        Raises:
            OperatorError: a parent is unknown or has no kernel.
        """
        kernels = []
        for number in proposal.parents:
            try:
                kernel = self.view.candidate(number).kernel
            except KeyError:
                kernel = None
            if kernel is None:
                raise OperatorError(f"proposal {proposal.number}: found parent {number}, expected a finished candidate that has a kernel")
            kernels.append(kernel)
        return tuple(kernels)


class Operator(ABC):
    """Makes kernels from proposals. Subclasses take their settings as keyword-only arguments."""

    name: ClassVar[str]
    parents: ClassVar[int] = 1
    """How many parents a proposal must name; further ones are ignored."""
    goals: ClassVar[tuple[type, ...]] = ()
    """Kinds of goal it takes into account (`SetValues`, `VisitCell`, `Repair`); any other is ignored."""
    costs_money: ClassVar[bool] = False
    """Whether a draft spends from the money budget (a model's answer)."""
    weight: ClassVar[float] = 1.0
    """Share it gets among the operators of a strategy that was told nothing else."""

    @abstractmethod
    def propose(self, proposal: Proposal, context: Context) -> Draft:
        """A kernel that was not seen before, or why there is none; never an exception for a kernel that cannot be made.

        Raises:
            OperatorError: the proposal itself is malformed (too few parents, an unknown one).
        """

    def serves(self, goal: Goal) -> bool:
        """Whether the goal is one it takes into account; None always is."""
        return goal is None or isinstance(goal, self.goals)

    def partners(self, parents: tuple[int, ...], view: View) -> tuple[int, ...]:
        """The parents a proposal should have, given those a strategy chose; stored with it. Most operators take what they get."""
        return parents

    def take(self, proposal: Proposal, context: Context) -> tuple[Kernel, ...]:
        """Its parents' kernels; raises `OperatorError` when there are too few."""
        if len(proposal.parents) < self.parents:
            raise OperatorError(f"proposal {proposal.number}: `{self.name}` found {len(proposal.parents)} parents, expected {self.parents}")
        return context.parents(proposal)


@cache
def _entries() -> Mapping[str, EntryPoint]:
    return MappingProxyType({entry.name: entry for entry in entry_points(group=ENTRY_POINTS)})


def names() -> tuple[str, ...]:
    """Every operator there is: the package's own, then installed ones, sorted."""
    return (*BUILT_IN, *sorted(set(_entries()) - set(BUILT_IN)))


def operator_class(name: str) -> type[Operator]:
    """The class of an operator; a built-in name cannot be taken over.

    Raises:
        OperatorError: unknown, not importable, or no `Operator`.
    """
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        found: object = getattr(import_module(module), attribute)
    elif name in _entries():
        try:
            found = _entries()[name].load()
        except Exception as error:
            raise OperatorError(f"operator `{name}`: found entry point {_entries()[name].value!r} that does not load ({error})") from error
    else:
        raise OperatorError(f"operator: found `{name}`, expected one of {', '.join(names())}")
    if not (isinstance(found, type) and issubclass(found, Operator)):
        raise OperatorError(f"operator `{name}`: found {found!r}, expected a subclass of operators.base.Operator")
    return found


def operator(name: str, **settings: object) -> Operator:
    """A fresh operator for one run.

    Raises:
        OperatorError: as `operator_class`, or a setting that it does not take.
    """
    made = operator_class(name)
    try:
        return made(**settings)
    except TypeError as error:
        raise OperatorError(f"operator `{name}`: {error}; correct its settings") from error


def pick(weights: Mapping[str, float], rng: random.Random) -> str:
    """One name, drawn in proportion to its weight.

    Raises:
        OperatorError: no weight is positive, or one is negative or not finite.
    """
    total = 0.0
    for name, weight in weights.items():
        if not 0.0 <= weight < float("inf"):
            raise OperatorError(f"operators.{name}: found weight {weight!r}, expected a finite number of at least 0")
        total += weight
    if total <= 0.0:
        raise OperatorError("operators: found no positive weight, expected at least one operator to use")
    drawn = rng.random() * total
    for name, weight in weights.items():
        drawn -= weight
        if drawn < 0.0:
            return name
    return max(weights, key=lambda name: weights[name])
