"""The empty call: no time comes out shorter than it was, or surer than it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import hostile_arena as arena
import numpy as np
import pytest

from archive.evaluation import Outcome
from fitness.failure import RunnerFailure
from fitness.null_call import NO_PROTOCOL, NullCall, Protocol
from fitness.program import Program
from fitness.referee import Referee
from fitness.slots import Slot
from fitness.verdicts import lost

SLOW, QUICK = 40e-6, 20e-6


def _times(*phases: tuple[float, int]) -> Iterator[float]:
    for seconds, count in phases:
        for number in range(count):
            yield seconds + 1e-7 * (number % 5)


def test_a_protocol_that_was_slow_when_it_was_first_measured_makes_no_kernel_faster_than_it_is() -> None:
    """A load of ten: the empty call took 41 us when the referee started, and 20 us later; a kernel of 2 us then ended up at 10 ns."""
    clock = itertools.count(0.0, 0.1)
    times = _times((SLOW, 27), (QUICK, 1000))
    null = NullCall(lambda: next(times), clock=lambda: next(clock))
    assert null.protocol.seconds >= SLOW
    wall = QUICK + 2e-6
    least = min(null.beside(wall).net(wall) for _ in range(12))
    assert least > 0.9 * 2e-6
    for _ in range(100):
        null.beside(wall)
    assert null.beside(wall).net(wall) == pytest.approx(2e-6, rel=0.5)


def test_a_time_is_never_under_the_uncertainty_of_the_empty_call() -> None:
    protocol = Protocol(20e-6, 3e-6)
    assert protocol.net(19e-6) == 3e-6
    assert protocol.net(20e-6) == 3e-6
    assert protocol.net(120e-6) == pytest.approx(100e-6)
    assert NO_PROTOCOL.net(5e-6) == pytest.approx(5e-6)


def test_a_spread_of_the_empty_call_is_its_uncertainty() -> None:
    rough, fine = itertools.cycle((20e-6, 31e-6, 31e-6, 32e-6)), itertools.cycle((20e-6, 20.2e-6))
    assert NullCall(lambda: next(rough)).protocol.uncertainty > 8e-6
    assert NullCall(lambda: next(fine)).protocol.uncertainty < 1e-6


def test_only_tiny_calls_are_accompanied_by_empty_ones() -> None:
    made = []
    clock = itertools.count(0.0, 0.1)
    null = NullCall(lambda: made.append(1) or QUICK, clock=lambda: next(clock))
    before = len(made)
    null.beside(1e-3)
    assert len(made) == before
    null.beside(30e-6)
    assert len(made) == before + 3
    null.beside(19e-6)
    assert len(made) == before + 6


def test_the_figures_outlive_the_runner_they_are_of() -> None:
    left = iter([QUICK] * 27)

    def call() -> float:
        try:
            return next(left)
        except StopIteration:
            raise lost() from None

    clock = itertools.count(0.0, 0.1)
    null = NullCall(call, clock=lambda: next(clock))
    assert null.beside(30e-6).seconds == QUICK
    assert not null.alive
    with pytest.raises(RunnerFailure):
        NullCall(call)


def test_a_kernel_of_two_microseconds_is_reported_with_what_the_clock_can_tell(tmp_path: Path) -> None:
    problem = arena.toy_problem(tmp_path)
    with Referee() as referee:
        assert referee.protocol == NO_PROTOCOL
        runner = referee.load(Program("native", arena.build(arena.KERNELS / "honest_plain.cpp")), problem)
        slots = [Slot(problem, {"n": 1000}) for _ in range(2)]
        calls = []
        for number in range(60):
            slot = slots[number % 2]
            slot.fill([np.ones(1000, np.float32)])
            slot.poison()
            calls.append(runner.call(slot, 5.0))
        assert all(call.seconds >= call.uncertainty > 0 for call in calls)
        assert all(call.seconds <= max(call.wall_seconds, call.uncertainty) for call in calls)
        assert float(np.median([call.seconds for call in calls])) > 1e-7
        assert referee.protocol.seconds > 1e-6
        runner.close()
        for slot in slots:
            slot.close()


def test_a_dead_empty_runner_costs_no_kernel_its_verdict(tmp_path: Path) -> None:
    problem = arena.toy_problem(tmp_path)
    library = arena.build(arena.KERNELS / "honest_plain.cpp")
    with Referee() as referee:
        assert arena.trial(referee, problem, library, 1000).outcome is Outcome.OK
        null, runner, _slot = referee._null["native"]
        runner.close()
        null._call = _dead
        null._last = 0.0
        assert arena.trial(referee, problem, library, 1000).outcome is Outcome.OK
        assert not null.alive
        assert arena.trial(referee, problem, library, 1000).outcome is Outcome.OK
        assert referee._null["native"][0].alive


def _dead() -> float:
    raise lost()
