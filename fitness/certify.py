"""The final word: a winner measured afresh (EVALUATION.md, *Certification*).

Fresh processes, fresh secret cases, shapes the search never saw, every distribution, every baseline that can run here and
the plain seed, all interleaved. The interval is a *prediction* interval: where the next certification of the same kernel
on this machine is expected to land.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from archive import stats
from archive.evaluation import Diagnostic, Environment, Outcome, Samples
from archive.kernel import Kernel
from fitness.inputs import DISTRIBUTIONS
from fitness.problem import Sizes, shape_label
from fitness.program import Program
from fitness.protocol import Certificate, CertifiedShape, Estimate, Prepared
from fitness.shares import binding, mean_shares, strictest
from fitness.sitting import Refused
from fitness.station import IMPOSSIBLE, impossible_time
from fitness.stations import AnySitting, AnyStation, AnySupply
from fitness.targets.base import Artifact, BuildFailure
from fitness.verdicts import CIRCUMSTANTIAL

__all__ = ["CertificationError", "certify"]

WINNER = "winner"
SEED = "seed"
ROUNDS = 5
"""Paired rounds per process and shape, where memory allows so many cases of a shape at once; never fewer than LEAST_ROUNDS."""
LEAST_ROUNDS = 3
SLOW = 0.05
"""Seconds per call from which a baseline is called once per process only."""
TROUBLES = 2
"""How often the evaluator itself may fail before the certification is given up."""
TRAPPED = ("illegal_instruction", "trapped")
"""Reasons that a sanitizer's trap ends in."""

Times = dict[str, dict[str, list[list[float]]]]
"""Seconds by shape label, lane name, process, round."""


class CertificationError(Exception):
    """The evaluator failed, not the kernel: nothing was found out. The message says what failed."""


def certify(
    station: AnyStation, environment: Environment, prepared: Prepared, seed: Prepared | None, artifact_of: Callable[[Prepared], Artifact]
) -> Certificate:
    """Measures `prepared` against every baseline (and `seed`) on the problem's held-out shapes.

    A kernel that fails here gets a certificate that says so (`ok` False, with diagnostics); it never raises for a bad kernel.
    Raises `CertificationError`.
    """
    with tempfile.TemporaryDirectory(prefix="evo-certify-") as folder:
        return _certified(station, environment, prepared, seed, artifact_of, Path(folder))


def _certified(
    station: AnyStation, environment: Environment, prepared: Prepared, seed: Prepared | None, artifact_of: Callable[[Prepared], Artifact],
    folder: Path,
) -> Certificate:  # fmt: skip
    start = time.perf_counter()
    supply = station.fresh_supply()
    lanes = {WINNER: _kept(folder / WINNER, lambda: station.target.program(artifact_of(prepared)))}
    if seed is not None:
        lanes[SEED] = _kept(folder / SEED, lambda: station.target.program(artifact_of(seed)))
    lanes |= station.libraries()
    found = {} if station.mover is None else station.mover.programs(tuple(station.problem.held_out_shapes))
    movers = {}
    for number, (name, (roof, program)) in enumerate(found.items()):
        with contextlib.suppress(FileNotFoundError):  # a ceiling less
            movers[name] = roof, _copied(program, folder / f"mover-{number}")
    try:
        notes = _sanitized(station, supply, prepared.kernel)
        times, left_out = _times(station, supply, lanes | {name: program for name, (_, program) in movers.items()}, frozenset(movers))
    except Refused as refused:
        return _failed(prepared, (_finding(refused),), environment, time.perf_counter() - start)
    moved = _moved(station, times, {name: roof for name, (roof, _) in movers.items()})
    if not any(name != WINNER for name in next(iter(times.values()))):
        message = "There is nothing left to compare the kernel with: every baseline and the seed failed."
        nothing = Diagnostic("certify", "no_baseline", message)
        return _failed(prepared, (nothing, *left_out), environment, time.perf_counter() - start)
    diagnostics = (*_impossible(station, times), *notes, *left_out)
    return _certificate(station, environment, prepared, times, moved, diagnostics, time.perf_counter() - start)


def _copied(program: Program, place: Path) -> Program:
    """The program from a copy of its file, which is ours for as long as this takes: anybody may empty the cache of builds meanwhile.

    Raises FileNotFoundError.
    """
    place.mkdir(exist_ok=True)
    return replace(program, path=Path(shutil.copyfile(program.path, place / program.path.name)))


def _kept(place: Path, program_of: Callable[[], Program]) -> Program:
    """Such a copy of what `program_of` builds, if need be again. Raises `CertificationError`."""
    for _ in range(TROUBLES):
        program = program_of()
        with contextlib.suppress(FileNotFoundError):
            return _copied(program, place)
    raise CertificationError(f"the evaluator failed, not the kernel: {program.path} is gone each time it has been built")


