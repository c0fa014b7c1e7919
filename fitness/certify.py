"""The final word: a winner measured afresh (EVALUATION.md, *Certification*).

Fresh processes, fresh secret cases, shapes the search never saw, every distribution, every baseline that can run here and
the plain seed, all interleaved. The interval is a *prediction* interval: where the next certification of the same kernel
on this machine is expected to land.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import count

import numpy as np

from archive import stats
from archive.evaluation import Diagnostic, Environment, Samples
from fitness.inputs import DISTRIBUTIONS, Case, CaseSupply
from fitness.problem import Sizes, shape_label
from fitness.protocol import Certificate, CertifiedShape, Estimate, Prepared
from fitness.sitting import Refused, Sitting
from fitness.station import Station, baseline_names, baseline_program
from fitness.targets.base import Artifact

__all__ = ["certify"]

WINNER = "winner"
SEED = "seed"
ROUNDS = 3
"""Paired rounds per process and shape."""
SLOW = 0.05
"""Seconds per call from which a baseline is called once per process only."""

Times = dict[str, dict[str, list[list[float]]]]
"""Seconds by shape label, lane name, process, round."""


def certify(
    station: Station, environment: Environment, prepared: Prepared, seed: Prepared | None, artifact_of: Callable[[Prepared], Artifact]
) -> Certificate:
    """Measures `prepared` against every baseline (and `seed`) on the problem's held-out shapes.

    A kernel that fails here gets a certificate that says so (`ok` False, with diagnostics); it never raises for a bad kernel.
    """
    start = time.perf_counter()
    problem, settings = station.problem, station.settings
    supply = CaseSupply(problem)
    times: Times = {shape_label(s): defaultdict(list) for s in problem.held_out_shapes}
    lanes = {WINNER: station.target.program(artifact_of(prepared))}
    if seed is not None:
        lanes[SEED] = station.target.program(artifact_of(seed))
    diagnostics: list[Diagnostic] = []
    fresh = {shape_label(s): _fresh_cases(supply, s) for s in problem.held_out_shapes}
    libraries = {name: baseline_program(problem, name) for name in baseline_names(problem)}
    process = 0
    while process < settings.certify_processes:
        with station.sitting() as sitting:
            try:
                for name, program in lanes.items():
                    sitting.seat(name, program)
                if process == 0:
                    _verify(sitting, supply, problem.held_out_shapes)
                for name, program in libraries.items():
                    sitting.seat(name, program)
                for label, cases in fresh.items():
                    _rounds(sitting, cases, times[label])
            except Refused as refused:
                if refused.lane in libraries:
                    # A baseline that cannot run here must not cost the winner its certificate: it is left out, and said to be.
                    diagnostics.append(_finding(refused))
                    del libraries[refused.lane]
                    times = {label: defaultdict(list) for label in times}
                    process = 0
                    continue
                return _failed(prepared, refused, environment, process + 1, time.perf_counter() - start)
        process += 1
    return _certificate(station, environment, prepared, times, tuple(diagnostics), time.perf_counter() - start)


def _fresh_cases(supply: CaseSupply, sizes: Sizes) -> Iterator[Case]:
    """Timed cases that no runner has seen, one after another, each freed once the next is asked for."""
    for index in count():
        case = supply.timed(sizes, index)
        yield case
        supply.forget(case)


def _verify(sitting: Sitting, supply: CaseSupply, shapes: tuple[Sizes, ...]) -> None:
    lane = sitting.lane(WINNER)
    for sizes in shapes:
        for case in supply.verification(sizes, DISTRIBUTIONS, 1):
            sitting.call(lane, case)
            supply.forget(case)


def _rounds(sitting: Sitting, cases: Iterator[Case], times: dict[str, list[list[float]]]) -> None:
    """ROUNDS paired rounds on one shape; lanes found slow in the first are left out of the others."""
    rows: dict[str, list[float]] = defaultdict(list)
    slow: set[str] = set()
    for number in range(ROUNDS):
        _, measured = sitting.round(cases, without=slow)
        for name, seconds in measured.items():
            rows[name].append(seconds)
            if number == 0 and name != WINNER and seconds > SLOW:
                slow.add(name)
    for name, seconds_list in rows.items():
        times[name].append(seconds_list)


def _certificate(
    station: Station, environment: Environment, prepared: Prepared, times: Times, diagnostics: tuple[Diagnostic, ...], seconds: float
) -> Certificate:
    problem = station.problem
    names = [name for name in next(iter(times.values())) if name != WINNER]
    against: dict[str, Estimate] = {}
    for name in names:
        processes = [
            [
                Samples(label, np.asarray(w[: len(b)]), np.asarray(b))
                for label, rows in times.items()
                for w, b in [(rows[WINNER][p], rows[name][p])]
            ]
            for p in range(station.settings.certify_processes)
        ]
        estimate = stats.prediction_interval(processes)
        against[name] = Estimate(math.exp(estimate.value), math.exp(estimate.low), math.exp(estimate.high))
    shapes = []
    for sizes in problem.held_out_shapes:
        label = shape_label(sizes)
        rows = times[label]
        median = {name: float(np.median(np.concatenate([np.asarray(p) for p in rows[name]]))) for name in (WINNER, *names)}
        winner = median.pop(WINNER)
        shapes.append(
            CertifiedShape(label, winner, median, station.floor(sizes) / winner, problem.bytes_moved(sizes), problem.flops(sizes)),
        )
    libraries = [name for name in names if name != SEED]
    return Certificate(
        kernel_id=prepared.kernel.id,
        ok=True,
        against=against,
        strongest=min(libraries, key=lambda name: against[name].value) if libraries else SEED,
        roofline_share=stats.geometric_mean([s.roofline_share for s in shapes if s.roofline_share is not None]),
        shapes=tuple(shapes),
        diagnostics=diagnostics,
        processes=station.settings.certify_processes,
        environment=environment.id,
        seconds=seconds,
    )


def _finding(refused: Refused) -> Diagnostic:
    message = f"{refused.lane} failed in certification: {refused.diagnostic.message}"
    return Diagnostic("certify", refused.diagnostic.reason, message, refused.diagnostic.details)


def _failed(prepared: Prepared, refused: Refused, environment: Environment, processes: int, seconds: float) -> Certificate:
    diagnostics = (_finding(refused),)
    return Certificate(prepared.kernel.id, False, diagnostics=diagnostics, processes=processes, environment=environment.id, seconds=seconds)
