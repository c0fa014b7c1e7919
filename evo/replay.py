"""Resuming is replaying: what a run knows, rebuilt from its lineage."""

from __future__ import annotations

from collections.abc import Iterator

from archive.candidate import Candidate
from archive.events import Event, EventKind
from archive.lineage import Lineage
from evo.errors import UserError
from evo.state import State

__all__ = ["replay"]


def replay(lineage: Lineage, state: State) -> None:
    """Repeats every finished candidate and every archive event on a new `state`, in their order.

    Raises:
        UserError: an event does not come out as it did, so the run was made with other descriptors or another archive.
    """
    known: dict[int, Candidate] = {}
    events = lineage.events()
    event = next(events, None)
    for candidate in lineage.candidates():
        known[candidate.number] = candidate
        if candidate.kernel is not None:
            state.view.claim(candidate.kernel.id, candidate.number)
        if event is not None and event.kind is EventKind.OFFER and event.candidate == candidate.number:
            result = state.offer(candidate)
            _check(lineage, event, None if result.elite is None else result.elite.number)
            state.finish(candidate)
            event = _repeat_until_offer(lineage, state, known, events)
        else:
            state.finish(candidate)


def _repeat_until_offer(lineage: Lineage, state: State, known: dict[int, Candidate], events: Iterator[Event]) -> Event | None:
    """Repeats duels and re-measurements; returns the next offer."""
    for event in events:
        if event.kind is EventKind.OFFER:
            return event
        evaluations = event.evaluations or {}
        if event.kind is EventKind.SETTLE:
            assert event.cell is not None  # a duel is always about a cell
            change = state.settle(event.cell, known[event.candidate], evaluations)
        else:
            found = state.remeasure(event.candidate, evaluations[event.candidate])
            if found is None:
                continue
            change = found
        _check(lineage, event, None if change.after is None else change.after.number)
    return None


def _check(lineage: Lineage, event: Event, elite: int | None) -> None:
    if elite != event.elite:
        raise UserError(
            f"Replaying the {event.kind.value} of candidate {event.candidate} went differently than in the run.",
            file=lineage.path,
            key="archive",
            found=f"candidate {elite} in cell {event.cell}",
            expected=f"candidate {event.elite}",
            remedy="Resume with the config and the version of evo that the run was started with.",
        )
