"""Interleaved, checked batches of several programs on the same fresh inputs: how anything is verified or timed on a GPU.

A *round* of one shape gives every lane batches of two sizes; its time per call is the slope between them, so what a batch costs beside its
calls drops out. Behind the gate (`fitness.gpu.gate`) that is some microseconds, and one small and one large batch are enough; hosted, it is
a millisecond of messages, launches and switches between processes that varies by a tenth to a third, and batches are longer and repeated.
The order of lanes reverses from round to round. Every output of every batch of an untrusted lane is checked.
"""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from archive.evaluation import Diagnostic, Outcome
from fitness.failure import RunnerFailure
from fitness.gpu import compare
from fitness.gpu.cases import GpuCase, GpuSupply
from fitness.gpu.clock import Expired
from fitness.gpu.handle import COMPILING, Batch, GpuRunner, still_the_same
from fitness.gpu.planned import PlannedRunner
from fitness.gpu.referee import GpuReferee
from fitness.gpu.slot_pool import SlotPool
from fitness.gpu.slots import GpuSlot
from fitness.problem import Problem, Sizes, shape_label
from fitness.program import Program
from fitness.sitting import Refused

if TYPE_CHECKING:
    from fitness.gpu.station import GpuStation

__all__ = ["GpuLane", "GpuSitting"]

REPEATS = 3
"""Hosted batches of each size in a round."""
RETRIES = 3
"""How often a round whose slope is impossible is measured before that is believed."""
PLAUSIBLE = 0.8
"""Share of the least possible time under which a slope is measured again."""
LASTING = 2e-3
"""Seconds that the larger gated batch should last, as far as slots reach."""
SMALLER = 4
"""How many times fewer calls the smaller gated batch has."""
LEAST = 4
"""Calls of the larger gated batch at least."""
STRAY = 0.03
"""Share of the smaller batch by which what a batch costs beside its calls may stray (and by STRAY_SECONDS) before it is measured again."""
STRAY_SECONDS = 25e-6
EXPIRIES = 2
"""Gates that may open by themselves before a program is timed without one."""
BESIDE = 6e-6
"""Seconds that a gated batch costs beside its calls: opening the gate, the first call's cold start, the mark."""
ROUGH = 3e-3
"""Seconds a call from which an ungated batch says enough about the length of gated ones."""


@dataclass(eq=False)
class GpuLane:
    """One program in its runner."""

    name: str
    runner: GpuRunner
    trusted: bool = False
    proven: set[str] = field(default_factory=set)
    """Shapes on which a trusted lane was found right."""
    workspaces: dict[str, GpuSlot | None] = field(default_factory=dict)
    pace: dict[str, float] = field(default_factory=dict)
    """Seconds per call as far as known, by shape."""
    steady: set[str] = field(default_factory=set)
    """Shapes whose pace comes from gated batches."""
    expiries: int = 0
    error: float | None = None
    """Never told: the device answers whether a batch is right, for all its cases in one transfer, not how far off it is."""

    @property
    def gated(self) -> bool:
        return self.runner.gated and self.expiries < EXPIRIES

    @property
    def hosted(self) -> bool:
        """Whether the process runs host code of a kernel's author."""
        return not self.trusted and not isinstance(self.runner, PlannedRunner)

    def close(self) -> None:
        self.runner.close()
        for workspace in self.workspaces.values():
            if workspace is not None:
                workspace.close()
        self.workspaces.clear()


