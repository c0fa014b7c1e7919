"""Tells an observer how a run goes: at once when something happened, else a few times a second."""

from __future__ import annotations

import time
from collections.abc import Callable

from archive.grid import GridArchive
from evo.progress import Observer, Progress, Stage
from evo.state import State

__all__ = ["Reporter"]

PERIOD = 0.1
"""Seconds between two reports of nothing in particular."""


class Reporter:
    """Makes `Progress` of a run's state; cheap when it is not yet time."""

    def __init__(self, run: str, observer: Observer | None) -> None:
        self._run = run
        self._observer = observer
        self._stage = Stage.OPEN
        self._next = 0.0
        self.state: State | None = None
        """Set once it is known."""
        self.clock: Callable[[], float] = lambda: 0.0
        self.in_flight: Callable[[], int] = lambda: 0

    def enter(self, stage: Stage, message: str = "") -> None:
        """Another stage begins."""
        self._stage = stage
        self._report(message)

    def watch(self, message: str) -> None:
        """Something may have changed; `message` says what, when it is worth a line."""
        if self._observer is not None and (message or time.monotonic() >= self._next):
            self._report(message)

    def _report(self, message: str) -> None:
        if self._observer is None:
            return
        self._next = time.monotonic() + PERIOD
        state = self.state
        if state is None:
            self._observer(Progress(self._run, self._stage, message=message))
            return
        budget, best = state.budget, state.archive.best
        stage = Stage.SEED if self._stage is Stage.SEARCH and not len(state.archive) else self._stage
        self._observer(
            Progress(
                self._run,
                stage,
                evaluations=budget.spent.evaluations,
                evaluations_left=budget.evaluations_left,
                proposals=state.finished,
                best_speedup=None if best is None else best.speedup,
                best_candidate=None if best is None else best.number,
                best_descriptors=self._descriptors(state),
                coverage=state.archive.coverage,
                cells=len(state.archive),
                failures={outcome: count for outcome, count in state.outcomes.items() if outcome != "ok"},
                in_flight=self.in_flight(),
                seconds=self.clock(),
                seconds_left=budget.seconds_left,
                budget_left=budget.left,
                message=message,
            )
        )

    @staticmethod
    def _descriptors(state: State) -> dict[str, str]:
        """The bins of the best kernel's cell by descriptor."""
        archive, best = state.archive, state.archive.best
        cell = None if best is None else best.candidate.cell
        return archive.descriptors.label(cell) if isinstance(archive, GridArchive) and cell is not None else {}
