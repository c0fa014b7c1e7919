"""Everything one device needs to measure one problem: referee, shared memory, secret cases, baselines, ceilings.

A station is opened by the process that measures and by nobody else; it owns every runner and every byte of shared memory,
and `close` gives all of it back.
"""

from __future__ import annotations

import importlib.util
import os
import random
from collections.abc import Iterator, Mapping

from archive.evaluation import Diagnostic
from fitness.canary import Canary
from fitness.casemaker import CaseMaker
from fitness.device import Device
from fitness.inputs import DISTRIBUTIONS, Case
from fitness.mover import Mover
from fitness.problem import Problem, Sizes, shape_label
from fitness.program import Program
from fitness.protocol import EvaluationSettings
from fitness.referee import Referee
from fitness.roofline import Ceilings, minimum_seconds
from fitness.sandbox import choose
from fitness.shares import FMA_PEAK
from fitness.sitting import Lane, Sitting
from fitness.slot_pool import SlotPool
from fitness.supply import CaseSupply, Wanted
from fitness.targets.base import Target
from fitness.timing import EXCHANGE

__all__ = [
    "IMPOSSIBLE",
    "SEARCH_BASELINE",
    "Station",
    "baseline_names",
    "baseline_program",
    "impossible_time",
    "measuring_core",
    "referee_cores",
]

SEARCH_BASELINE = "numpy"
"""The baseline that the objective of a search is relative to; certification measures all of them."""

SPARE = 10
"""Timed cases per shape beyond those that one runner needs, to repeat what a preemption spoiled: as often as a sitting does that in eight
rounds (`fitness.sitting.PATIENCE`)."""
FIRST = 2
"""Timed cases per shape that are made ahead of those to verify with."""
LARGE = 1 << 20
"""Bytes of one set of arguments from which cases are made ahead."""
IMPOSSIBLE = 0.95
"""A time under this share of the least possible time is not believed."""


def impossible_time(stage: str, share: float) -> Diagnostic:
    """The finding about a kernel measured at `share` of the roofline, more than there is."""
    message = (
        f"measured at {share:.2f} of the roofline on one shape: faster than this machine can move the problem's bytes "
        "or do its arithmetic; the time is not believed"
    )
    return Diagnostic(stage, "impossible_time", message, {"roofline_share": share, "limit": 1 / IMPOSSIBLE})


def measuring_core(settings: EvaluationSettings) -> int:
    """The configured core, else the last one this process may run on (the first ones serve interrupts and everybody else)."""
    return settings.core if settings.core is not None else max(os.sched_getaffinity(0))


def referee_cores(settings: EvaluationSettings) -> frozenset[int]:
    """The measuring core, and one more for every further thread, as the referee takes them."""
    core = measuring_core(settings)
    others = sorted(os.sched_getaffinity(0) - {core})
    return frozenset([core, *others[: settings.threads - 1]])


def baseline_names(problem: Problem) -> tuple[str, ...]:
    """Baselines of the problem that can run here: a baseline named after a package needs the package."""
    return tuple(name for name in problem.baselines if name == SEARCH_BASELINE or importlib.util.find_spec(name) is not None)


def baseline_program(problem: Problem, name: str) -> Program:
    return Program(kind="python", path=problem.baselines[name], entry=name)