class GpuSitting:
    """Lanes measured together on one device. A context manager: leaving it ends every untrusted runner."""

    exchanges = False
    only_longer = False

    def __init__(self, station: GpuStation, problem: Problem, referee: GpuReferee, pool: SlotPool, *, call_timeout: float) -> None:
        self._station = station
        self._problem = problem
        self._referee = referee
        self._pool = pool
        self._lanes: dict[str, GpuLane] = {}
        self._flip = False
        self.call_timeout = call_timeout
        self.cost: dict[str, float] = defaultdict(float)

    def __enter__(self) -> GpuSitting:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        begin = time.perf_counter()
        for lane in self._lanes.values():
            if not lane.trusted:
                lane.close()
                if lane.hosted:
                    self._pool.doubt()
        self._lanes.clear()
        self.cost["close"] += time.perf_counter() - begin

    def seat(self, name: str, program: Program, *, trusted: bool = False, judged: bool = True) -> GpuLane:
        """Loads `program` in a runner; a baseline's is kept between sittings. judged: as for a CPU; nothing goes unjudged here. Raises
        `Refused`."""
        start = time.perf_counter()
        trusted = trusted or program.kind == "torch"
        try:
            lane = self._station.kept(name) if trusted else None
            if lane is None:
                lane = GpuLane(name, self._referee.load(program), trusted)
                if trusted:
                    self._station.keep(lane)
        except RunnerFailure as failure:
            raise Refused(name, failure.outcome, failure.diagnostic) from failure
        finally:
            self.cost["fork"] += time.perf_counter() - start
        self._lanes[name] = lane
        return lane

    def lane(self, name: str) -> GpuLane:
        return self._lanes[name]

    def exchange(self, *names: str) -> None:
        """Nothing to exchange: all lanes use the same slots."""

    def conclude(self) -> None:
        """Nothing is left to look at: every output of every batch was compared whole, after the clock had stopped."""

    # -- one checked batch ---------------------------------------------------------------------------------------------------------

    def call(self, lane: GpuLane, case: GpuCase | tuple[GpuSupply, Sizes]) -> float:
        """One checked call; on a case of `GpuSupply.timed` on one that is drawn for it. Raises `Refused`."""
        return self._batch(lane, [case] if isinstance(case, GpuCase) else case[0].pool(case[1], 1))

    def prove(self, lane: GpuLane, cases: Sequence[GpuCase]) -> None:
        """Checked calls on cases of one shape, revealed together. Raises `Refused`."""
        self._batch(lane, list(cases))

    def twice(self, lane: GpuLane, case: GpuCase) -> None:
        """Two checked calls on one case; where the problem is `deterministic` they have to agree bit for bit. Raises `Refused`."""
        import torch

        first: list[Any] = []
        for _ in range(2):
            slots = self._pool.seat([case], anywhere=lane.hosted)
            self._batch(lane, [case], slots=slots)
            if self._problem.deterministic and not first:
                first = [output.clone() for output in slots[0].outputs]
        if self._problem.deterministic and not all(torch.equal(one, other) for one, other in zip(first, slots[0].outputs, strict=True)):
            text = "Two calls on the same inputs differ; they have to agree bit for bit (the problem is deterministic). Look for a race."
            raise Refused(lane.name, Outcome.WRONG, _placed(Diagnostic("verify", "not_repeatable", text), case))

    def _batch(
        self, lane: GpuLane, cases: list[GpuCase], *, deliver: bool = False, gated: bool = False, slots: list[GpuSlot] | None = None
    ) -> float:
        """Seconds of one checked batch, a case each call. Raises `Refused`, and `Expired` where it is gated."""
        first = cases[0]
        begin = time.perf_counter()
        try:
            slots = slots or self._pool.seat(cases, anywhere=lane.hosted)
            self._attach(lane, first.sizes, slots)
            attached = time.perf_counter()
            self.cost["attach"] += attached - begin
            for slot, case in zip(slots, cases, strict=True):
                slot.fill(case)
                slot.poison()
            workspace = lane.workspaces.get(first.label)
            if workspace is not None:
                workspace.poison()
            if gated:
                self._station.flush_cache()
            patience = COMPILING if lane.trusted else self.call_timeout
            filled = time.perf_counter()
            self.cost["fill"] += filled - attached
            batch = lane.runner.timed(slots, patience) if gated else lane.runner.batch(slots, patience, deliver=deliver)
        except RunnerFailure as failure:
            raise Refused(lane.name, failure.outcome, _placed(failure.diagnostic, first)) from failure
        returned = time.perf_counter()
        self.cost["kernel"] += batch.seconds
        self.cost["reveal"] += returned - filled - batch.seconds
        self.cost["calls"] += len(cases)
        if not gated:
            lane.pace[first.label] = batch.seconds / len(cases)
        if not lane.trusted or deliver:
            self._check(lane, cases, slots, batch)
        self.cost["check"] += time.perf_counter() - returned
        return batch.seconds

    def _check(self, lane: GpuLane, cases: list[GpuCase], slots: list[GpuSlot], batch: Batch) -> None:
        same = still_the_same(batch) if batch.addresses else True
        intact, right = compare.verdicts(self._problem, cases, slots)
        if not bool(same):
            text = "Outputs changed after the clock had stopped: the kernel left work running behind its return."
            raise self._condemned(lane, Diagnostic("time", "off_clock_work", text), cases[0])
        for case, slot, untouched, good in zip(cases, slots, intact, right, strict=True):
            if not untouched:
                text = f"The kernel wrote where it may not: {slot.why_broken(self._problem, case.inputs)}."
                raise self._condemned(lane, Diagnostic("verify", "guard_broken", text), case)
            if not good:
                wrong = compare.judge(self._problem, case, slot.outputs)
                if wrong is not None:
                    raise Refused(lane.name, Outcome.WRONG, wrong)

    def _condemned(self, lane: GpuLane, finding: Diagnostic, case: GpuCase) -> Refused:
        """It broke a rule of the protocol: its process is not used again."""
        lane.runner.kill()
        self._pool.doubt()
        return Refused(lane.name, Outcome.REJECTED, _placed(finding, case))

    def _attach(self, lane: GpuLane, sizes: Sizes, slots: list[GpuSlot]) -> None:
        label = shape_label(sizes)
        if label not in lane.workspaces:
            needed = lane.runner.workspace_bytes(list(sizes.values()), self._station.workspace_limit)
            lane.workspaces[label] = GpuSlot(None, sizes, workspace=needed) if needed else None
        for slot in slots:
            lane.runner.attach(slot, lane.workspaces[label])

    # -- rounds --------------------------------------------------------------------------------------------------------------------

    def round(self, cases: Iterator[tuple[GpuSupply, Sizes]], *, without: Collection[str] = ()) -> tuple[Sizes, Mapping[str, float]]:
        """Seconds per call of every lane on one shape. Raises `Refused`."""
        supply, sizes = next(cases)
        label = shape_label(sizes)
        self.cost["rounds"] += 1
        lanes = [lane for lane in self._lanes.values() if lane.name not in without]
        for lane in lanes:
            if lane.trusted and label not in lane.proven:
                self._batch(lane, supply.pool(sizes, 1), deliver=True)
                self._batch(lane, supply.pool(sizes, 1))
                lane.proven.add(label)
        if self._flip:
            lanes.reverse()
        self._flip = not self._flip
        return sizes, {lane.name: self._seconds(lane, supply, sizes) for lane in lanes}

    def _seconds(self, lane: GpuLane, supply: GpuSupply, sizes: Sizes) -> float:
        """Seconds per call of one lane in this round. Raises `Refused`."""
        most = self._station.batch_size(sizes)
        while lane.gated:
            try:
                return self._paced(lane, supply, sizes, most)
            except Expired:
                lane.expiries += 1
                self.cost["expiries"] += 1
        most = max(2, most // 2)
        n = random.SystemRandom().randint(max(1, (3 * most + 3) // 4), most)
        return self._slope(lane, supply.pool(sizes, 3 * n), n)

    def _paced(self, lane: GpuLane, supply: GpuSupply, sizes: Sizes, most: int) -> float:
        """Seconds per call from two gated batches, whose sizes vary. A pair that says that the device was faster than it can be, or that a
        batch costs something else beside its calls than a gate does, was disturbed, and is measured again; the least strange one counts.
        Raises `Refused`, `Expired`."""
        label, floor, secret = shape_label(sizes), self._station.floor(sizes), random.SystemRandom()
        pace = lane.pace.get(label, 0.0)
        pace = pace if pace > ROUGH or label in lane.steady else floor
        kept: tuple[float, float, float] | None = None
        for _attempt in range(RETRIES):
            large = min(most, max(LEAST, math.ceil(LASTING / pace) - secret.randint(0, 1)))
            small = max(1, large // SMALLER)
            seconds = {}
            for n in secret.sample((small, large), 2):
                seconds[n] = self._batch(lane, supply.pool(sizes, n), gated=True)
            slope = (seconds[large] - seconds[small]) / (large - small)
            beside = seconds[small] - small * slope
            stray = abs(beside - BESIDE) / (STRAY * seconds[small] + STRAY_SECONDS)
            if slope <= PLAUSIBLE * floor:
                stray += 1.0
            if kept is None or stray < kept[0]:
                kept = stray, slope, beside
            if stray <= 1.0:
                break
            self.cost["retries"] += 1
        assert kept is not None
        _stray, slope, beside = kept
        if slope <= 0:
            raise Refused(lane.name, Outcome.REJECTED, _no_slope(label, small, large))
        lane.pace[label] = slope
        lane.steady.add(label)
        self._station.overheads[lane.name].append(beside)
        return slope

    def _slope(self, lane: GpuLane, pool: list[GpuCase], n: int) -> float:
        """Seconds per call: batches of 2n and of n, repeated in a secret order, the fastest of each kept. What disturbs a batch (a switch
        between processes, a late wake-up) only ever adds to it. No contents are in both kinds of batch. A slope that the device cannot
        reach is a disturbed one and measured again; one that stays is handed on, for the roofline check to refuse."""
        floor = self._station.floor(pool[0].sizes)
        for attempt in range(RETRIES):
            batches = [pool[: 2 * n], pool[2 * n :]]
            fastest = [float("inf"), float("inf")]
            for which in random.SystemRandom().sample((0, 1) * REPEATS, 2 * REPEATS):
                random.SystemRandom().shuffle(batches[which])
                fastest[which] = min(fastest[which], self._batch(lane, batches[which]))
            slope = (fastest[0] - fastest[1]) / n
            if slope > PLAUSIBLE * floor or (slope > 0 and attempt == RETRIES - 1):
                self._station.overheads[lane.name].append(2 * fastest[1] - fastest[0])
                return slope
            self.cost["retries"] += 1
        raise Refused(lane.name, Outcome.REJECTED, _no_slope(pool[0].label, n, 2 * n))


def _no_slope(label: str, small: int, large: int) -> Diagnostic:
    text = f"A batch of {large} calls took no longer than one of {small}, {RETRIES} times: the time is not believed."
    return Diagnostic("time", "impossible_time", text, {"shape": label})


def _placed(diagnostic: Diagnostic, case: GpuCase) -> Diagnostic:
    if "shape" in diagnostic.details:
        return diagnostic
    message = f"{diagnostic.message} (on shape {case.label}, {case.distribution} data)"
    details = {**diagnostic.details, "shape": case.label, "distribution": case.distribution}
    return Diagnostic(diagnostic.stage, diagnostic.reason, message, details)