def _sanitized(station: AnyStation, supply: AnySupply, kernel: Kernel) -> tuple[Diagnostic, ...]:
    """Runs the build that traps on undefined behaviour on small and held-out shapes; notes where it could not be tried.

    Undefined behaviour may do anything under another compiler, however right it is under this one. Raises `Refused` for it.
    """
    try:
        artifact = station.target.instrumented(kernel)
    except BuildFailure as failure:
        return (Diagnostic("certify", "not_instrumented", f"There is no build with a sanitizer: {failure.diagnostic.message}"),)
    if artifact is None:
        return ()
    wanted = [(sizes, d) for sizes in station.problem.small_shapes for d in DISTRIBUTIONS]
    wanted += [(sizes, supply.timed_distribution) for sizes in station.problem.held_out_shapes]
    with station.sitting() as sitting:
        try:
            lane = sitting.seat(WINNER, station.target.program(artifact))
            for sizes, distribution in wanted:
                case = supply.drawn(sizes, distribution, 0)
                sitting.call(lane, case)
                supply.forget(case)
        except Refused as refused:
            found = refused.diagnostic
            if refused.outcome is not Outcome.CRASH or found.reason not in TRAPPED:
                message = f"The build with a sanitizer did not finish: {found.message}"
                return (Diagnostic("certify", "not_instrumented", message, found.details),)
            message = (
                f"undefined behaviour: the build that checks for it (-fsanitize=undefined) trapped on shape {found.details.get('shape')}, "
                f"{found.details.get('distribution')} data. Look for signed overflow, a shift too far, an index beyond an array, a "
                "misaligned or null access."
            )
            raise Refused(WINNER, refused.outcome, Diagnostic("certify", "undefined_behaviour", message, found.details)) from refused
    return ()


def _moved(station: AnyStation, times: Times, roofs: dict[str, str]) -> dict[str, dict[str, float]]:
    """Seconds of the fastest program of each kind of mover, by shape label and roof; takes their lanes out of `times`."""
    found: dict[str, dict[str, float]] = {}
    for sizes in station.problem.held_out_shapes:
        rows, best = times[shape_label(sizes)], found.setdefault(shape_label(sizes), {})
        for name in roofs.keys() & rows.keys():
            seconds = _typical(station, rows.pop(name)) * (1.0 if station.mover is None else station.mover.scale(sizes))
            best[roofs[name]] = min(seconds, best.get(roofs[name], seconds))
    return found


def _times(
    station: AnyStation, supply: AnySupply, lanes: dict[str, Program], unjudged: frozenset[str]
) -> tuple[Times, tuple[Diagnostic, ...]]:
    """Paired times of all lanes that can run, process by process, and findings about the others. Raises `Refused` for the winner."""
    left_out: list[Diagnostic] = []
    doubted: set[str] = set()
    troubles = 0
    while True:
        try:
            return _all_times(station, supply, lanes, unjudged), tuple(left_out)
        except Refused as refused:
            if refused.diagnostic.reason in CIRCUMSTANTIAL and refused.lane not in doubted:
                doubted.add(refused.lane)  # whoever really does it does it again
            elif refused.outcome is Outcome.INFRASTRUCTURE_ERROR:
                troubles += 1
                if troubles > TROUBLES:
                    raise CertificationError(f"the evaluator failed, not the kernel: {refused.diagnostic.message}") from refused
            elif refused.lane == WINNER:
                raise
            else:
                # What it would be compared with cannot run here: that must not cost the winner its certificate. It is said.
                left_out.append(_finding(refused))
                lanes = {name: program for name, program in lanes.items() if name != refused.lane}


def _all_times(station: AnyStation, supply: AnySupply, lanes: dict[str, Program], unjudged: frozenset[str]) -> Times:
    """Shape by shape, in as many fresh processes of every lane as the settings say. Raises `Refused`.

    The processes of one shape are given the same cases, which are new to each of them, so that a case is made once for all.
    """
    times: Times = {shape_label(sizes): defaultdict(list) for sizes in station.problem.held_out_shapes}
    for sizes in station.problem.held_out_shapes:
        affordable = supply.memory // (2 * station.problem.footprint(sizes))
        rounds = max(LEAST_ROUNDS, min(ROUNDS, affordable))
        begun = -math.inf
        for process in range(station.settings.certify_processes):
            time.sleep(max(0.0, begun + station.spacing - time.monotonic()))
            begun = time.monotonic()
            station.pool.deal(sizes, len(lanes))
            with station.sitting() as sitting:
                sitting.seat(WINNER, lanes[WINNER])
                if process == 0:
                    _verify(sitting, supply, sizes)
                for name, program in lanes.items():
                    if name in unjudged:
                        sitting.seat(name, program, judged=False)
                    elif name != WINNER:
                        sitting.seat(name, program)
                # What is imported, compiled or looked up in a first call is nobody's time.
                for name in lanes:
                    sitting.call(sitting.lane(name), supply.timed(sizes, 0))
                cases = (supply.timed(sizes, index) for index in count(1))
                _rounds(sitting, cases, times[shape_label(sizes)], rounds)
        supply.clear()
    return times


