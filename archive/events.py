"""What happened to the archive, as the lineage stores it and replay repeats it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from archive.candidate import AddStatus, Cell
from archive.elite import AddResult, Change
from archive.evaluation import Evaluation
from archive.stats import Interval

__all__ = ["Event", "EventKind"]


class EventKind(StrEnum):
    OFFER = "offer"
    """A candidate was offered."""
    SETTLE = "settle"
    """A duel ended; `candidate` is its winner."""
    REMEASURE = "remeasure"
    """An elite or runner-up was measured again."""


@dataclass(frozen=True, slots=True, eq=False)
class Event:
    """One call that changed, or might have changed, the archive, and what came of it."""

    kind: EventKind
    candidate: int
    cell: Cell | None
    elite: int | None
    """Candidate that holds `cell` afterwards."""
    status: AddStatus | None = None
    """Of an offer."""
    evaluations: Mapping[int, Evaluation] | None = None
    """New evaluations by candidate number (both sides of a duel, or the one measured again)."""
    estimates: tuple[tuple[int, Interval | None], ...] = ()
    """What all samples now say of each candidate that was measured again; None: no longer `ok`."""

    @staticmethod
    def offered(number: int, result: AddResult) -> Event:
        elite = None if result.elite is None else result.elite.number
        return Event(EventKind.OFFER, number, result.cell, elite, result.status)

    @staticmethod
    def settled(winner: int, change: Change, evaluations: Mapping[int, Evaluation]) -> Event:
        elite = None if change.after is None else change.after.number
        return Event(EventKind.SETTLE, winner, change.cell, elite, None, evaluations, change.estimates)

    @staticmethod
    def remeasured(number: int, change: Change | None, evaluation: Evaluation) -> Event:
        """`change` is None when the archive did not take notice; the evaluation is kept all the same."""
        if change is None:
            return Event(EventKind.REMEASURE, number, None, None, None, {number: evaluation})
        elite = None if change.after is None else change.after.number
        return Event(EventKind.REMEASURE, number, change.cell, elite, None, {number: evaluation}, change.estimates)
