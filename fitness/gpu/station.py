"""Everything one GPU needs to measure one problem: referee, shared device memory, secret cases, baselines, ceilings.

Offers what `fitness.station.Station` offers, for `fitness.measuring` and `fitness.certify` to work on.
"""

from __future__ import annotations

import ast
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping

from fitness.gpu.cases import GpuSupply
from fitness.gpu.ceilings import GpuCanary, GpuCeilings, gather_rate, measure_ceilings, minimum_seconds
from fitness.gpu.referee import GpuReferee
from fitness.gpu.sitting import LASTING, GpuLane, GpuSitting
from fitness.gpu.slot_pool import SlotPool
from fitness.mover import RANDOM_GATHER
from fitness.problem import Problem, Sizes
from fitness.program import Program
from fitness.protocol import EvaluationSettings
from fitness.proving import proofs
from fitness.sandbox import choose
from fitness.shares import BANDWIDTH, FMA_PEAK, TENSOR_PEAK
from fitness.targets.base import Target

__all__ = ["BASELINES", "SEARCH_BASELINE", "GpuStation", "gpu_baselines"]

SEARCH_BASELINE = "eager"
BASELINES = ("eager", "compile", "max_autotune")
"""PyTorch as it is, by torch.compile, and with maximum autotuning (without CUDA graphs, whose copies of inputs would cost it time)."""
ENTRY = "gpu"
"""The function of baseline.py that computes on torch tensors and returns its outputs."""
SLOT_BYTES = 11 << 30
"""Of the slots of one shape at most, on any device."""
SHARE_FOR_CASES = 0.28
"""Of the device's memory, for cases to verify with."""
TENSOR = frozenset({"bfloat16", "float16", "tf32"})
"""Precisions of the tensor cores."""
MOST = 48
"""Calls of a batch at most."""
FLUSHED = 2
"""Times the L2 cache that is written before a timed batch, so that none of its buffers lies there."""


def gpu_baselines(problem: Problem) -> dict[str, Program]:
    """Baselines by name: the function `gpu` of baseline.py in every mode, and each other `gpu_NAME` as NAME, eager; none without
    `gpu`. Of a problem of others: the file itself."""
    if problem.foreign is not None:
        return problem.foreign.baselines(BASELINES)
    path = problem.folder / "baseline.py"
    names = [node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]
    if ENTRY not in names:
        return {}
    ways = {mode: f"{ENTRY}:{mode}" for mode in BASELINES}
    ways |= {name.removeprefix(f"{ENTRY}_"): f"{name}:{SEARCH_BASELINE}" for name in names if name.startswith(f"{ENTRY}_")}
    return {name: Program(kind="torch", path=path, entry=entry) for name, entry in ways.items()}


