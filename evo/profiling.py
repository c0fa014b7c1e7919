"""Hardware counters of a candidate: read on request, for they cost seconds a kernel, and kept with its evaluation.

They become facts of its profile, `counter.NAME`, so that `evo show`, prompts and data frames have them like any other. The cell of a
candidate was decided before: it does not change by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from archive.evaluation import Evaluation
from archive.kernel import Kernel
from archive.lineage import Lineage
from archive.tunables import Value
from evo.errors import UserError
from evo.reading import DATABASE, RunReader, is_alive
from fitness.protocol import Evaluator, Prepared

__all__ = ["MEANT", "PREFIX", "Counted", "Counters", "count", "keep", "refuse_early"]

PREFIX = "counter."
MEANT = {
    "dram_share": "of the memory's peak throughput",
    "sm_share": "of the multiprocessors' peak throughput",
    "achieved_occupancy": "of the warps that multiprocessors can hold",
    "dram_bytes_read": "bytes read from the device's memory",
    "dram_bytes_written": "bytes written to it",
    "l2_hit_rate": "of the L2 cache's accesses were hits",
    "ncu_seconds": "seconds under the profiler, the clocks as they are",
}
"""What a counter (of `fitness.gpu.tools.METRICS`) says of the launch that takes longest."""
TELLING = (
    "bandwidth", "flop_rate", "roofline_share", "vector_bits", "spills", "registers", "occupancy", "memory_pattern", "compute_pattern",
    "instructions", "gathers", "library_calls",
)  # fmt: skip
"""Facts of a profile that say something about how the hardware is used, without counters."""


@runtime_checkable
class Counters(Protocol):
    """An evaluator that can read counters (`fitness.gpu.evaluator.GpuEvaluator`)."""

    def counters(self, prepared: Prepared) -> tuple[dict[str, float], str]:
        """(counters by name; why there are none, or nothing)."""
        ...


@dataclass(frozen=True, slots=True)
class Counted:
    candidate: int
    kernel: str
    shape: str
    """What it was called on; the first of the problem's shapes."""
    counters: Mapping[str, float]


def refuse_early(reader: RunReader, number: int) -> Kernel:
    """The candidate's kernel, where counters could be read of it here and kept.

    Raises:
        UserError: the target is not of an NVIDIA GPU, there is no profiler, the run is being worked on, or the candidate was never `ok`.
    """
    from fitness.targets.registry import GPU

    candidate, file = reader.candidate(number), reader.folder
    evaluation = candidate.evaluation
    if candidate.kernel is None or evaluation is None or not evaluation.ok:
        found = "no kernel" if candidate.kernel is None else "no evaluation yet" if evaluation is None else evaluation.outcome.value
        remedy = "Choose one that is right: evo show lists what there is."
        raise UserError(
            f"Candidate {number} has nothing to profile.", file=file, found=found, expected="a candidate that is ok", remedy=remedy
        )
    target = reader.record.target
    if target not in GPU:
        raise UserError(
            "Hardware counters are read by Nsight Compute, of kernels on an NVIDIA GPU.", file=file, key="target", found=target,
            expected=" or ".join(GPU), remedy=f"What is known of candidate {number} without them: {_known(evaluation)}.",
        )  # fmt: skip
    from fitness.gpu.tools import find_tool

    if find_tool("ncu") is None:
        raise UserError(
            "Nsight Compute is not installed.", found="no `ncu` in PATH or /usr/local/cuda/bin", expected="the CUDA toolkit's profiler",
            remedy=f"Install it (nsight-compute). What is known of candidate {number} without it: {_known(evaluation)}.",
        )  # fmt: skip
    if is_alive(file):
        raise UserError(
            "A process is working on this run, and counters are kept in its lineage.", file=file / DATABASE,
            remedy="Wait for its end, or stop it with Ctrl-C and continue it afterwards: evo resume.",
        )  # fmt: skip
    return candidate.kernel


def _known(evaluation: Evaluation) -> str:
    facts = [f"{name} {_short(evaluation.profile[name])}" for name in TELLING if name in evaluation.profile]
    return ", ".join(facts) or "nothing but its time"


def _short(value: Value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def count(evaluator: Evaluator, kernel: Kernel, number: int, shape: str = "") -> Counted:
    """Builds the kernel and reads its counters.

    Raises:
        UserError: it cannot be built any more, this evaluator reads none, or the profiler counted nothing.
    """
    if not isinstance(evaluator, Counters):
        raise UserError("This target reads no hardware counters.", key="target", found=type(evaluator).__name__, expected="triton or cuda")
    prepared = evaluator.prepare(kernel)
    if prepared.failed is not None:
        said = prepared.failed.diagnostics[0].message if prepared.failed.diagnostics else prepared.failed.outcome.value
        raise UserError(f"Candidate {number} cannot be built here.", found=said, remedy="evo doctor says what is missing.")
    found, why_not = evaluator.counters(prepared)
    if not found:
        raise UserError(
            f"No counters were read of candidate {number}.", found=why_not or "an empty answer", expected="metrics of at least one launch",
            remedy="Where ncu says ERR_NVGPUCTRPERM, an administrator has to allow counters: "
            "https://developer.nvidia.com/ERR_NVGPUCTRPERM.",
        )  # fmt: skip
    return Counted(number, kernel.id, shape, dict(found))


def keep(counted: Counted, folder: Path) -> None:
    """Adds the counters to the profile of the candidate's evaluation. Raises `archive.schema.LineageError`."""
    with Lineage.open(folder / DATABASE) as lineage:
        lineage.profiled(counted.candidate, {f"{PREFIX}{name}": value for name, value in counted.counters.items()})
