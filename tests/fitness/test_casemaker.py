"""Cases made ahead by another process are what the referee would have made, and the process ends with its maker."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from fitness.casemaker import CaseMaker
from fitness.inputs import Case
from fitness.problem import Problem
from fitness.supply import CaseSupply, Wanted
from fitness.verify import judge

TINY = Problem.load(Path(__file__).resolve().parent.parent / "data" / "problems" / "tiny_norm")


def collected(maker: CaseMaker, count: int, patience: float = 20.0) -> list[tuple[Wanted, Case]]:
    deadline = time.monotonic() + patience
    found: list[tuple[Wanted, Case]] = []
    while len(found) < count and time.monotonic() < deadline:
        found += maker.collect()
        time.sleep(0.01)
    return found


def test_cases_arrive_whole_in_order_and_read_only() -> None:
    wanted = [Wanted("verify", sizes, distribution, 0) for sizes in TINY.shapes for distribution in ("normal", "sparse")]
    maker = CaseMaker(TINY, wanted, os.sched_getaffinity(0))
    try:
        found = collected(maker, len(wanted))
    finally:
        maker.close()
    assert [place for place, _ in found] == wanted
    for place, case in found:
        (x,) = case.inputs
        expected = TINY.reference(x.astype(np.float64))
        np.testing.assert_allclose(case.expected[0], expected[0], rtol=1e-6)
        assert np.array_equal(case.expected[1], expected[1])
        assert case.distribution == place.distribution and case.sizes == place.sizes
        assert not x.flags.writeable and not case.expected[0].flags.writeable
        right = [expected[0].astype(np.float32), expected[1].astype(np.int32)]
        assert judge(TINY, case, right) is None
        assert judge(TINY, case, [right[0] * np.float32(1.01), right[1]]) is not None
    assert len({case.number for _, case in found}) == len(found)
    assert len({case.inputs[0].tobytes() for _, case in found}) == len(found), "no two alike: the entropy is fresh"


def test_a_supply_takes_what_was_made_elsewhere_once() -> None:
    supply = CaseSupply(TINY)
    place = supply.to_time(TINY.shapes[0], 3)
    maker = CaseMaker(TINY, [place, place], os.sched_getaffinity(0))
    try:
        (_, first), (_, second) = collected(maker, 2)
    finally:
        maker.close()
    assert not supply.has(place)
    supply.adopt(place, first)
    supply.adopt(place, second)
    assert supply.has(place) and supply.timed(TINY.shapes[0], 3) is first and supply.nbytes == first.nbytes


def test_closing_ends_the_process_in_the_middle_of_its_work() -> None:
    maker = CaseMaker(TINY, [Wanted("time", TINY.shapes[0], "normal", index) for index in range(1_000_000)], os.sched_getaffinity(0))
    pid = maker._pid
    maker.close()
    maker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
