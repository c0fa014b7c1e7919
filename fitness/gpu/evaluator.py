"""The cascade on a GPU: `fitness.measuring` with a GPU's station.

What does not rest on the runner's word: inputs, references, poison, guards and verdicts are the referee's, in allocations that the runner
maps but does not own; the clock stops when the referee's own gather of sampled output words is through, and these words must still be the
same when every output of the batch is checked. Work left behind, skipped, or faked is a wrong or a changed output.

What does, and so is not guaranteed: that a Triton kernel does the work itself and calls no library. The syntax allow-list refuses torch,
and a dispatch mode in the runner raises for every torch operator, but both live in reach of Python code that gets past the list; no census
of the kernels really launched is taken by the driver. A kernel that stays on the device after `done` could read what is filled in before
the next `go`: the runner's process is stopped meanwhile, its context is not. Contents repeat from round to round at other addresses; a
kernel that profits by more than REPEATED from that is refused, one that profits by less is not noticed. The runner may start programs (its
Triton may have to assemble a specialisation) within its namespaces: without network, without a writable file outside its own folder.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from archive.evaluation import Diagnostic, Evaluation, Outcome, Samples
from archive.tunables import Value
from fitness.gpu.device import GpuDevice
from fitness.gpu.station import SEARCH_BASELINE, gpu_baselines
from fitness.measuring import KERNEL, MeasuringEvaluator
from fitness.problem import Problem, ProblemError
from fitness.protocol import Bar, EvaluationSettings, Prepared
from fitness.targets.base import Target, TargetError

__all__ = ["GpuEvaluator"]

REPEATED = 0.6
"""A kernel whose later rounds take less than this share of its first is refused: it profits from contents it has seen."""


class GpuEvaluator(MeasuringEvaluator):
    """Implements `fitness.protocol.Evaluator` for targets on an NVIDIA GPU.

    Raises `ProblemError` for a problem without a GPU baseline, `TargetError` where there is no GPU to measure on.
    """

    baseline = SEARCH_BASELINE
    held_cores: frozenset[int] = frozenset()  # the device is another

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

    @property
    def station(self) -> Any:
        if self._station is None:
            from fitness.gpu.station import GpuStation

            self._station = GpuStation(self.problem, self.target, self.settings)  # type: ignore[assignment]
        return self._station

    def close(self) -> None:
        super().close()
        ending = getattr(self.target, "close", None)
        if ending is not None:
            ending()

    def _measure(self, prepared: Prepared, bar: Bar | None) -> Evaluation:
        evaluation = super()._measure(prepared, bar)
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


def _later_to_first(samples: tuple[Samples, ...]) -> float:
    """Smallest ratio over shapes of the median of later times to the first, each relative to the baseline's."""
    ratios = [s.seconds / s.baseline for s in samples if len(s.seconds) > 2]
    return min((float(np.median(r[1:]) / r[0]) for r in ratios), default=1.0)


