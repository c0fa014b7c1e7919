"""The cascade: one kernel from text to evaluation, cheapest stage first; each stage can end it (EVALUATION.md).

`MeasuringEvaluator.prepare` runs policy, build and description (any thread, many at once); `measure` runs verification,
screening, timing, canary and roofline on the device. Identity (stage 1) belongs to the engine, which knows the lineage.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from archive import stats
from archive.evaluation import Diagnostic, Environment, Evaluation, Outcome, Samples
from archive.kernel import Kernel
from archive.space import Space
from archive.tunables import TunableError, Value
from fitness.canary import Reading
from fitness.certify import certify
from fitness.environment import environment_of
from fitness.inputs import Case
from fitness.problem import Problem, shape_label
from fitness.protocol import Bar, Certificate, Duel, EvaluationSettings, Prepared
from fitness.proving import proofs
from fitness.sitting import Refused
from fitness.station import IMPOSSIBLE, SEARCH_BASELINE, Station, impossible_time, referee_cores
from fitness.stations import AnySitting, AnyStation
from fitness.targets.base import Artifact, BuildFailure, Target
from fitness.timing import Enough, Timed, settle_rounds, time_rounds
from fitness.verdicts import CIRCUMSTANTIAL

__all__ = ["CANARY_DRIFT", "MeasuringEvaluator"]

KERNEL = "kernel"
INCUMBENT = "incumbent"
BEFORE = ("build", "describe")
"""Costs of `prepare`."""
CANARY_DRIFT = 0.03
BLUR = 0.2
"""Share of a time from which its uncertainty is worth a note."""
FRESH = 0.2
"""Seconds for which a canary's reading at the end of one measurement serves as that at the beginning of the next."""


class BaselineFailed(Exception):
    """The problem's own baseline could not be run."""

    def __init__(self, problem: str, refused: Refused) -> None:
        super().__init__(f"the {refused.lane} baseline of problem {problem} failed: {refused.diagnostic.message}")


