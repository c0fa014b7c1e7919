"""The archive of a run, rebuilt from its lineage: resuming is replaying."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from archive.base import Archive
from archive.candidate import Candidate
from archive.events import Event, EventKind
from archive.reading import Reading
from archive.schema import LineageError

__all__ = ["replay", "replay_event"]

A = TypeVar("A", bound=Archive)


def replay(lineage: Reading, archive: A, candidates: Iterable[Candidate] | None = None) -> A:
    """Repeats every stored event on an empty archive, which ends in exactly the state that the run's archive had.

    `candidates` spares a second reading when the caller has them already. Raises LineageError when an event does not
    come out as it did: the descriptors or the archive differ from those the run was made with.
    """
    known = {c.number: c for c in (lineage.candidates() if candidates is None else candidates)}
    for event in lineage.events():
        elite = replay_event(archive, event, known[event.candidate])
        if elite != event.elite:
            raise LineageError(
                f"replaying the {event.kind.value} of candidate {event.candidate} went differently than in the run", path=lineage.path,
                found=f"elite {elite} in cell {event.cell}", expected=f"elite {event.elite}",
                remedy="Resume with the descriptors and archive settings that the run was started with.",
            )  # fmt: skip
    return archive


def replay_event(archive: Archive, event: Event, candidate: Candidate) -> int | None:
    """Repeats one event; returns the number of who then holds its cell (None: nobody, or no cell is concerned)."""
    if event.kind is EventKind.OFFER:
        result = archive.offer(candidate)
        after = result.elite
    elif event.kind is EventKind.SETTLE:
        assert event.cell is not None  # a duel is always about a cell
        after = archive.settle(event.cell, candidate, event.evaluations or {}).after
    else:
        change = archive.remeasure(event.candidate, (event.evaluations or {})[event.candidate])
        after = None if change is None else change.after
    return None if after is None else after.number
