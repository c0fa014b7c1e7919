"""Interleaved, checked calls of several programs on the same fresh inputs: the one way anything is ever timed or verified.

A *lane* is one program in its own runner. A *round* gives every lane one call on the same case, in a secret order in which no lane ever
follows itself (A B, A B, …; A B C, B A C, …), so that drift of the machine falls on all lanes alike and their ratios are paired.
Checking and timing are the same path: each call of an unproven lane gets poisoned outputs, guard zones and a verdict, and
nothing in the call tells the runner whether its time will count.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import TracebackType

from archive.evaluation import Diagnostic, Outcome
from fitness.device import last_level_cache_bytes
from fitness.inputs import Case
from fitness.possession import pinned, undisturbed
from fitness.problem import Problem, Sizes, shape_label
from fitness.program import Program
from fitness.referee import Call, Referee, Runner, RunnerFailure
from fitness.slot_pool import SlotPool
from fitness.slots import Slot
from fitness.verdicts import out_of_memory
from fitness.verify import agree, examine

__all__ = ["Lane", "Refused", "Sitting"]

MAX_RETRIES = 2
"""How often a preempted round is repeated before it is taken as it is (and counted in `cost["preempted"]`)."""
PATIENCE = 4
"""Retries beyond a quarter of the rounds done after which a sitting takes rounds as they come: on a core that is never left alone,
repeating only makes the same noise dearer, and the interval tells of it."""


class Refused(Exception):
    """A lane's kernel failed: `outcome` and `diagnostic` say how; `lane` says which."""

    def __init__(self, lane: str, outcome: Outcome, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.lane = lane
        self.outcome = outcome
        self.diagnostic = diagnostic


@dataclass(eq=False)
class Lane:
    """One program in its runner, with its own slots."""

    name: str
    runner: Runner
    program: Program
    trusted: bool = False
    """A baseline: its outputs are checked on its first call of each shape only."""
    judged: bool = True
    """False for a ceiling: it computes nothing, so nobody looks at its outputs."""
    seen: set[int] = field(default_factory=set)
    """Numbers of the cases it was given."""
    slots: dict[str, list[Slot]] = field(default_factory=dict)
    inherited: dict[str, list[Slot]] = field(default_factory=dict)
    """Slots that it takes before it asks the pool for any."""
    turn: int = 0
    workspace: int = 0
    """Bytes that it asked for through workspace(), over all its slots."""
    error: float = 0.0
    """Largest error of an element so far, as a share of what is allowed (`fitness.verify.Verdict`)."""


class Sitting:
    """Lanes that are measured together on one core.

    Use as a context manager: leaving it ends every runner and returns the slots. Inside, the calling thread has the
    measuring core, ahead of others where it may.
    """

    exchanges = True
    only_longer = True

    def __init__(self, problem: Problem, referee: Referee, pool: SlotPool, *, call_timeout: float) -> None:
        self._problem = problem
        self._referee = referee
        self._pool = pool
        self._lanes: dict[str, Lane] = {}
        self._order: list[str] = []
        self.call_timeout = call_timeout
        self.cost: dict[str, float] = defaultdict(float)
        """Wall seconds by part: cases (made now, because nobody has needed them before), fork, map (slots into runners: page faults),
        fill, check, wait (round trips and freezing), kernel, close; `copied` and `checked` in bytes; `calls`, `rounds`, `retries`,
        `preempted` as counts."""
        self._held = contextlib.ExitStack()
        self._cold = last_level_cache_bytes() // 3
        """Bytes of arguments from which what passes between two uses of a slot drives it out of every cache: the outputs of a call that
        nobody checks need no poison then, which else would do so."""

    def __enter__(self) -> Sitting:
        self._held.enter_context(pinned(self._referee.core))
        self._held.enter_context(undisturbed())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        start = time.perf_counter()
        try:
            for lane in self._lanes.values():
                self._retire(lane)
            self._lanes.clear()
        finally:
            self._held.close()
            self.cost["close"] += time.perf_counter() - start

    def seat(self, name: str, program: Program, *, trusted: bool = False, judged: bool = True) -> Lane:
        """Loads `program` in a fresh runner. Raises `Refused` when it cannot be loaded."""
        start = time.perf_counter()
        try:
            runner = self._referee.load(program, self._problem)
        except RunnerFailure as failure:
            raise Refused(name, failure.outcome, failure.diagnostic) from failure
        finally:
            self.cost["fork"] += time.perf_counter() - start
        lane = self._lanes[name] = Lane(name, runner, program, trusted, judged)
        return lane

    def exchange(self, *names: str) -> None:
        """Seats these programs anew, each in the next one's slots: what is faster or slower about a slot's memory goes to all alike.

        A single one keeps its slots. All are as cold then as after their first seating, and have seen no case. Raises `Refused`.
        """
        self.conclude()
        left = {name: self._lanes.pop(name) for name in names}
        try:
            for lane in left.values():
                lane.runner.close()
            for name, lane in left.items():
                self.seat(name, lane.program, judged=lane.judged).error = lane.error
        finally:
            for name, heir in zip(names, (*names[1:], names[0]), strict=True):
                slots = left[name].inherited | left[name].slots
                if heir in self._lanes:
                    self._lanes[heir].inherited = slots
                else:
                    self._give_back(slots)

    def adopt(self, lane: Lane) -> None:
        """Adds a lane whose runner outlives this sitting (a baseline); it is not ended on leaving."""
        self._lanes[lane.name] = lane

    def _retire(self, lane: Lane) -> None:
        if lane.trusted:
            return
        lane.runner.close()
        self._give_back(lane.inherited | lane.slots)

    def _give_back(self, slots: dict[str, list[Slot]]) -> None:
        for each in slots.values():
            self._pool.release(each)
        slots.clear()

    def lane(self, name: str) -> Lane:
        return self._lanes[name]

    def round(self, cases: Iterator[Case], *, without: Collection[str] = ()) -> tuple[Case, Mapping[str, float]]:
        """One call of every lane (but those named in `without`) on the next fresh case, retried on another when the core was preempted.

        Returns the case and seconds by lane. Raises `Refused` for the lane that failed, and StopIteration when the
        supply of fresh cases is used up.
        """
        self.cost["rounds"] += 1
        for attempt in range(MAX_RETRIES + 1):
            begin = time.perf_counter()
            case = next(cases)
            self.cost["cases"] += time.perf_counter() - begin
            calls = {name: self.call(self._lanes[name], case) for name in self._next_order(without)}
            if not any(call.preempted for call in calls.values()):
                break
            if attempt == MAX_RETRIES or self.cost["retries"] > PATIENCE + self.cost["rounds"] / 4:
                self.cost["preempted"] += 1
                break
            self.cost["retries"] += 1
        return case, {name: self._seconds(call) for name, call in calls.items()}

    def _next_order(self, without: Collection[str] = ()) -> list[str]:
        """A secret order of the lanes (but `without`), the last of the round before not first.

        A short call finds its code and the interpreter's in the caches when it follows one of its own lane and not when it follows
        another's: NumPy's softmax of 256 KiB takes .1 or .2 ms (experiments/results/noise.txt). So two lanes keep their order. Of more,
        each follows every other one as often as the others do: if one were always in the middle, that would be worth 1 % of a millisecond.
        """
        secret, lanes = random.SystemRandom(), [name for name in self._lanes if name not in without]
        last = self._order[-1] if self._order else ""
        self._order = secret.sample(lanes, len(lanes))
        while len(lanes) > 1 and self._order[0] == last:
            self._order = secret.sample(lanes, len(lanes))
        return self._order

    def _seconds(self, call: Call) -> float:
        """The call's time. A core that is never left alone gives only preempted calls; of those, what the operating system's own
        account says the one thread spent waiting for the core is not the kernel's time."""
        if not call.preempted or self._referee.terms.threads > 1:
            return call.seconds
        return max(call.seconds - call.waited_seconds, min(call.cpu_seconds, call.seconds))

    def call(self, lane: Lane, case: Case) -> Call:
        """One checked call. Raises `Refused`."""
        if case.number in lane.seen and not lane.trusted:
            raise AssertionError("a runner must see each case at most once")
        try:
            slot = self._slot(lane, case)
        except RunnerFailure as failure:  # workspace() is the candidate's code too
            raise Refused(lane.name, failure.outcome, _placed(failure.diagnostic, case.label, case.distribution)) from failure
        begin = time.perf_counter()
        late = slot.late_write(look=False)  # poisoning it looks closely
        if late is not None:
            raise Refused(lane.name, Outcome.REJECTED, _placed(late, case.label, case.distribution))
        slot.fill(case.inputs)
        checked = not lane.trusted or case.number not in lane.seen
        if checked or slot.nbytes < self._cold:
            slot.poison()
        filled = time.perf_counter()
        try:
            call = lane.runner.call(slot, self.call_timeout)
        except RunnerFailure as failure:
            raise Refused(lane.name, failure.outcome, _placed(failure.diagnostic, case.label, case.distribution)) from failure
        finally:
            returned = time.perf_counter()
            self.cost["fill"] += filled - begin
            self.cost["calls"] += 1
            self.cost["copied"] += sum(array.nbytes for array in case.inputs)
        if checked and lane.judged:
            broken = slot.guards_broken()
            if broken is not None:
                raise Refused(lane.name, Outcome.REJECTED, _placed(broken, case.label, case.distribution))
            verdict = examine(self._problem, case, slot.outputs)
            if verdict.wrong is not None:
                raise Refused(lane.name, Outcome.WRONG, verdict.wrong)
            lane.error = max(lane.error, verdict.error)
            self.cost["checked"] += sum(array.nbytes for array in slot.outputs)
        lane.seen.add(case.number)
        self.cost["check"] += time.perf_counter() - returned
        self.cost["wait"] += returned - filled - call.seconds
        self.cost["kernel"] += call.seconds
        return call

    def conclude(self) -> None:
        """A last look at what the lanes' latest calls left behind, before their times are believed. Raises `Refused`."""
        for lane in self._lanes.values():
            for label, slots in lane.slots.items():
                for late in (slot.late_write(thoroughly=True) for slot in slots):
                    if late is not None and not lane.trusted:
                        raise Refused(lane.name, Outcome.REJECTED, _placed(late, label))

    def twice(self, lane: Lane, case: Case) -> None:
        """Two checked calls on one case, whose outputs have to agree (`fitness.verify.agree`). Raises `Refused`.

        The second answer could come from memory, so neither call may be timed.
        """
        self.call(lane, case)
        first = [output.copy() for output in self._current(lane, case).outputs]
        lane.seen.discard(case.number)
        self.call(lane, case)
        differs = agree(self._problem, case, first, self._current(lane, case).outputs)
        if differs is not None:
            raise Refused(lane.name, Outcome.WRONG, differs)

    def _current(self, lane: Lane, case: Case) -> Slot:
        """The slot of the lane's last call."""
        slots = lane.slots[case.label]
        return slots[lane.turn % len(slots)]

    def _slot(self, lane: Lane, case: Case) -> Slot:
        if case.label not in lane.slots:
            begin = time.perf_counter()
            small = self._problem.small_shapes
            self._map(lane, small if case.sizes in small else (case.sizes,))
            self.cost["map"] += time.perf_counter() - begin
        lane.turn += 1
        return self._current(lane, case)

    def _map(self, lane: Lane, shapes: Iterable[Sizes]) -> None:
        """Gives the lane slots of these shapes, mapped while empty: what a call reveals must not be mapped before its clock starts."""
        new: list[Slot] = []
        for sizes in shapes:
            label = shape_label(sizes)
            if label in lane.slots:
                continue
            try:
                needed = lane.runner.workspace_bytes(sizes)
            except RunnerFailure as failure:
                raise Refused(lane.name, failure.outcome, _placed(failure.diagnostic, label)) from failure
            lane.workspace += needed * self._pool.count(sizes)
            memory = self._referee.terms.memory
            if lane.workspace > memory:
                raise out_of_memory("load", lane.workspace, memory, "asked through workspace(), over all shapes, for")
            inherited = lane.inherited.pop(label, None)
            lane.slots[label] = self._pool.rotation(sizes, needed) if inherited is None else self._pool.refit(inherited, needed)
            new += lane.slots[label]
        lane.runner.attach(*new)


def _placed(diagnostic: Diagnostic, label: str, distribution: str | None = None) -> Diagnostic:
    """The diagnostic with the shape it happened on, and the data where there were any."""
    if "shape" in diagnostic.details:
        return diagnostic
    known = {"shape": label} if distribution is None else {"shape": label, "distribution": distribution}
    where = f"(on shape {label})" if distribution is None else f"(on shape {label}, {distribution} data)"
    return Diagnostic(diagnostic.stage, diagnostic.reason, f"{diagnostic.message} {where}", {**diagnostic.details, **known})