class MeasuringEvaluator:
    """Implements `fitness.protocol.Evaluator` for targets that build and run. Pickle the arguments, not the evaluator."""

    inline = False
    deterministic = False
    baseline = SEARCH_BASELINE
    """Name of the baseline that the objective is relative to."""
    idle: Callable[[], bool] | None = None
    """Asked while a kernel is timed: whether nobody waits for the device, so that more repetitions cost nothing (`fitness.timing.FREE`).
    None: somebody always does."""

    def __init__(self, problem: Problem, target: Target, settings: EvaluationSettings) -> None:
        self.problem = problem
        self.target = target
        self.settings = settings
        self._station: AnyStation | None = None
        self._environment: Environment | None = None
        self._canary: tuple[float, Reading] | None = None

    @property
    def held_cores(self) -> frozenset[int]:
        """The cores that timing has to itself; whatever else runs should keep off them."""
        return referee_cores(self.settings)

    @property
    def station(self) -> AnyStation:
        if self._station is None:
            self._station = Station(self.problem, self.target, self.settings)
        return self._station

    def environment(self) -> Environment:
        if self._environment is None:
            self._environment = environment_of(self.problem, self.target, self.settings)
        return self._environment

    def seeds(self) -> Sequence[Kernel]:
        return [self.problem.seed_kernel(self.target.name)]

    def space(self, kernel: Kernel) -> Space:
        return kernel.space

    def close(self) -> None:
        if self._station is not None:
            self._station.close()
            self._station = None

    def warm(self) -> None:
        """Opens the device ahead of the first measurement, in the process that measures. A failure shows in that measurement."""
        try:
            self.station.warm()
        except Exception:
            self.close()

    # -- off the device ----------------------------------------------------------------------------------------------

    def prepare(self, kernel: Kernel) -> Prepared:
        start = time.perf_counter()
        try:
            refused = self.target.policy(kernel)
            if refused is not None:
                return self._unprepared(kernel, Outcome.REJECTED, refused, start)
            artifact = self.target.build(kernel)
            built = time.perf_counter()
            profile = self.target.describe(artifact, kernel, self.problem)
        except BuildFailure as failure:
            return self._unprepared(kernel, failure.outcome, failure.diagnostic, start)
        except TunableError as error:
            return self._unprepared(kernel, Outcome.BUILD_ERROR, Diagnostic("build", "malformed_tunable", str(error)), start)
        except Exception as error:
            return self._unprepared(kernel, Outcome.INFRASTRUCTURE_ERROR, _unexpected("build", error), start)
        cost = {"build": built - start, "describe": time.perf_counter() - built}
        return Prepared(kernel, profile, artifact.hash, artifact, None, cost)

    def _unprepared(self, kernel: Kernel, outcome: Outcome, diagnostic: Diagnostic, start: float) -> Prepared:
        cost = {"build": time.perf_counter() - start}
        failed = Evaluation(kernel.id, outcome, (diagnostic,), cost=cost, environment=self.environment().id)
        return Prepared(kernel, failed=failed, cost=cost)

    # -- on the device -----------------------------------------------------------------------------------------------

    def measure(self, prepared: Prepared, bar: Bar | None = None) -> Evaluation:
        if prepared.failed is not None:
            return prepared.failed
        try:
            try:
                return self._believed(prepared, bar)
            except BaselineFailed:
                # Ours, and it ran before: a fresh runner, once, before the machine is blamed.
                self.station.dismiss_baseline()
                return self._believed(prepared, bar)
        except Exception as error:
            self.close()
            return self._evaluation(prepared, Outcome.INFRASTRUCTURE_ERROR, (_unexpected("time", error),), {})

    def _believed(self, prepared: Prepared, bar: Bar | None) -> Evaluation:
        """Measures, and again where the first reading may not be believed: the machine moved, the time is impossible, or the
        accounts say that the kernel worked off the clock, which on a busy machine can be somebody else's time."""
        evaluation = self._measure(prepared, bar)
        if _circumstantial(evaluation):
            evaluation = _after(evaluation, self._measure(prepared, bar))  # whoever really does it does it again
        if evaluation.ok and float(evaluation.profile["canary_drift"]) > CANARY_DRIFT and not _screened(evaluation):
            evaluation = _after(evaluation, self._measure(prepared, bar))
        if _impossible(evaluation):
            # A busy neighbour can have made the ceilings too low: they are measured again before the kernel is doubted.
            self.station.raise_ceilings()
            evaluation = self._quarantine(_after(evaluation, self._measure(prepared, None)))
        return evaluation

    def _measure(self, prepared: Prepared, bar: Bar | None) -> Evaluation:
        station = self.station
        wall, cpu = time.perf_counter(), time.process_time()
        before = self._canary_before()
        canary = time.perf_counter() - wall
        with station.sitting() as sitting:
            try:
                lane = sitting.seat(KERNEL, self.target.program(self._artifact(prepared)))
                self._verify(sitting, lane)
                station.seat_baseline(sitting)
                timed = self._time(sitting, KERNEL, bar)
                errors = _accuracy(sitting.lane(KERNEL))
            except Refused as refused:
                if refused.lane == self.baseline:
                    raise BaselineFailed(self.problem.name, refused) from refused
                cost = {**prepared.cost, **sitting.cost, "measure": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
                return self._evaluation(prepared, refused.outcome, (refused.diagnostic,), cost)
        samples = timed.samples[KERNEL]
        begin = time.perf_counter()
        after = station.canary.read()
        self._canary = time.monotonic(), after
        canary += time.perf_counter() - begin
        drift = before.drift(after)
        statistics = time.perf_counter()
        facts = self._achieved(samples) | errors | {"canary_drift": drift}
        summary = stats.summarise(samples)
        done = time.perf_counter()
        cost = {**prepared.cost, **sitting.cost, "canary": canary, "statistics": done - statistics}
        cost |= {"measure": done - wall, "cpu": time.process_time() - cpu}
        notes = timed.diagnostics or _blurred(samples, float(facts["seconds_uncertainty"]))
        return self._evaluation(prepared, Outcome.OK, notes, cost, samples, summary, facts)

    def _canary_before(self) -> Reading:
        """How fast the device runs now; the reading at the end of a measurement just before serves."""
        if self._canary is not None and time.monotonic() - self._canary[0] < FRESH:
            return self._canary[1]
        return self.station.canary.read()

    def _artifact(self, prepared: Prepared) -> Artifact:
        """The built artifact, built again when somebody emptied the cache meanwhile."""
        artifact = prepared.handle
        assert isinstance(artifact, Artifact)
        return artifact if artifact.path.exists() else self.target.build(prepared.kernel)

    def _verify(self, sitting: AnySitting, lane: Any) -> None:
        """Raises `Refused`."""
        for case, twice in proofs(self.problem, self.station.supply):
            (sitting.twice if twice else sitting.call)(lane, case)

    def _time(self, sitting: AnySitting, name: str, bar: Bar | None = None) -> Timed:
        return time_rounds(sitting, self._cases, name, self.baseline, bar=bar, idle=self.idle, **self._enough())

    def _enough(self) -> Enough:
        return {"cap": self.settings.repetitions, "precision": self.settings.precision}

    def _cases(self) -> dict[str, Iterator[Case]]:
        return {shape_label(sizes): self.station.timed_cases(sizes) for sizes in self.problem.shapes}

    def _achieved(self, samples: tuple[Samples, ...]) -> dict[str, Value]:
        """Bandwidth (bytes/s), rate (FLOP/s) and share of the roofline, geometric means over shapes. `roofline_share_best`, by which
        impossible times are told, allows for what is not known of the time (`seconds_uncertainty`)."""
        unsure = self.station.referee.protocol.uncertainty
        sizes = {shape_label(s): s for s in self.problem.shapes}
        times = {s.shape: stats.typical_seconds(s.seconds, only_longer=s.only_longer) for s in samples}
        shares = [self.station.roof(sizes[label]) / t for label, t in times.items()]
        return {
            "bandwidth": stats.geometric_mean([self.problem.bytes_moved(sizes[label]) / t for label, t in times.items()]),
            "flop_rate": stats.geometric_mean([max(1, self.problem.flops(sizes[label])) / t for label, t in times.items()]),
            "roofline_share": stats.geometric_mean(shares),
            "roofline_share_best": max(self.station.floor(sizes[label]) / (t + unsure) for label, t in times.items()),
            "seconds": stats.geometric_mean(list(times.values())),
            "seconds_uncertainty": unsure,
        }

    def _quarantine(self, again: Evaluation) -> Evaluation:
        """A time below the physical floor, twice: refused, with what was seen."""
        if not _impossible(again):
            return again
        diagnostic = impossible_time("roofline", float(again.profile["roofline_share_best"]))
        return replace(again, outcome=Outcome.REJECTED, diagnostics=(diagnostic,), objective=None, interval=None)

    def _evaluation(
        self,
        prepared: Prepared,
        outcome: Outcome,
        diagnostics: tuple[Diagnostic, ...],
        cost: dict[str, float],
        samples: tuple[Samples, ...] = (),
        summary: stats.Interval | None = None,
        facts: dict[str, Value] | None = None,
    ) -> Evaluation:
        objective, interval = (None, None) if summary is None else (summary.value, (summary.low, summary.high))
        return Evaluation(
            prepared.kernel.id, outcome, diagnostics, objective, interval, samples, {**prepared.profile, **(facts or {})}, cost,
            prepared.artifact, self.environment().id,
        )  # fmt: skip

    # -- two kernels, and the final word -----------------------------------------------------------------------------

    def duel(self, challenger: Prepared, incumbent: Prepared) -> Duel:
        """Both kernels and the baseline interleaved in one sitting, held again where accounts of time alone would decide it.

        Raises RuntimeError when neither can be measured any more.
        """
        try:
            duel = self._duel(challenger, incumbent)
        except BaselineFailed:
            # Ours, and it ran before: a fresh runner, once, before the machine is blamed.
            self.station.dismiss_baseline()
            return self._duel(challenger, incumbent)
        return self._duel(challenger, incumbent) if _circumstantial(duel.challenger) or _circumstantial(duel.incumbent) else duel

    def _duel(self, challenger: Prepared, incumbent: Prepared) -> Duel:
        """Raises `BaselineFailed` too."""
        prepared = {KERNEL: challenger, INCUMBENT: incumbent}
        wall = time.perf_counter()
        with self.station.sitting() as sitting:
            try:
                for name, one in prepared.items():
                    sitting.seat(name, self.target.program(self._artifact(one)))
                self.station.seat_baseline(sitting)
                timed = settle_rounds(sitting, self._cases, (KERNEL, INCUMBENT), self.baseline, **self._enough())
                errors = {name: _accuracy(sitting.lane(name)) for name in prepared}
            except Refused as refused:
                return self._walkover(prepared, refused, dict(sitting.cost))
        cost, samples = {**sitting.cost, "measure": time.perf_counter() - wall}, timed.samples
        facts = {name: self._achieved(samples[name]) | errors[name] for name in prepared}
        evaluations = {
            name: self._evaluation(one, Outcome.OK, (), cost, samples[name], stats.summarise(samples[name]), facts[name])
            for name, one in prepared.items()
        }
        advantage = stats.summarise(timed.duel)
        return Duel(advantage.value, (advantage.low, advantage.high), evaluations[KERNEL], evaluations[INCUMBENT])

    def _walkover(self, prepared: dict[str, Prepared], refused: Refused, cost: dict[str, float]) -> Duel:
        """One of the two failed when called again: the other wins, and the failure is recorded as what it is."""
        if refused.lane not in prepared:
            raise BaselineFailed(self.problem.name, refused) from refused
        failed = self._evaluation(prepared[refused.lane], refused.outcome, (refused.diagnostic,), cost)
        other = INCUMBENT if refused.lane == KERNEL else KERNEL
        stands = self._measure(prepared[other], None)
        if refused.lane == KERNEL:
            return Duel(-np.inf, (-np.inf, -np.inf), failed, stands)
        return Duel(np.inf, (np.inf, np.inf), stands, failed)

    def certify(self, prepared: Prepared, seed: Prepared | None = None) -> Certificate:
        return certify(self.station, self.environment(), prepared, seed, self._artifact)


def _after(first: Evaluation, second: Evaluation) -> Evaluation:
    """The second measurement of one kernel, at the cost of both (what was spent before either, on the build, is in each)."""
    spent = {name: first.cost.get(name, 0.0) + second.cost.get(name, 0.0) for name in {**first.cost, **second.cost} if name not in BEFORE}
    return replace(second, cost={**second.cost, **spent})


def _accuracy(lane: Any) -> dict[str, Value]:
    """`error` (`fitness.verify.Verdict`), the largest over all calls that were checked; nothing where the device does not tell it."""
    return {} if lane.error is None else {"error": lane.error}


def _circumstantial(evaluation: Evaluation) -> bool:
    """Whether it was refused on grounds that a disturbed machine gives as well."""
    return evaluation.outcome is Outcome.REJECTED and evaluation.diagnostics[0].reason in CIRCUMSTANTIAL


def _blurred(samples: tuple[Samples, ...], uncertainty: float) -> tuple[Diagnostic, ...]:
    """The note that a kernel is too fast for its time to be known well."""
    seconds, shape = min((stats.typical_seconds(s.seconds, only_longer=s.only_longer), s.shape) for s in samples)
    if uncertainty < BLUR * seconds:
        return ()
    message = (
        f"on shape {shape} a call takes {1e6 * seconds:.1f} us and may take up to {1e6 * uncertainty:.1f} us less: the empty call itself "
        "varies so much here. Times and speedups of so short calls are the least that is sure; larger shapes tell more."
    )
    return (Diagnostic("time", "near_resolution", message, {"shape": shape, "seconds": seconds, "uncertainty": uncertainty}),)


def _screened(evaluation: Evaluation) -> bool:
    return any(d.stage == "screen" for d in evaluation.diagnostics)


def _impossible(evaluation: Evaluation) -> bool:
    return evaluation.ok and float(evaluation.profile.get("roofline_share_best", 0.0)) > 1 / IMPOSSIBLE


def _unexpected(stage: str, error: Exception) -> Diagnostic:
    trace = "".join(traceback.format_exception(error))
    message = f"the evaluator failed, not the kernel: {type(error).__name__}: {error}"
    return Diagnostic(stage, "evaluator_error", message, {"traceback": trace[-4000:]})
