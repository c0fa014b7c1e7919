"""What a strategy is: it chooses parents and operator, and hears what came of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from archive.candidate import Candidate, Goal
from operators.base import View

__all__ = ["Move", "Strategy"]


@dataclass(frozen=True, slots=True)
class Move:
    """What a strategy wants made; the engine numbers it and makes it a `Proposal`."""

    operator: str
    parents: tuple[int, ...] = ()
    """Numbers of candidates the strategy has been told of, that have a kernel."""
    goal: Goal = None


class Strategy(ABC):
    """A search, as a class with keyword-only parameters. It is made anew for each run and each resume.

    The engine evaluates the seeds and tells them first. Then `ask` and `tell` come in any order, several asks before the
    first tell among them, and every candidate is told exactly once: duplicates and those without a kernel too. On resume
    the same tells are repeated in their order, so what a strategy knows has to come from them, from `view` and from
    `rng` alone. Nothing here may read the clock, another random generator, or a hash order.

    One that has operators to choose among takes `adaptive: bool`; one that has none says in `not_adaptive` why.
    """

    not_adaptive: ClassVar[str] = ""
    """Why it cannot choose operators by their success; empty where it can, or where nothing is known (a plugin's)."""

    @abstractmethod
    def ask(self, view: View, rng: Random) -> Move:
        """The next move. `view` is not to be kept or changed; `rng` belongs to this proposal alone."""

    def tell(self, candidate: Candidate) -> None:  # noqa: B027 - most strategies learn all they need from the view
        """A candidate is finished and, when it belongs there, in the archive."""
