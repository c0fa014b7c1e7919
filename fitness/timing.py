"""Rounds of paired calls until enough is known (EVALUATION.md, *Time*): the interval is narrow, the cap is reached and somebody waits
for the device, or the candidate is hopeless.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from archive import stats
from archive.evaluation import Diagnostic, Samples
from fitness.protocol import Bar
from fitness.racing import SCREEN_ROUNDS, hopeless
from fitness.stations import AnySitting

__all__ = ["EXCHANGE", "LONGER", "SURE_ROUNDS", "Enough", "Timed", "settle_rounds", "time_rounds"]

MIN_ROUNDS = 4
"""Rounds before an interval is believed."""
LONGER = 4
"""How many times more rounds a duel may take than one candidate's timing: two kernels 5 % apart whose pairs scatter by 16 %, as
memory-bound ones do beside busy neighbours, are ordered rightly 95 % of the time after some 44 rounds and 82 % after 24; pairs are
independent of each other then (experiments/results/noise.txt)."""
EXCHANGE = 8
"""Rounds after which the lanes of a duel change slots. Which pages of memory an argument lies in makes up to a third of difference to a
kernel that picks rows or goes down columns, 8 % to one that streams; after two such halves both lanes have had the same."""
SURE_ROUNDS = 2 * EXCHANGE
"""Rounds before a duel may be decided early, and in steps of which; half as many where lanes have no slots of their own."""
SURE = 2.5758 / 1.96
"""A duel is looked at after every round, so it ends early only on a 99 % interval: this much wider than the 95 % one."""
FREE = 8
"""How many times as many rounds as its cap one candidate's timing may take while nobody waits for the device. Beside busy neighbours on a
shared host, speedups of 16 rounds of a kernel that streams lie within 3 % of their median in 81 to 91 % of evaluations, of 128 rounds in
all (experiments/results/noise.txt)."""
FREE_SECONDS = 3.0
"""What these may take, for the search may wait for the result though nobody waits for the device."""
TIME_LIMIT = 4.0
"""Seconds inside kernels after which a slow candidate is not repeated further."""

Seconds = dict[str, dict[str, list[float]]]
"""Seconds by shape label, lane name, round."""


class Enough(TypedDict):
    """When one candidate's timing ends: after `cap` rounds, or once its 95 % interval is `precision` wide (ln)."""

    cap: int
    precision: float


@dataclass(frozen=True, slots=True, eq=False)
class Timed:
    samples: Mapping[str, tuple[Samples, ...]]
    """By lane: one entry per shape, each paired with the baseline lane."""
    diagnostics: tuple[Diagnostic, ...]
    """Why it ended early, when it did."""
    duel: tuple[Samples, ...] = ()
    """The first lane paired with the second as its baseline, over all rounds, where two lanes fought (`settle_rounds`)."""


def time_rounds(
    sitting: AnySitting,
    fresh: Callable[[], Mapping[str, Iterator[Any]]],
    name: str,
    baseline: str,
    *,
    cap: int,
    precision: float,
    bar: Bar | None = None,
    idle: Callable[[], bool] | None = None,
) -> Timed:
    """Times the lane `name` against the lane `baseline`; a round is one call of both on every shape.

    `fresh()` gives cases by shape label that no runner of the sitting has seen, `cap` the most rounds while somebody waits for the device,
    `precision` the width in ln of the 95 % interval at which to stop. `idle()` tells whether nobody waits: then rounds beyond `cap` cost
    nothing, and go on in new runners until the interval is narrow, for FREE * `cap` rounds or FREE_SECONDS at most, unless the kernel is
    clearly slower than the `bar`. Raises `fitness.sitting.Refused`.
    """
    cases = fresh()
    seconds: Seconds = {label: {lane: [] for lane in (name, baseline)} for label in cases}
    ended: Diagnostic | None = None
    left, free_until = cap, 0.0
    for done in range(1, FREE * cap + 1):
        if done == cap + 1:
            free_until = time.perf_counter() + FREE_SECONDS
        if done > cap and (idle is None or not idle() or not sitting.exchanges or time.perf_counter() > free_until):
            break
        if left == 0:
            if bar is not None and stats.clearly_worse(_paired(seconds, name, baseline, sitting.only_longer), bar.samples):
                break
            cases, left = fresh(), cap
            _exchange(sitting, cases, (name,))
        left -= 1
        try:
            _round(sitting, cases, seconds)
        except StopIteration:  # spoilt rounds have used cases up
            if done <= cap:
                break
            left = 0
            continue
        if done <= cap:
            ended = _reason_to_stop(seconds, name, baseline, done, sitting.cost["kernel"], bar)
            if ended is not None:
                break
        if done >= MIN_ROUNDS and _precise(_paired(seconds, name, baseline, sitting.only_longer), precision):
            break
    sitting.conclude()
    return Timed({name: _paired(seconds, name, baseline, sitting.only_longer)}, () if ended is None else (ended,))