class Station:
    """Opened lazily, on the first measurement. Not thread-safe: one device does one thing at a time."""

    only_longer = Sitting.only_longer

    def __init__(self, problem: Problem, target: Target, settings: EvaluationSettings) -> None:
        self.problem = problem
        self.target = target
        self.settings = settings
        self.core = measuring_core(settings)
        self.sandbox = choose(settings.sandbox)
        self.referee = Referee(core=self.core, threads=settings.threads, sandbox=self.sandbox, memory=settings.memory)
        self.pool = SlotPool(problem)
        self.supply = CaseSupply(problem)
        self._timed = SPARE + max(settings.repetitions, EXCHANGE + 1)
        self.canary = Canary(self.core)
        self.device: Device = target.device()
        self._baseline: Lane | None = None
        self._maker: CaseMaker | None = None
        self._floors: dict[str, float] = {}
        self.mover = Mover(problem, target, self.referee, self.pool) if target.language == "cpp" else None

    @property
    def spacing(self) -> float:
        """Seconds from the start of one process of a certification to that of the next, at the least."""
        return self.settings.certify_spacing

    @property
    def ceilings(self) -> Ceilings:
        return self.device.ceilings

    def raise_ceilings(self) -> None:
        """Measures the ceilings again and keeps the larger of each."""
        self.device.remeasure()
        self._floors.clear()

    def sitting(self) -> Sitting:
        return Sitting(self.problem, self.referee, self.pool, call_timeout=self.settings.call_timeout)

    def seat_baseline(self, sitting: Sitting) -> None:
        """Adds the search baseline, whose runner is kept between sittings (it is ours, and slow to start)."""
        if self._baseline is None:
            self._baseline = sitting.seat(SEARCH_BASELINE, baseline_program(self.problem, SEARCH_BASELINE), trusted=True)
        else:
            sitting.adopt(self._baseline)

    def warm(self) -> None:
        """Does ahead what the first evaluation would have to wait for: zygotes, the empty call, the baseline and its slots, the first
        timed cases, ceilings. Seconds; whatever fails here fails again where it is reported."""
        self._make_ahead()
        with self.sitting() as sitting:
            self.seat_baseline(sitting)
            lane = sitting.lane(SEARCH_BASELINE)
            for sizes in self.problem.shapes:
                sitting.call(lane, next(self.timed_cases(sizes)))
        self.referee.load(Program("null", entry="native"), self.problem).close()
        for sizes in self.problem.shapes:
            self.roof(sizes)

    def floor(self, sizes: Sizes) -> float:
        """Least seconds one call can take on this device, by the measured ceilings."""
        label = shape_label(sizes)
        if label not in self._floors:
            self._floors[label] = minimum_seconds(
                self.ceilings,
                bytes_moved=self.problem.bytes_moved(sizes),
                flops=self.problem.flops(sizes),
                footprint=self.problem.footprint(sizes),
            )
        return self._floors[label]

    def roof(self, sizes: Sizes) -> float:
        """Seconds of one call at the roofline: what shares are reported of.

        Its memory side is the fastest program that only moves what has to be moved, called as kernels are (`fitness.mover`); unlike `floor`
        it is within reach.
        """
        moved = None if self.mover is None else self.mover.seconds(sizes)
        return self.floor(sizes) if moved is None else max(moved, self.arithmetic(sizes))

    def ceilings_of(self, sizes: Sizes, moved: Mapping[str, float]) -> Mapping[str, float]:
        """Seconds of one call by the name of each ceiling: the movers', as measured beside the kernel, and of the operations, if any.
        Empty where no mover was measured."""
        return {**moved, FMA_PEAK: self.arithmetic(sizes)} if moved and self.problem.flops(sizes) else moved

    def arithmetic(self, sizes: Sizes) -> float:
        """Seconds of one call's operations at the peak of fused multiply-adds."""
        return self.problem.flops(sizes) / self.ceilings.rate()

    def timed_cases(self, sizes: Sizes) -> Iterator[Case]:
        """The problem's timed cases of one shape in a fresh secret order; a runner must get them from one iterator only.

        What the case maker has delivered comes first; what is not there yet is made here, from the other end.
        """
        secret = random.SystemRandom()
        left = {index: self.supply.to_time(sizes, index) for index in range(self._timed)}
        while left:
            self._collect()
            ready = [index for index, wanted in left.items() if self.supply.has(wanted)]
            index = secret.choice(ready) if ready else max(left)
            del left[index]
            yield self.supply.timed(sizes, index)

    def _collect(self) -> None:
        if self._maker is not None:
            for wanted, case in self._maker.collect():
                self.supply.adopt(wanted, case)

    def _make_ahead(self) -> None:
        """Starts making cases of the full shapes on the other cores, as many as memory allows, where they are large."""
        problem = self.problem
        each = sum(problem.footprint(sizes) for sizes in problem.shapes)
        others = os.sched_getaffinity(0) - {self.core}
        if self._maker is not None or each < LARGE or not others:
            return
        rounds = min(self._timed, self.supply.memory // (2 * each))
        timed = [self.supply.to_time(sizes, index) for index in range(rounds) for sizes in problem.shapes]
        verified = [Wanted("verify", sizes, d, 0) for d in DISTRIBUTIONS if d != self.supply.timed_distribution for sizes in problem.shapes]
        soon = FIRST * len(problem.shapes)
        self._maker = CaseMaker(problem, [*timed[:soon], *verified, *timed[soon:]], others)

    def fresh_supply(self) -> CaseSupply:
        """New secret cases, for a certification."""
        return CaseSupply(self.problem)

    def libraries(self) -> dict[str, Program]:
        """Every baseline that can run here."""
        return {name: baseline_program(self.problem, name) for name in baseline_names(self.problem)}

    def dismiss_baseline(self) -> None:
        """Ends the kept baseline runner; the next sitting starts another."""
        if self._baseline is not None:
            self._baseline.runner.close()
            for slots in self._baseline.slots.values():
                self.pool.release(slots)
            self._baseline = None

    def close(self) -> None:
        if self._maker is not None:
            self._maker.close()
            self._maker = None
        self.dismiss_baseline()
        self.referee.close()
        self.pool.close()