def _impossible(station: AnyStation, times: Times) -> tuple[Diagnostic, ...]:
    """The finding when the winner was faster than this machine can be, by ceilings measured again."""
    if _best_share(station, times) > 1 / IMPOSSIBLE:
        station.raise_ceilings()
    share = _best_share(station, times)
    return (impossible_time("certify", share),) if share > 1 / IMPOSSIBLE else ()


def _best_share(station: AnyStation, times: Times) -> float:
    sizes = {shape_label(s): s for s in station.problem.held_out_shapes}
    unsure = float(station.referee.protocol.uncertainty)
    return max(station.floor(sizes[label]) / (_typical(station, rows[WINNER]) + unsure) for label, rows in times.items())


def _typical(station: AnyStation, processes: list[list[float]]) -> float:
    return stats.typical_seconds(np.concatenate([np.asarray(rounds) for rounds in processes]), only_longer=station.only_longer)


def _verify(sitting: AnySitting, supply: AnySupply, sizes: Sizes) -> None:
    lane = sitting.lane(WINNER)
    for case in supply.verification(sizes, DISTRIBUTIONS, 1):
        sitting.call(lane, case)
        supply.forget(case)
    sitting.twice(lane, supply.drawn(sizes, supply.timed_distribution, 1))


def _rounds(sitting: AnySitting, cases: Iterator[Any], times: dict[str, list[list[float]]], rounds: int) -> None:
    """Paired rounds on one shape; lanes found slow in the first are left out of the others."""
    rows: dict[str, list[float]] = defaultdict(list)
    slow: set[str] = set()
    for number in range(rounds):
        _, measured = sitting.round(cases, without=slow)
        for name, seconds in measured.items():
            rows[name].append(seconds)
            if number == 0 and name != WINNER and seconds > SLOW:
                slow.add(name)
    sitting.conclude()
    for name, seconds_list in rows.items():
        times[name].append(seconds_list)


def _certificate(
    station: AnyStation, environment: Environment, prepared: Prepared, times: Times, moved: dict[str, dict[str, float]],
    diagnostics: tuple[Diagnostic, ...], seconds: float,
) -> Certificate:  # fmt: skip
    problem = station.problem
    names = [name for name in next(iter(times.values())) if name != WINNER]
    against: dict[str, Estimate] = {}
    for name in names:
        processes = [
            [
                Samples(label, np.asarray(w[: len(b)]), np.asarray(b), station.only_longer)
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
        winner, others = _typical(station, rows[WINNER]), {name: _typical(station, rows[name]) for name in names}
        shares = {name: seconds / winner for name, seconds in station.ceilings_of(sizes, moved[label]).items()}
        share = strictest(shares) if shares else station.roof(sizes) / winner
        shapes.append(CertifiedShape(label, winner, others, share, problem.bytes_moved(sizes), problem.flops(sizes), shares))
    libraries = [name for name in names if name != SEED]
    shares = mean_shares([shape.shares for shape in shapes])
    return Certificate(
        kernel_id=prepared.kernel.id,
        ok=not any(finding.reason == "impossible_time" for finding in diagnostics),
        against=against,
        strongest=min(libraries, key=lambda name: against[name].value) if libraries else SEED,
        roofline_share=stats.geometric_mean([s.roofline_share for s in shapes if s.roofline_share is not None]),
        shares=shares,
        roofline=binding(shares),
        shapes=tuple(shapes),
        diagnostics=diagnostics,
        processes=station.settings.certify_processes,
        environment=environment.id,
        seconds=seconds,
    )


def _finding(refused: Refused) -> Diagnostic:
    message = f"{refused.lane} failed in certification: {refused.diagnostic.message}"
    return Diagnostic("certify", refused.diagnostic.reason, message, refused.diagnostic.details)


def _failed(prepared: Prepared, diagnostics: tuple[Diagnostic, ...], environment: Environment, seconds: float) -> Certificate:
    return Certificate(prepared.kernel.id, False, diagnostics=diagnostics, environment=environment.id, seconds=seconds)