def settle_rounds(
    sitting: AnySitting, fresh: Callable[[], Mapping[str, Iterator[Any]]], names: tuple[str, str], baseline: str, *, cap: int,
    precision: float,
) -> Timed:  # fmt: skip
    """Times two lanes, which change slots in between, until it is plain which is faster, they are known to be equal within `precision`, or
    LONGER * `cap` rounds are done. The baseline takes part in the first `cap` rounds.

    `fresh()` gives cases by shape label that no runner of the sitting has seen; asked again whenever lanes change slots, since both are
    then in new runners. Raises `fitness.sitting.Refused`.
    """
    cases = fresh()
    seconds: Seconds = {label: {name: [] for name in (*names, baseline)} for label in cases}
    step = SURE_ROUNDS if sitting.exchanges else EXCHANGE
    most = -(-LONGER * cap // step) * step
    for done in range(1, most + 1):
        try:
            _round(sitting, cases, seconds, without=() if done <= cap else (baseline,))
            if done >= SCREEN_ROUNDS and sitting.cost["kernel"] > TIME_LIMIT:
                break
            if done % EXCHANGE:
                continue
            if done == most or (done % step == 0 and _decided(_paired(seconds, *names, sitting.only_longer), precision)):
                break
            if sitting.exchanges:
                cases = fresh()
                _exchange(sitting, cases, names)
        except StopIteration:
            break
    sitting.conclude()
    only_longer = sitting.only_longer
    each = {name: _paired(seconds, name, baseline, only_longer) for name in names}
    return Timed(each, (), _paired(seconds, *names, only_longer))


def _exchange(sitting: AnySitting, cases: Mapping[str, Iterator[Any]], names: tuple[str, ...]) -> None:
    """Has lanes change slots, or one begin anew; their first calls thereafter, which fault in what the programs need, are nobody's time."""
    sitting.exchange(*names)
    for each in cases.values():
        case = next(each)
        for name in names:
            sitting.call(sitting.lane(name), case)


def _decided(duel: tuple[Samples, ...], precision: float) -> bool:
    found = stats.summarise(duel)
    surely_apart = found.value - SURE * (found.value - found.low) > 0 or found.value + SURE * (found.high - found.value) < 0
    return surely_apart or found.high - found.low <= precision


def _round(sitting: AnySitting, cases: Mapping[str, Iterator[Any]], seconds: Seconds, *, without: Collection[str] = ()) -> None:
    for label, fresh in cases.items():
        _, measured = sitting.round(fresh, without=without)
        for name, value in measured.items():
            seconds[label][name].append(value)


def _reason_to_stop(seconds: Seconds, name: str, baseline: str, done: int, spent: float, bar: Bar | None) -> Diagnostic | None:
    if bar is not None and done == SCREEN_ROUNDS:
        ratios = [np.log(rows[baseline]) - np.log(rows[name]) for rows in seconds.values()]
        if hopeless(ratios, bar):
            elite = f"{np.exp(bar.objective):.3g}x"
            message = f"stopped after {done} rounds: even its optimistic bound is slower than the elite of its cell ({elite})"
            return Diagnostic("screen", "clearly_worse", message, {"bar": bar.kernel_id, "bar_objective": bar.objective})
    if done >= SCREEN_ROUNDS and spent > TIME_LIMIT:
        return Diagnostic("time", "slow", f"{done} rounds took more than {TIME_LIMIT:g} s inside kernels; not repeated further")
    return None


def _precise(samples: tuple[Samples, ...], precision: float) -> bool:
    summary = stats.summarise(samples)
    return summary.high - summary.low <= precision


def _paired(seconds: Seconds, name: str, baseline: str, only_longer: bool) -> tuple[Samples, ...]:
    """One lane's samples; a round that broke off half-way leaves shapes with different counts, which is harmless."""
    found = []
    for label, rows in seconds.items():
        n = min(len(rows[name]), len(rows[baseline]))
        found.append(Samples(label, _floats(rows[name][:n]), _floats(rows[baseline][:n]), only_longer))
    return tuple(found)


def _floats(values: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)
