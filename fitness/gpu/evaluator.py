"""The cascade on a GPU: `fitness.measuring` with a GPU's station.

What does not rest on a kernel's word: inputs, references, poison, guards and verdicts are the referee's, in allocations that the runner
maps but does not own. A Triton or CUDA file never reaches the device's process: its host code is run where it is built, on tensors without
data or on made-up addresses, and what the device gets is machine code and a list of launches (`fitness.gpu.plan`). So no library can be
called for the work, none of its host code is near the clock, nothing runs before the gate or behind the mark, and a call may depend on
nothing but its arguments. Files whose launches cannot be written down are *hosted*: their host code runs in a single-use process, and the
clock stops when the referee's own gather of sampled output words is through, which must still be the same when every output of the batch
is checked.

What is not guaranteed: hosted code could call a library within what its allow-list leaves, or stay on the device after `done` and read
what is filled in before the next `go` (the process is stopped meanwhile, its context is not); its device memory is limited only as far as
it asks torch for it. Contents repeat from round to round; a kernel that profits by more than REPEATED from that is refused, one that
profits by less is not noticed. A planned kernel may leave something for its next call, or for the next kernel of its launcher, in what
Triton's scratch memory or its module's own variables hold.
"""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np

from archive.evaluation import Diagnostic, Evaluation, Outcome, Samples
from archive.tunables import Value
from fitness.certify import certify
from fitness.gpu.device import GpuDevice
from fitness.gpu.station import SEARCH_BASELINE, gpu_baselines
from fitness.gpu.tools import counters, sanitize
from fitness.measuring import KERNEL, MeasuringEvaluator
from fitness.problem import Problem, ProblemError
from fitness.protocol import Bar, Certificate, EvaluationSettings, Prepared
from fitness.proving import proofs
from fitness.sandbox import choose
from fitness.targets.base import Artifact, Target, TargetError

__all__ = ["GpuEvaluator"]

CONDEMNING = "memcheck"
"""The sanitizer's check that costs a kernel its certificate; hazards that racecheck suspects are noted."""
CLOCK_CORES = 2
"""For the process that measures and for the launcher that waits for the device."""
REPEATED = 0.6
"""A kernel whose later rounds take less than this share of its first is refused: it profits from contents it has seen."""


