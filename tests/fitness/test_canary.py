"""The canary: what counts as a machine that moved."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fitness.canary import AGAIN, Canary, Reading

USUAL, SLOW = Reading(50e-6, 80e-6), Reading(50e-6, 100e-6)


@pytest.fixture
def canary() -> Canary:
    return Canary(max(os.sched_getaffinity(0)))


def told(canary: Canary, monkeypatch: pytest.MonkeyPatch, *readings: Reading) -> Iterator[Reading]:
    """The canary looks and sees these, one after the other; returns what is left of them."""
    left = iter(readings)
    monkeypatch.setattr(canary, "look", lambda: next(left))
    return left


def test_a_reading_is_two_times_of_less_than_a_millisecond(canary: Canary) -> None:
    reading = canary.read()
    assert 0 < reading.copy < 5e-3 and 0 < reading.product < 5e-3


def test_a_slow_moment_is_not_a_slow_machine(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    told(canary, monkeypatch, USUAL, SLOW, USUAL)
    before = canary.read()
    assert before.drift(canary.read()) == 0


def test_a_machine_that_stays_slow_has_drifted_once(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    told(canary, monkeypatch, USUAL, *[SLOW] * (1 + AGAIN), SLOW)
    before = canary.read()
    after = canary.read()
    assert before.drift(after) == pytest.approx(0.25)
    assert after.drift(canary.read()) == 0


def test_a_machine_that_gets_faster_has_drifted_too(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    left = told(canary, monkeypatch, SLOW, USUAL, USUAL)
    before = canary.read()
    assert before.drift(canary.read()) == pytest.approx(0.2)
    assert next(left) is USUAL, "a fast reading needs no other"
