"""Interleaved, checked batches of several programs on the same fresh inputs: how anything is verified or timed on a GPU.

A *round* of one shape gives every lane a batch of 2n calls and one of n; its time per call is the difference over n. What a batch costs
beside its calls (messages, launches, the switch between processes, the snapshot) is in both and drops out. The order of lanes reverses
from round to round. Every output of every batch of an untrusted lane is checked.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from archive.evaluation import Diagnostic, Outcome
from fitness.failure import RunnerFailure
from fitness.gpu import compare
from fitness.gpu.cases import GpuCase, GpuSupply
from fitness.gpu.referee import COMPILING, GpuReferee, GpuRunner, still_the_same
from fitness.gpu.slots import GpuSlot
from fitness.problem import Problem, Sizes, shape_label
from fitness.program import Program
from fitness.sitting import Refused

if TYPE_CHECKING:
    from fitness.gpu.station import GpuStation

__all__ = ["GpuLane", "GpuSitting", "SlotPool"]

REPEATS = 3
"""Batches of each size in a round."""
RETRIES = 3
"""How often a round whose slope is impossible is measured before that is believed."""
PLAUSIBLE = 0.8
"""Share of the least possible time under which a slope is measured again."""


class SlotPool:
    """Slots by shape, kept between candidates. All lanes of a shape share them: only one of them runs at a time, the others are stopped,
    and what one wrote is poisoned before another is let on."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._slots: dict[str, list[GpuSlot]] = defaultdict(list)

    def take(self, sizes: Sizes, count: int) -> list[GpuSlot]:
        """`count` slots of a shape."""
        import torch

        slots = self._slots[shape_label(sizes)]
        if len(slots) < count:
            torch.cuda.empty_cache()
        while len(slots) < count:
            slots.append(GpuSlot(self._problem, sizes))
        return slots[:count]

    def clear(self) -> None:
        for slots in self._slots.values():
            for slot in slots:
                slot.close()
        self._slots.clear()


@dataclass(eq=False)
class GpuLane:
    """One program in its runner."""

    name: str
    runner: GpuRunner
    trusted: bool = False
    proven: set[str] = field(default_factory=set)
    """Shapes on which a trusted lane was found right."""
    workspaces: dict[str, GpuSlot | None] = field(default_factory=dict)

    def close(self) -> None:
        self.runner.close()
        for workspace in self.workspaces.values():
            if workspace is not None:
                workspace.close()
        self.workspaces.clear()