class GpuStation:
    """Opened on the first measurement, in the process that measures. Not thread-safe."""

    mover = None
    """A GPU's ceilings are within reach as they are."""

    def __init__(self, problem: Problem, target: Target, settings: EvaluationSettings) -> None:
        import torch

        torch.cuda.init()
        self.problem = problem
        self.target = target
        self.settings = settings
        self.pool = SlotPool(problem)
        self.referee = GpuReferee(choose(settings.sandbox), self.pool.all, memory=settings.memory)
        facts = torch.cuda.get_device_properties(0)
        total, shapes = int(facts.total_memory), max(2, len(problem.shapes), len(problem.held_out_shapes))
        self.slot_bytes = min(SLOT_BYTES, total // (6 * shapes))
        """Of the slots of one shape; their cases, with answers in single precision, take another one and a half to twice as much."""
        self._for_cases = int(SHARE_FOR_CASES * total)
        self.supply = GpuSupply(problem, memory=self._for_cases)
        self.ceilings: GpuCeilings = measure_ceilings()
        self.canary = GpuCanary()
        self.workspace_limit = settings.memory
        self._cache_bytes = int(facts.L2_cache_size)
        self._flushing = torch.empty(FLUSHED * self._cache_bytes, device="cuda", dtype=torch.uint8)
        self._lanes: dict[str, GpuLane] = {}
        self._turn = 0
        self.overheads: dict[str, list[float]] = defaultdict(list)
        """By lane, over the rounds of the last sitting: seconds that a batch costs beside its calls."""

    def raise_ceilings(self) -> None:
        self.ceilings = self.ceilings.larger(measure_ceilings())

    def sitting(self) -> GpuSitting:
        """One timed case of one shape is a new one in every sitting."""
        self.overheads.clear()
        begin = time.perf_counter()
        self._turn += 1
        self.supply.renew(self.problem.shapes[self._turn % len(self.problem.shapes)], 1)
        made = GpuSitting(self, self.problem, self.referee, self.pool, call_timeout=self.settings.call_timeout)
        made.cost["renew"] += time.perf_counter() - begin
        return made

    def warm(self) -> None:
        """What the first measurement would wait for: cases, slots, a launcher, the baseline in its process, the referee's own kernels."""
        together: dict[str, int] = defaultdict(int)
        for case, _twice in proofs(self.problem, self.supply):
            together[case.label] += 1
            self.pool.take(case.sizes, together[case.label])
        for sizes in self.problem.shapes:
            self.pool.take(sizes, self.batch_size(sizes))
        self.referee.launchers()
        for sizes in self.problem.shapes:
            self.supply.pool(sizes, self.batch_size(sizes))
        with self.sitting() as sitting:
            self.seat_baseline(sitting)
            for sizes in self.problem.shapes:
                sitting.round(self.timed_cases(sizes))
        self.canary.read()

    def flush_cache(self) -> None:
        """Writes over the L2 cache, behind what is queued."""
        self._flushing.fill_(0)

    def kept(self, name: str) -> GpuLane | None:
        """A baseline's lane, whose runner outlives sittings."""
        return self._lanes.get(name)

    only_longer = GpuSitting.only_longer
    spacing = 0.0
    """A device drifts by a few thousandths, and is too dear to wait."""

    def keep(self, lane: GpuLane) -> None:
        self._lanes[lane.name] = lane

    def seat_baseline(self, sitting: GpuSitting) -> None:
        sitting.seat(SEARCH_BASELINE, gpu_baselines(self.problem)[SEARCH_BASELINE], trusted=True)

    def libraries(self) -> dict[str, Program]:
        return gpu_baselines(self.problem)

    def dismiss_baseline(self) -> None:
        for lane in self._lanes.values():
            lane.close()
        self._lanes.clear()

    def batch_size(self, sizes: Sizes) -> int:
        """Most calls of a batch: it should last LASTING at the roofline and move four times the L2 cache, within bounds of memory."""
        footprint = self.problem.footprint(sizes)
        wanted = max(-(-4 * self._cache_bytes // footprint), int(LASTING / self.floor(sizes)) + 1)
        return max(2, min(wanted, MOST, self.slot_bytes // footprint))

    def floor(self, sizes: Sizes) -> float:
        """Least seconds one call can take on this device, by the measured ceilings."""
        return minimum_seconds(self.ceilings, self.problem.bytes_moved(sizes), self.problem.flops(sizes), self._precision())

    def roof(self, sizes: Sizes) -> float:
        """Seconds of one batched call at the roofline: what its bytes take at the rates of reading, writing and copying in the mixture that
        the problem has, or its operations where they take longer. Where rows are picked at random, no less than that takes at its own
        measured rate. The `floor` beneath it has all bytes at the best of these rates: it serves to refuse impossible times."""
        return max(self.floor(sizes), *self.ceilings_of(sizes, {}).values())

    def ceilings_of(self, sizes: Sizes, moved: Mapping[str, float]) -> Mapping[str, float]:
        """Seconds of one batched call by the name of each ceiling (`fitness.shares`); what has to be moved is not called here, but computed
        from measured rates, so `moved` is empty."""
        problem, found = self.problem, dict(moved)
        total, written = problem.bytes_moved(sizes), sum(output.nbytes(sizes) for output in problem.outputs)
        moving = self.ceilings.moving(max(0, total - written), min(total, written))
        if problem.gather is None:
            found[BANDWIDTH] = moving
        else:
            table = next(argument for argument in problem.inputs if argument.name == problem.gather[0])
            rows = table.shape(sizes)[0]
            found[RANDOM_GATHER] = max(moving, total / gather_rate(table.nbytes(sizes) // rows, rows))
        if problem.flops(sizes):
            precision = self._precision()
            found[TENSOR_PEAK if precision in TENSOR else FMA_PEAK] = problem.flops(sizes) / self.ceilings.rate(precision)
        return found

    def _precision(self) -> str:
        """The fastest that a kernel may compute in."""
        precision = self.problem.compute_dtype
        low = {a.dtype for a in (*self.problem.inputs, *self.problem.outputs)} & {"bfloat16", "float16"}
        return precision if precision != "float32" or not low else low.pop()

    def timed_cases(self, sizes: Sizes) -> Iterator[tuple[GpuSupply, Sizes]]:
        return self.fresh_cases(self.supply, sizes)

    def fresh_supply(self) -> GpuSupply:
        """New secret cases for a certification; the search's are freed."""
        import torch

        self.supply.clear()
        self.dismiss_baseline()
        self.referee.dismiss()
        self.pool.clear()
        torch.cuda.empty_cache()
        return GpuSupply(self.problem, memory=self._for_cases)

    @staticmethod
    def fresh_cases(supply: GpuSupply, sizes: Sizes) -> Iterator[tuple[GpuSupply, Sizes]]:
        while True:
            yield supply, sizes

    def close(self) -> None:
        self.dismiss_baseline()
        self.referee.close()
        self.supply.clear()
        self.pool.clear()
