"""What the GPU evaluator costs and how much its times scatter: the plain seed of a problem, measured again and again.

    python experiments/bench/gpu_bench.py softmax_bf16 --rounds 20 --measurements 8 --json out.json

Prints for every shape the scatter of single rounds (standard deviation and range of seconds per call, of kernel, baseline and their
ratio), what a batch costs beside its calls, how the referee's clock compares with the device's own timer, and where the wall time of a
whole measurement goes. Needs a GPU, torch and triton.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from archive.kernel import Kernel
from fitness.gpu.evaluator import GpuEvaluator
from fitness.gpu.station import SEARCH_BASELINE
from fitness.measuring import KERNEL
from fitness.opening import open_evaluator
from fitness.problem import shape_label
from fitness.protocol import EvaluationSettings


def scatter(values: list[float]) -> dict[str, float]:
    """Of one list of seconds (or ratios): median, standard deviation and range as shares of it, and how far halves' medians lie apart."""
    found = np.asarray(values)
    middle = float(np.median(found))
    halves = abs(float(np.median(found[::2]) / np.median(found[1::2])) - 1)
    return {"median": middle, "deviation": float(found.std() / middle), "range": float(np.ptp(found) / middle), "halves": halves}


def rounds(evaluator: GpuEvaluator, kernel: Kernel, count: int) -> dict[str, Any]:
    """`count` rounds on every shape in one sitting."""
    station = evaluator.station
    artifact = evaluator.target.build(kernel)
    found: dict[str, Any] = {}
    with station.sitting() as sitting:
        lane = sitting.seat(KERNEL, evaluator.target.program(artifact))
        station.seat_baseline(sitting)
        found["gated"] = lane.gated
        found["no_gate"] = getattr(getattr(lane.runner, "_launcher", None), "no_gate", "")
        evaluator._verify(sitting, lane)
        for sizes in evaluator.problem.shapes:
            times: dict[str, list[float]] = defaultdict(list)
            clocks: list[float] = []
            station.overheads.clear()
            begin = time.perf_counter()
            for _ in range(count):
                for name, seconds in sitting.round(station.timed_cases(sizes))[1].items():
                    times[name].append(seconds)
                clock = lane.runner._clock
                if clock is not None:
                    clocks.append(clock.seconds - clock.device_seconds)
            row: dict[str, Any] = {name: scatter(values) for name, values in times.items()}
            row["ratio"] = scatter([b / k for b, k in zip(times[SEARCH_BASELINE], times[KERNEL], strict=True)])
            row["beside_us"] = {name: [round(1e6 * value, 1) for value in values] for name, values in station.overheads.items()}
            row["kernel_us"] = [round(1e6 * value, 2) for value in times[KERNEL]]
            row["referee_minus_device_us"] = [round(1e6 * value, 1) for value in clocks]
            row["floor_us"] = 1e6 * station.floor(sizes)
            row["seconds_a_round"] = (time.perf_counter() - begin) / count
            found[shape_label(sizes)] = row
        found["retries"] = sitting.cost["retries"]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problem")
    parser.add_argument("--target", default="triton")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--measurements", type=int, default=8)
    parser.add_argument("--fresh", action="store_true", help="a fresh launcher for every measurement")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--lock", type=Path, help="a file to lock while the device is used, where several of these run at once")
    given = parser.parse_args()
    start = time.perf_counter()
    evaluator = open_evaluator(given.problem, given.target, EvaluationSettings(repetitions=5, precision=0.04, call_timeout=5.0))
    assert isinstance(evaluator, GpuEvaluator)
    result: dict[str, Any] = {"problem": given.problem, "target": given.target}
    held = contextlib.ExitStack()
    try:
        prepared = evaluator.prepare(evaluator.seeds()[0])
        result["prepare_s"] = time.perf_counter() - start
        assert prepared.failed is None, prepared.failed
        if given.lock is not None:
            fcntl.flock(held.enter_context(given.lock.open("w")), fcntl.LOCK_EX)
        begin = time.perf_counter()
        evaluator.station.warm()
        result["warm_s"] = time.perf_counter() - begin
        result["ceilings"] = {name: getattr(evaluator.station.ceilings, name) for name in ("read", "copy", "write", "bfloat16")}
        print(json.dumps(result), flush=True)
        result["rounds"] = rounds(evaluator, prepared.kernel, given.rounds)
        for name, row in result["rounds"].items():
            print(name, json.dumps(row), flush=True)
        evaluator.station.referee.single_use = given.fresh
        costs = []
        for _ in range(given.measurements):
            evaluation = evaluator.measure(prepared)
            costs.append({**{k: round(v, 5) for k, v in evaluation.cost.items()}, "speedup": evaluation.speedup or 0.0})
            costs[-1]["roofline_share"] = float(evaluation.profile.get("roofline_share", 0.0))
            print(evaluation.outcome.value, json.dumps(costs[-1]), [d.message[:300] for d in evaluation.diagnostics], flush=True)
        result["measurements"] = costs
        if costs:
            result["evaluations_per_minute"] = 60 / float(np.median([cost["measure"] for cost in costs]))
            result["scatter_of_speedups"] = scatter([float(cost["speedup"]) for cost in costs])
            print("evaluations a minute of device time", result["evaluations_per_minute"], result["scatter_of_speedups"], flush=True)
    finally:
        if given.json is not None:
            given.json.write_text(json.dumps(result, indent=1))
        evaluator.close()
        held.close()


if __name__ == "__main__":
    main()
