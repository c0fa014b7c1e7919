"""What every archive is: cells, an elite in each, and what happens to them under noise.

A subclass says only which cell a profile falls into and how many cells there are. Everything else (who holds a cell,
contests, duels, re-measurement, metrics) is here once, and one conformance suite holds for all.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from archive.candidate import AddStatus, Candidate, Cell
from archive.elite import AddResult, Change, Elite
from archive.evaluation import EMPTY, Evaluation, Outcome, Samples
from archive.stats import SITTING_NOISE, Interval, merge, summarise
from archive.tunables import Value

if TYPE_CHECKING:
    import pandas

__all__ = ["BENCH", "AddResult", "Archive", "Change", "Elite"]

BENCH = 3
"""Runners-up kept per cell."""


class Archive(ABC):
    """Sparse cells with an elite each, and up to `BENCH` runners-up behind it.

    *Offers.* d = challenger - incumbent in ln; w² = (distance between the two values' facing 95 % limits and the values)
    squared and summed, the interval of a difference of independent bootstrap estimates (`stats.difference`), plus
    `SITTING_NOISE` outside the root. d > w improves, d < -w is rejected, anything between is a contest: nothing changes
    until `settle`. A `deterministic` archive has no noise, hence no contests: only a strictly greater objective improves.

    *Runners-up.* A rejected, contesting or replaced candidate waits on its cell's bench while it is among the best
    `BENCH` there. When an elite is measured again and its new estimate (all samples) falls under a runner-up's, the best of
    the bench takes the cell: with luck averaged out, the estimates themselves rank, without a margin. A re-measurement that
    is not `ok` removes the candidate; an `infrastructure_error` says nothing and is ignored.

    The state is a pure function of the sequence of calls (ties go to the lower candidate number), so that replaying the
    lineage reproduces it exactly.
    """

    def __init__(self, *, deterministic: bool = False) -> None:
        self.deterministic = deterministic
        self._elites: dict[Cell, Elite] = {}
        self._benches: dict[Cell, list[Elite]] = {}
        self._homes: dict[int, Cell] = {}
        self._best: Elite | None = None
        self._ordered: tuple[Elite, ...] | None = None

    # ── what a subclass says ──

    @property
    @abstractmethod
    def cells(self) -> int:
        """How many cells there can be."""

    @abstractmethod
    def cell_of(self, profile: Mapping[str, Value], tunables: Mapping[str, Value] = EMPTY) -> Cell | None:
        """The cell of a described kernel; None when it is outside and the policy is to drop it."""

    # ── changes ──

    def offer(self, candidate: Candidate) -> AddResult:
        """Puts a candidate before its cell's elite. Its `cell` is used when set, else found from its profile."""
        evaluation, kernel = candidate.evaluation, candidate.kernel
        if kernel is None or evaluation is None or evaluation.outcome is not Outcome.OK or evaluation.objective is None:
            return AddResult(AddStatus.REJECT, None, None, None)
        cell = candidate.cell
        if cell is None:
            cell = self.cell_of(evaluation.profile, kernel.values)
            if cell is None:
                return AddResult(AddStatus.REJECT, None, None, None)
        objective = evaluation.objective
        low, high = evaluation.interval or (objective, objective)
        incumbent = self._elites.get(cell)
        if incumbent is None:
            elite = Elite(candidate, objective, low, high, evaluation.samples)
            self._homes[candidate.number] = cell
            self._seat(cell, elite)
            return AddResult(AddStatus.NEW, cell, None, elite)
        status = self._compare(objective, low, high, incumbent)
        if status is AddStatus.IMPROVE:
            elite = Elite(candidate, objective, low, high, evaluation.samples)
            self._homes[candidate.number] = cell
            self._wait(cell, incumbent)
            self._seat(cell, elite)
            return AddResult(status, cell, incumbent, elite)
        bench = self._benches.get(cell)
        if bench is None or len(bench) < BENCH or objective > bench[-1].objective:
            self._homes[candidate.number] = cell
            self._wait(cell, Elite(candidate, objective, low, high, evaluation.samples))
        return AddResult(status, cell, incumbent, incumbent)

    def _compare(self, objective: float, low: float, high: float, incumbent: Elite) -> AddStatus:
        gap = objective - incumbent.objective
        if self.deterministic:
            return AddStatus.IMPROVE if gap > 0.0 else AddStatus.REJECT
        if gap > 0.0:
            width = math.hypot(objective - low, incumbent.high - incumbent.objective) + SITTING_NOISE
            return AddStatus.IMPROVE if gap > width else AddStatus.CONTEST
        width = math.hypot(high - objective, incumbent.objective - incumbent.low) + SITTING_NOISE
        return AddStatus.REJECT if -gap > width else AddStatus.CONTEST

    def settle(self, cell: Cell, winner: Candidate, evaluations: Mapping[int, Evaluation] = {}) -> Change:
        """Ends a contest: the duel's samples join what both sides hold, and the winner takes the cell it fought for.

        `evaluations` maps the candidate numbers of both sides to what the duel measured of them. A winner whose own
        duel evaluation was not `ok` does not win. If the cell has changed hands to a third candidate meanwhile, the duel
        says nothing about that one, and the estimates decide as after `remeasure`.
        """
        before = self._elites.get(cell)
        if self._find(winner.number) is None and winner.evaluation is not None and winner.evaluation.objective is not None:
            fell_off = winner.evaluation
            objective = winner.evaluation.objective
            self._homes[winner.number] = cell
            low, high = fell_off.interval or (objective, objective)
            self._wait(cell, Elite(winner, objective, low, high, fell_off.samples), room=BENCH + 1)
        estimates = tuple((number, self._remember(number, evaluation)) for number, evaluation in sorted(evaluations.items()))
        chosen = self._find(winner.number)
        fought_elite = before is None or not evaluations or before.number in evaluations
        if chosen is not None and fought_elite:
            self._promote(cell, chosen)
        else:
            self._rerank(cell)
        self._trim(cell)
        return Change(cell, before, self._elites.get(cell), estimates)

    def remeasure(self, number: int, evaluation: Evaluation) -> Change | None:
        """Appends another sitting's samples to a candidate's, and lets the new estimates decide who holds its cell.

        None when the archive no longer holds the candidate (it fell off its bench), or when the evaluation says nothing.
        """
        cell = self._homes.get(number)
        if cell is None or evaluation.outcome is Outcome.INFRASTRUCTURE_ERROR:
            return None
        before = self._elites.get(cell)
        estimate = self._remember(number, evaluation)
        self._rerank(cell)
        return Change(cell, before, self._elites.get(cell), ((number, estimate),))

    # ── questions ──

    def elite(self, cell: Cell) -> Elite | None:
        return self._elites.get(cell)

    def elites(self) -> tuple[Elite, ...]:
        """Every elite, in the order in which their cells were first filled."""
        if self._ordered is None:
            self._ordered = tuple(self._elites.values())
        return self._ordered

    def bench(self, cell: Cell) -> tuple[Elite, ...]:
        """The runners-up of a cell, best first."""
        return tuple(self._benches.get(cell, ()))

    def items(self) -> Iterator[tuple[Cell, Elite]]:
        return iter(self._elites.items())

    def held(self, number: int) -> Elite | None:
        """The entry of a candidate that is an elite or a runner-up."""
        return self._find(number)

    def bar_samples(self, cell: Cell | None) -> tuple[Samples, ...]:
        """What a challenger of this cell has to beat; empty for an empty cell."""
        elite = None if cell is None else self._elites.get(cell)
        return () if elite is None else elite.samples

    def __len__(self) -> int:
        return len(self._elites)

    def __contains__(self, cell: object) -> bool:
        return cell in self._elites

    @property
    def best(self) -> Elite | None:
        """The elite with the highest objective; the lower number of equals."""
        if self._best is None and self._elites:
            self._best = max(self._elites.values(), key=lambda e: (e.objective, -e.number))
        return self._best

    @property
    def coverage(self) -> float:
        """Share of all cells that are filled, 0…1."""
        return len(self._elites) / self.cells

    def qd_score(self, floor: float = 0.0) -> float:
        """Sum over filled cells of max(0, objective - floor): quality and diversity in one number.

        J. K. Pugh, L. B. Soros & K. O. Stanley, "Quality Diversity: A New Frontier for Evolutionary Computation",
        Frontiers in Robotics and AI 3:40, 2016. With floor 0 a cell counts by how far (ln) it beats the baseline.
        """
        return math.fsum(max(0.0, e.objective - floor) for e in self._elites.values())

    def state(self) -> tuple[object, ...]:
        """Everything the archive knows, comparable by `==`: equal states behave alike for ever after."""

        def entry(e: Elite) -> tuple[object, ...]:
            samples = tuple((s.shape, s.seconds.tobytes(), s.baseline.tobytes()) for s in e.samples)
            return e.number, e.objective, e.low, e.high, e.sittings, samples

        return tuple((cell, entry(elite), tuple(map(entry, self.bench(cell)))) for cell, elite in self._elites.items())

    def frame(self) -> pandas.DataFrame:
        """One row per elite, for pandas."""
        from archive.frame import elites_frame

        return elites_frame(self)

    # ── entries ──

    def _find(self, number: int) -> Elite | None:
        cell = self._homes.get(number)
        if cell is None:
            return None
        for entry in self._entries(cell):
            if entry.number == number:
                return entry
        return None

    def _entries(self, cell: Cell) -> Sequence[Elite]:
        elite = self._elites.get(cell)
        bench = self._benches.get(cell, [])
        return bench if elite is None else [elite, *bench]

    def _remember(self, number: int, evaluation: Evaluation) -> Interval | None:
        """Pools an evaluation with what is held of a candidate, in its place; its new estimate, None when it has to go."""
        entry = self._find(number)
        if entry is None:
            return None
        if evaluation.outcome is Outcome.INFRASTRUCTURE_ERROR:
            return Interval(entry.objective, entry.low, entry.high)
        if not evaluation.ok or evaluation.objective is None:
            self._replace(self._homes.pop(number), entry, None)
            return None
        pooled = self._pool(entry, evaluation)
        self._replace(self._homes[number], entry, pooled)
        return Interval(pooled.objective, pooled.low, pooled.high)

    def _pool(self, entry: Elite, evaluation: Evaluation) -> Elite:
        samples = merge(entry.samples, evaluation.samples)
        if samples and not self.deterministic:
            estimate = summarise(samples)
        else:  # no samples to pool (a recorded space): the last word counts
            objective = evaluation.objective if evaluation.objective is not None else entry.objective
            low, high = evaluation.interval or (objective, objective)
            estimate = Interval(objective, low, high)
        return Elite(entry.candidate, estimate.value, estimate.low, estimate.high, samples, entry.sittings + 1)

    def _replace(self, cell: Cell, old: Elite, new: Elite | None) -> None:
        if self._elites.get(cell) is old:
            if new is not None:
                self._elites[cell] = new
            else:
                self._vacate(cell)
            self._best = self._ordered = None
            return
        bench = self._benches[cell]
        bench.remove(old)
        if new is not None:
            self._wait(cell, new, room=BENCH + 1)

    def _vacate(self, cell: Cell) -> None:
        """The elite is gone: the best of the bench moves up, in the same place of the order; else the cell is empty again."""
        bench = self._benches.get(cell)
        if bench:
            self._elites[cell] = bench.pop(0)
        else:
            del self._elites[cell]

    def _seat(self, cell: Cell, elite: Elite) -> None:
        best, displaced = self._best, self._elites.get(cell)
        self._elites[cell] = elite
        self._ordered = None
        if len(self._elites) == 1 or (best is not None and elite.objective > best.objective):
            self._best = elite
        elif best is not None and (displaced is best or elite.objective == best.objective):
            self._best = None

    def _promote(self, cell: Cell, chosen: Elite) -> None:
        current = self._elites.get(cell)
        if current is chosen:
            return
        self._benches[cell].remove(chosen)
        if current is not None:
            self._wait(cell, current, room=BENCH + 1)
        self._seat(cell, chosen)

    def _rerank(self, cell: Cell) -> None:
        """The best of the bench takes the cell when its estimate is over the elite's."""
        bench = self._benches.get(cell)
        elite = self._elites.get(cell)
        if bench and (elite is None or bench[0].objective > elite.objective):
            self._promote(cell, bench[0])
        self._trim(cell)

    def _wait(self, cell: Cell, entry: Elite, room: int = BENCH) -> None:
        bench = self._benches.setdefault(cell, [])
        bench.append(entry)
        bench.sort(key=lambda e: (-e.objective, e.number))
        for dropped in bench[room:]:
            self._homes.pop(dropped.number, None)
        del bench[room:]

    def _trim(self, cell: Cell) -> None:
        bench = self._benches.get(cell, [])
        for dropped in bench[BENCH:]:
            self._homes.pop(dropped.number, None)
        del bench[BENCH:]
