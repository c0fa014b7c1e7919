"""What NVIDIA's tools say, as facts; on a machine with a GPU, that they see what a planned kernel does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from archive.kernel import Kernel
from fitness.gpu.tools import counters, find_tool, read_counters, sanitize
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings

HOSTILE = Path(__file__).parent.parent / "hostile" / "python"
TABLE = """==PROF== Connected to process 71
==PROF== Profiling "rows_at_once": 0%....50%....100% - 1 pass
"ID","Process ID","Kernel Name","dram__bytes_read.sum","dram__throughput.avg.pct_of_peak_sustained_elapsed","gpu__time_duration.sum"
"","","","Mbyte","%","us"
"0","71","rows_at_once","134.25","88.40","69.02"
"1","71","other","1,024.50","10.0","2.00"
"""


def test_counters_come_in_plain_units_a_launch_each() -> None:
    first, second = read_counters(TABLE)
    assert first == pytest.approx({"dram_bytes_read": 134.25e6, "dram_share": 0.884, "ncu_seconds": 69.02e-6})
    assert second["dram_bytes_read"] == pytest.approx(1024.5e6)


def test_a_tool_that_counted_nothing_gives_no_counters() -> None:
    assert read_counters("==ERROR== ERR_NVGPUCTRPERM\n") == []


gpu = pytest.mark.gpu


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem.load("softmax_bf16")


@pytest.fixture(scope="module")
def build(problem: Problem) -> Iterator[object]:
    from fitness.targets.triton import TritonTarget

    target = TritonTarget(EvaluationSettings(), problem)
    yield lambda source: target.build(Kernel("triton", source)).path
    target.close()


@gpu
@pytest.mark.timeout(300)
def test_the_sanitizer_tells_a_sound_kernel_from_one_that_writes_out_of_bounds(problem: Problem, build) -> None:  # type: ignore[no-untyped-def]
    from fitness.gpu.cases import make_case
    from fitness.sandbox import choose

    if find_tool("compute-sanitizer") is None:
        pytest.skip("compute-sanitizer is not installed")
    number = len(problem.shapes)  # the plan's first small shape
    case = make_case(problem, problem.small_shapes[0], "normal")
    sound = build(problem.seed_kernel("triton").source)
    assert sanitize(sound, number, case, choose("auto")) == (None, "")
    wild = build((HOSTILE / "writes_before_its_output.py").read_text())
    finding, why_not = sanitize(wild, number, case, choose("auto"))
    assert why_not == ""
    assert finding is not None
    assert finding.reason == "sanitizer"


@gpu
@pytest.mark.timeout(300)
def test_ncu_counts_the_bytes_of_a_planned_kernel(problem: Problem, build) -> None:  # type: ignore[no-untyped-def]
    from fitness.gpu.cases import make_case
    from fitness.sandbox import choose

    if find_tool("ncu") is None:
        pytest.skip("ncu is not installed")
    case = make_case(problem, problem.shapes[0], "normal")
    found, why_not = counters(build(problem.seed_kernel("triton").source), 0, case, choose("auto"))
    assert why_not == ""
    assert 0.5 < found["dram_bytes_read"] / case.inputs[0].nbytes < 2.0