class GpuEvaluator(MeasuringEvaluator):
    """Implements `fitness.protocol.Evaluator` for targets on an NVIDIA GPU.

    Raises `ProblemError` for a problem without a GPU baseline or whose checks let wrong kernels pass, `TargetError` where there is no GPU
    to measure on.
    """

    baseline = SEARCH_BASELINE

    @property
    def held_cores(self) -> frozenset[int]:  # the device is another, but its clock is read by a process that must not wait for a core
        cores = sorted(os.sched_getaffinity(0))
        return frozenset(cores[-CLOCK_CORES:]) if len(cores) >= 4 * CLOCK_CORES else frozenset()

    def __init__(self, problem: Problem, target: Target, settings: EvaluationSettings) -> None:
        super().__init__(problem, target.bound(problem) if hasattr(target, "bound") else target, settings)
        device: Any = target.device()
        assert isinstance(device, GpuDevice)
        if not device.present:
            raise TargetError(
                f"target {target.name}: found no NVIDIA GPU (nvidia-smi does not answer), and timing needs one. Run it on a machine with a "
                "GPU, or build for a named architecture and verify without timing: --verify-only."
            )
        if not gpu_baselines(problem):
            raise ProblemError(
                problem.folder / "baseline.py", "gpu", "no such function", "`def gpu(inputs…)` on torch tensors that returns the outputs",
                "Write it: eager, torch.compile and max-autotune baselines are made of it.",
            )  # fmt: skip
        if problem.foreign is None:  # those of others have a lint of their own
            from fitness.gpu.lint import require

            require(problem, settings)

    @property
    def station(self) -> Any:
        if self._station is None:
            from fitness.gpu.station import GpuStation

            self._station = GpuStation(self.problem, self.target, self.settings)
        return self._station

    def close(self) -> None:
        super().close()
        ending = getattr(self.target, "close", None)
        if ending is not None:
            ending()

    def _verify(self, sitting: Any, lane: Any) -> None:
        """The calls of `proofs`, those on one shape revealed together. Raises `Refused`."""
        together: dict[str, list[Any]] = defaultdict(list)
        repeated: list[Any] = []
        for case, twice in proofs(self.problem, self.station.supply):
            (repeated if twice else together[case.label]).append(case)
        for cases in together.values():  # small shapes come first
            most = max(1, self.station.slot_bytes // self.problem.footprint(cases[0].sizes))
            for begin in range(0, len(cases), most):
                sitting.prove(lane, cases[begin : begin + most])
        for case in repeated:
            sitting.twice(lane, case)

    def certify(self, prepared: Prepared, seed: Prepared | None = None) -> Certificate:
        """Every process of a kernel is a fresh one, built for the held-out shapes; a planned kernel passes the sanitizer first."""
        start = time.perf_counter()
        notes = self._sanitized(prepared)
        if any(note.details.get("tool") == CONDEMNING for note in notes):
            environment = self.environment().id
            return Certificate(prepared.kernel.id, False, diagnostics=notes, environment=environment, seconds=time.perf_counter() - start)
        referee = self.station.referee
        referee.single_use = True
        try:
            certificate = certify(self.station, self.environment(), prepared, seed, self._held_out)
        finally:
            referee.single_use = False
        return replace(certificate, diagnostics=(*certificate.diagnostics, *notes), seconds=time.perf_counter() - start)

    def _sanitized(self, prepared: Prepared) -> tuple[Diagnostic, ...]:
        """What compute-sanitizer found on a secretly chosen small shape, or why nothing is known."""
        artifact = self._artifact(prepared)
        if self.target.program(artifact).kind != "plan":
            return (Diagnostic("certify", "not_sanitized", "Only planned kernels are run under compute-sanitizer."),)
        chosen = random.SystemRandom().randrange(len(self.problem.small_shapes))
        case = self.station.supply.drawn(self.problem.small_shapes[chosen], "normal", 0)
        number = len(self.problem.shapes) + chosen  # a plan's cases are the timed shapes, then the small ones
        finding, why_not = sanitize(artifact.path, number, case, choose(self.settings.sandbox))
        if finding is not None:
            return (finding,)
        return (Diagnostic("certify", "not_sanitized", f"Nothing is known of accesses out of bounds: {why_not}."),) if why_not else ()

    def counters(self, prepared: Prepared) -> tuple[dict[str, float], str]:
        """(Nsight Compute's counters of a planned kernel on the first shape, see `fitness.gpu.tools`; why there are none, or nothing)."""
        artifact = self._artifact(prepared)
        if self.target.program(artifact).kind != "plan":
            return {}, "only planned kernels are run under Nsight Compute"
        case = self.station.supply.pool(self.problem.shapes[0], 1)[0]
        return counters(artifact.path, 0, case, choose(self.settings.sandbox))

    def _held_out(self, prepared: Prepared) -> Artifact:
        if not hasattr(self.target, "bound"):  # a target whose programs take any shape
            return self._artifact(prepared)
        target: Any = self.target
        found: Artifact = target.build(prepared.kernel, held_out=True)
        return found

    def _measure(self, prepared: Prepared, bar: Bar | None) -> Evaluation:
        evaluation = super()._measure(prepared, bar)
        referee = self.station.referee
        if _damaged(evaluation) and referee.secondhand:
            self.station.pool.doubt()  # what another kernel left in its process or in memory may have been the reason
            referee.single_use = True
            try:
                evaluation = super()._measure(prepared, bar)
            finally:
                referee.single_use = False
        if not evaluation.ok:
            self.station.pool.doubt()
        ratio = _later_to_first(evaluation.samples)
        if not evaluation.ok or ratio >= REPEATED:
            return evaluation
        text = f"Later rounds took {ratio:.2f} of the first, which alone had contents the kernel had not seen: it keeps results."
        return self._evaluation(
            prepared, Outcome.REJECTED, (Diagnostic("time", "profits_from_repetition", text, {"ratio": ratio}),), dict(evaluation.cost),
            evaluation.samples,
        )  # fmt: skip

    def _achieved(self, samples: tuple[Samples, ...]) -> dict[str, Value]:
        return super()._achieved(samples) | {
            "later_to_first": _later_to_first(samples),
            "batch_overhead": float(np.median(self.station.overheads.get(KERNEL) or [0.0])),
            "batch_overhead_baseline": float(np.median(self.station.overheads.get(SEARCH_BASELINE) or [0.0])),
        }


def _damaged(evaluation: Evaluation) -> bool:
    """Whether it ended as a kernel may also end that finds its process or its memory spoiled."""
    return evaluation.outcome in (Outcome.CRASH, Outcome.WRONG) or any(d.reason == "guard_broken" for d in evaluation.diagnostics)


def _later_to_first(samples: tuple[Samples, ...]) -> float:
    """Smallest ratio over shapes of the median of later times to the first, each relative to the baseline's."""
    ratios = [s.seconds / s.baseline for s in samples if len(s.seconds) > 2]
    return min((float(np.median(r[1:]) / r[0]) for r in ratios), default=1.0)
