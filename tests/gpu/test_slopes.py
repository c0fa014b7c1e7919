"""Seconds per call from batches of two sizes."""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest

from archive.evaluation import Outcome
from fitness.gpu.sitting import BESIDE, LASTING, REPEATS, RETRIES, GpuSitting
from fitness.sitting import Refused

FLOOR = 50e-6
CALL = 60e-6
OVERHEAD = 1e-3


class Scripted(GpuSitting):
    """A sitting whose batches take what `extra` adds to an ideal device's time."""

    def __init__(self, extra: Any) -> None:
        station: Any = SimpleNamespace(floor=lambda sizes: FLOOR, overheads=defaultdict(list))
        super().__init__(station, SimpleNamespace(), SimpleNamespace(), SimpleNamespace(), call_timeout=1.0)  # type: ignore[arg-type]
        self.extra, self.batches = extra, 0

    def _batch(self, lane: Any, cases: list[Any], *, gated: bool = False, **_: Any) -> float:
        self.batches += 1
        self.calls = len(cases)
        return (BESIDE if gated else OVERHEAD) + CALL * len(cases) + float(self.extra(self.batches, len(cases)))


def slope(sitting: Scripted, n: int = 20) -> float:
    lane: Any = SimpleNamespace(name="kernel")
    pool: list[Any] = [SimpleNamespace(sizes={}, label="n=1")] * (3 * n)
    return sitting._slope(lane, pool, n)


def test_what_every_batch_costs_drops_out() -> None:
    assert slope(Scripted(lambda batch, calls: 0.0)) == pytest.approx(CALL)


def test_a_batch_that_was_disturbed_once_changes_nothing() -> None:
    assert slope(Scripted(lambda batch, calls: 5e-3 if batch == 2 else 0.0)) == pytest.approx(CALL)


def test_a_slope_that_the_device_cannot_reach_is_measured_again() -> None:
    sitting = Scripted(lambda batch, calls: 1.1e-3 if calls == 20 and batch <= 2 * REPEATS else 0.0)
    assert slope(sitting) == pytest.approx(CALL)
    assert sitting.batches == 4 * REPEATS


def test_a_time_that_stays_impossible_is_handed_on_to_the_roofline_check() -> None:
    assert slope(Scripted(lambda batch, calls: -50e-6 * calls)) == pytest.approx(10e-6)


def test_batches_that_take_no_longer_with_more_calls_are_refused() -> None:
    with pytest.raises(Refused) as refused:
        slope(Scripted(lambda batch, calls: -CALL * calls))
    assert refused.value.outcome is Outcome.REJECTED
    assert refused.value.diagnostic.reason == "impossible_time"
    assert str(RETRIES) in refused.value.diagnostic.message


def paced(sitting: Scripted, rounds: int = 1) -> list[float]:
    lane: Any = SimpleNamespace(name="kernel", pace={}, steady=set())
    supply: Any = SimpleNamespace(pool=lambda sizes, count: [SimpleNamespace(sizes=sizes)] * count)
    return [sitting._paced(lane, supply, {"n": 1}, 48) for _ in range(rounds)]


def test_behind_the_gate_two_batches_are_enough() -> None:
    sitting = Scripted(lambda batch, calls: 0.0)
    assert paced(sitting) == pytest.approx([CALL])
    assert sitting.batches == 2


def test_a_gated_pair_that_was_disturbed_is_measured_again() -> None:
    sitting = Scripted(lambda batch, calls: 1e-3 if batch == 1 else 0.0)
    assert paced(sitting) == pytest.approx([CALL])
    assert sitting.batches == 4


def test_the_least_disturbed_of_all_pairs_counts() -> None:
    sitting = Scripted(lambda batch, calls: (0.9e-3 if batch < 5 else 0.3e-3) if calls > 12 else 0.0)
    assert paced(sitting)[0] < CALL + 0.4e-3 / 20
    assert sitting.batches == 2 * RETRIES


def test_slow_kernels_get_shorter_batches() -> None:
    sitting = Scripted(lambda batch, calls: 1e-3 * calls)
    paced(sitting, rounds=2)
    assert sitting.calls <= 4


def test_gated_batches_that_take_no_longer_with_more_calls_are_refused() -> None:
    with pytest.raises(Refused) as refused:
        paced(Scripted(lambda batch, calls: -CALL * calls))
    assert refused.value.diagnostic.reason == "impossible_time"


def test_large_gated_batches_last_long_enough() -> None:
    largest = 0
    sitting = Scripted(lambda batch, calls: 0.0)
    for _ in range(4):
        paced(sitting)
        largest = max(largest, sitting.calls)
    assert largest * FLOOR > 0.2 * LASTING