class GpuSitting:
    """Lanes measured together on one device. A context manager: leaving it ends every untrusted runner."""

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
        for lane in self._lanes.values():
            if not lane.trusted:
                lane.close()
        self._lanes.clear()

    def seat(self, name: str, program: Program, *, trusted: bool = False) -> GpuLane:
        """Loads `program` in a fresh runner; a baseline's is kept between sittings. Raises `Refused`."""
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

    # -- one checked batch ---------------------------------------------------------------------------------------------------------

    def call(self, lane: GpuLane, case: GpuCase) -> float:
        """One checked call. Raises `Refused`."""
        return self._batch(lane, [case])

    def twice(self, lane: GpuLane, case: GpuCase) -> None:
        """Two checked calls on one case; where the problem is `deterministic` they have to agree bit for bit. Raises `Refused`."""
        import torch

        self.call(lane, case)
        first = [output.clone() for output in self._pool.take(case.sizes, 1)[0].outputs]
        self.call(lane, case)
        second = self._pool.take(case.sizes, 1)[0].outputs
        if self._problem.deterministic and not all(torch.equal(one, other) for one, other in zip(first, second, strict=True)):
            text = "Two calls on the same inputs differ; they have to agree bit for bit (the problem is deterministic). Look for a race."
            raise Refused(lane.name, Outcome.WRONG, _placed(Diagnostic("verify", "not_repeatable", text), case))

    def _batch(self, lane: GpuLane, cases: list[GpuCase], *, deliver: bool = False) -> float:
        """Seconds of one checked batch, a case each call. Raises `Refused`."""
        first = cases[0]
        begin = time.perf_counter()
        try:
            slots = self._attached(lane, first.sizes, len(cases))
            self.cost["attach"] += time.perf_counter() - begin
            for slot, case in zip(slots, cases, strict=True):
                slot.fill(case.inputs)
                slot.poison()
            workspace = lane.workspaces.get(first.label)
            if workspace is not None:
                workspace.poison()
            patience = COMPILING if lane.trusted else self.call_timeout
            filled = time.perf_counter()
            self.cost["fill"] += filled - begin
            batch = lane.runner.batch(slots, patience, deliver=deliver)
        except RunnerFailure as failure:
            raise Refused(lane.name, failure.outcome, _placed(failure.diagnostic, first)) from failure
        returned = time.perf_counter()
        self.cost["kernel"] += batch.seconds
        self.cost["calls"] += len(cases)
        if not lane.trusted or deliver:
            self._check(lane, cases, slots, batch)
        self.cost["check"] += time.perf_counter() - returned
        return batch.seconds

    def _check(self, lane: GpuLane, cases: list[GpuCase], slots: list[GpuSlot], batch: Any) -> None:
        import torch

        right = [compare.right(self._problem, case, slot.outputs) for case, slot in zip(cases, slots, strict=True)]
        intact = [slot.intact(case.inputs) for case, slot in zip(cases, slots, strict=True)]
        verdicts = torch.stack([still_the_same(batch), *intact, *right]).tolist()
        if not verdicts[0]:
            text = "Outputs changed after the clock had stopped: the kernel left work running behind its return."
            raise Refused(lane.name, Outcome.REJECTED, _placed(Diagnostic("time", "off_clock_work", text), cases[0]))
        for number, (case, slot) in enumerate(zip(cases, slots, strict=True)):
            if not verdicts[1 + number]:
                text = f"The kernel wrote where it may not: {slot.why_broken(self._problem, case.inputs)}."
                raise Refused(lane.name, Outcome.REJECTED, _placed(Diagnostic("verify", "guard_broken", text), case))
            if not verdicts[1 + len(cases) + number]:
                wrong = compare.judge(self._problem, case, slot.outputs)
                if wrong is not None:
                    raise Refused(lane.name, Outcome.WRONG, wrong)

    def _attached(self, lane: GpuLane, sizes: Sizes, count: int) -> list[GpuSlot]:
        label = shape_label(sizes)
        if label not in lane.workspaces:
            needed = lane.runner.workspace_bytes(list(sizes.values()), self._station.workspace_limit)
            lane.workspaces[label] = GpuSlot(None, sizes, workspace=needed) if needed else None
        slots = self._pool.take(sizes, count)
        for slot in slots:
            lane.runner.attach(slot, lane.workspaces[label])
        return slots

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
        most = self._station.batch_size(sizes)
        n = random.SystemRandom().randint(max(1, (3 * most + 3) // 4), most)
        pool = supply.pool(sizes, 3 * n)
        return sizes, {lane.name: self._slope(lane, pool, n) for lane in lanes}

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
                self._station.overheads[lane.name].append((2 * fastest[1] - fastest[0]) / (n * slope))
                return slope
            self.cost["retries"] += 1
        text = f"A batch of {2 * n} calls took no longer than one of {n}, {RETRIES} times: the time is not believed."
        raise Refused(lane.name, Outcome.REJECTED, Diagnostic("time", "impossible_time", text, {"shape": pool[0].label}))


def _placed(diagnostic: Diagnostic, case: GpuCase) -> Diagnostic:
    if "shape" in diagnostic.details:
        return diagnostic
    message = f"{diagnostic.message} (on shape {case.label}, {case.distribution} data)"
    details = {**diagnostic.details, "shape": case.label, "distribution": case.distribution}
    return Diagnostic(diagnostic.stage, diagnostic.reason, message, details)
