"""Recorded spaces: every format, every way a file can be wrong, and the evaluator on top."""

from __future__ import annotations

import gzip
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import pytest

from archive.evaluation import Outcome
from archive.kernel import Kernel
from fitness.protocol import Evaluator
from fitness.targets.recordings import RecordingError, load_recording
from fitness.targets.tabular import TabularEvaluator

CSV = """TILE_X,UNROLL,MODE,status,time_ms,cost_ms
8,1,fast,ok,4.0,100
16,1,fast,ok,2.0,200
16,2,slow,ok,1.0,300
32,1,slow,CompilationFailedConfig,,50
32,2,fast,RuntimeFailedConfig,,60
"""
KERNEL_TUNER: dict[str, Any] = {
    "device_name": "Tester", "kernel_name": "k", "problem_size": [64, 64], "tune_params_keys": ["block_size_x", "use"],
    "tune_params": {"block_size_x": [16, 32], "use": [0, 1]}, "objective": "time",
    "cache": {
        "16,0": {"block_size_x": 16, "use": 0, "time": 3.0, "compile_time": 100.0, "benchmark_time": 20.0, "times": [3.0, 3.0]},
        "16,1": {"block_size_x": 16, "use": 1, "time": "CompilationFailedConfig", "compile_time": 90.0},
        "32,0": {"block_size_x": 32, "use": 0, "time": 1.5, "compile_time": 100.0},
        "32,1": {"block_size_x": 32, "use": 1, "time": "RuntimeFailedConfig"},
    },
}  # fmt: skip
T4: dict[str, Any] = {
    "metadata": {"device": "Tester"}, "schema_version": "1.0.0",
    "results": [
        {"configuration": {"B": 16, "F": 0.5}, "times": {"compilation": 100.0, "runtimes": [3.0, 5.0]}, "invalidity": "correct",
         "measurements": [{"name": "power", "value": 9.0, "unit": "W"}, {"name": "time", "value": 4.0, "unit": "ms"}]},
        {"configuration": {"B": 32, "F": 1}, "times": {"compilation": 100.0, "runtimes": [1.0, 3.0]}, "invalidity": "correct"},
        {"configuration": {"B": 64, "F": 0.5}, "times": {"compilation": 10.0}, "invalidity": "compile", "measurements": []},
        {"configuration": {"B": 64, "F": 1}, "times": {}, "invalidity": "runtime"},
        {"configuration": {"B": 8, "F": 1}, "times": {}, "invalidity": "correct",
         "measurements": [{"name": "time", "value": 500, "unit": "us"}]},
    ],
}  # fmt: skip


def write(folder: Path, content: str | dict[str, Any], name: str = "space.csv") -> Path:
    path = folder / name
    text = content if isinstance(content, str) else json.dumps(content, indent=1)
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.fixture
def evaluator(tmp_path: Path) -> TabularEvaluator:
    return TabularEvaluator(str(write(tmp_path, CSV)))


# -- formats -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["space.csv", "space.csv.gz", "whatever"])
def test_csv_is_read(tmp_path: Path, name: str) -> None:
    recording = load_recording(write(tmp_path, CSV, name))
    assert recording.names == ("TILE_X", "UNROLL", "MODE")
    assert [row.values for row in recording.rows][:2] == [(8, 1, "fast"), (16, 1, "fast")]
    assert [row.seconds for row in recording.rows] == [pytest.approx(0.004), pytest.approx(0.002), pytest.approx(0.001), None, None]
    assert [row.cost for row in recording.rows] == pytest.approx([0.1, 0.2, 0.3, 0.05, 0.06])
    assert recording.rows[3].status == "CompilationFailedConfig"


def test_the_cost_column_may_be_missing(tmp_path: Path) -> None:
    recording = load_recording(write(tmp_path, "A,status,time_ms\n1,ok,2.0\n2,ok,1.0\n"))
    assert [row.cost for row in recording.rows] == [0.0, 0.0]


def test_kernel_tuner_caches_are_read(tmp_path: Path) -> None:
    recording = load_recording(write(tmp_path, KERNEL_TUNER, "cache.json"))
    assert recording.names == ("block_size_x", "use")
    assert [(row.values, row.seconds, row.status) for row in recording.rows] == [
        ((16, 0), pytest.approx(0.003), "ok"), ((16, 1), None, "CompilationFailedConfig"),
        ((32, 0), pytest.approx(0.0015), "ok"), ((32, 1), None, "RuntimeFailedConfig"),
    ]  # fmt: skip
    assert recording.rows[0].cost == pytest.approx(0.12)
    assert recording.facts["device_name"] == "Tester"


def test_kernel_tuner_keys_are_split_where_entries_do_not_repeat_them(tmp_path: Path) -> None:
    content = {**KERNEL_TUNER, "cache": {"16,0": {"time": 3.0}, "32,1": {"time": "2.5"}}}
    recording = load_recording(write(tmp_path, content, "cache.json"))
    assert [(row.values, row.seconds) for row in recording.rows] == [((16, 0), 0.003), ((32, 1), 0.0025)]


@pytest.mark.parametrize("cut", ["braces", "comma", "line"])
def test_an_interrupted_kernel_tuner_run_is_read_to_its_last_whole_entry(tmp_path: Path, cut: str) -> None:
    head = {name: value for name, value in KERNEL_TUNER.items() if name != "cache"}
    entries = [f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in KERNEL_TUNER["cache"].items()]
    text = json.dumps(head)[:-1] + ',\n"cache": {\n' + ",\n".join(entries)
    text = {"braces": text, "comma": text + ",\n", "line": text[:-20]}[cut]
    recording = load_recording(write(tmp_path, text, "cache.json"))
    assert len(recording.rows) == (3 if cut == "line" else 4)


def test_t4_is_read(tmp_path: Path) -> None:
    recording = load_recording(write(tmp_path, T4, "t4.json.gz"))
    assert recording.names == ("B", "F")
    assert [(row.values, row.seconds, row.status) for row in recording.rows] == [
        ((16, 0.5), pytest.approx(0.004), "ok"), ((32, 1.0), pytest.approx(0.002), "ok"), ((64, 0.5), None, "compile"),
        ((64, 1.0), None, "runtime"), ((8, 1.0), pytest.approx(0.0005), "ok"),
    ]  # fmt: skip
    assert recording.rows[0].cost == pytest.approx(0.108)
    assert all(type(row.values[1]) is float for row in recording.rows), "a parameter's values have one type"


def test_what_breaks_a_constraint_in_t4_is_outside_of_the_space_and_no_crash(tmp_path: Path) -> None:
    outside = [
        {"configuration": {"B": 128, "F": 1}, "times": {}, "invalidity": "constraints"},
        {"configuration": {"B": 16, "F": 1}, "times": {"compilation": 9.0}, "invalidity": "constraints", "measurements": []},
    ]
    results = [outside[0], *T4["results"], outside[1]]
    evaluator = TabularEvaluator(str(write(tmp_path, {**T4, "results": results}, "t4.json")))
    plain = TabularEvaluator(str(write(tmp_path, T4, "without.json")))
    seed = evaluator.seeds()[0]
    space = evaluator.space(seed)
    assert space.size == 5 and space.domains == plain.space(plain.seeds()[0]).domains  # 128 is in no configuration there is
    assert not space.legal({"B": 16, "F": 1.0}) and evaluator.median == plain.median
    assert evaluator.measure(evaluator.prepare(seed.with_values({"B": 64, "F": 1.0}))).outcome is Outcome.CRASH  # `runtime` still is
    refused = evaluator.prepare(Kernel("tabular", seed.source.replace("F = 0.5", "F = 1.0"))).failed
    assert refused is not None and refused.outcome is Outcome.INFEASIBLE and not refused.cost


def test_a_t4_file_of_nothing_but_broken_constraints_has_no_configuration(tmp_path: Path) -> None:
    results = [{"configuration": {"B": 128, "F": 1}, "times": {}, "invalidity": "constraints"}]
    with pytest.raises(RecordingError, match="no configuration"):
        load_recording(write(tmp_path, {**T4, "results": results}, "t4.json"))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", r"line 1: found columns nothing"),
        ("A,B\n1,2\n", r"line 1: found columns A, B, expected parameters, then status, time_ms, cost_ms"),
        ("status,time_ms\nok,1\n", r"line 1"),
        ("A,status,time_ms,cost_ms,more\n", r"line 1"),
        ("A,A,status,time_ms\n1,2,ok,1\n", r"line 1: found A more than once"),
        (CSV + "8,1\n", r"line 7: found 2 cells, expected 6"),
        (CSV + "8,1,fast,ok,3.0,1\n", r"line 7: found the configuration of line 2 again"),
        (CSV + "9,1,fast,ok,zero,1\n", r"line 7, time_ms: found 'zero', expected a positive time"),
        (CSV + "9,1,fast,ok,-1,1\n", r"line 7, time_ms: found '-1'"),
        (CSV + "9,1,fast,ok,nan,1\n", r"line 7, time_ms"),
        (CSV + "9,1,fast,ok,,1\n", r"line 7, time_ms"),
        (CSV + "9,1,fast,ok,1,x\n", r"line 7, cost_ms: found 'x'"),
        (CSV + "9,1,fast,,1,1\n", r"line 7, status: found nothing"),
        ("A,status,time_ms\n", r"rows: found no configuration"),
        ("A,status,time_ms\n1,compile,\n", r"rows: found 1 failed configurations, expected at least one that is ok"),
        ("{", r"line 1: found .*expected a Kernel Tuner cache or T4 JSON"),
        ("[1, 2]", r"top level: found list"),
        ("{\"a\": 1}", r"top level: found a, expected an object with `cache`"),
        ({**KERNEL_TUNER, "tune_params_keys": 3}, r"tune_params_keys: found 3"),
        ({**KERNEL_TUNER, "cache": {"1,2": 3}}, r"cache\['1,2'\]: found int"),
        ({**KERNEL_TUNER, "cache": {"1": {"time": 1.0}}}, r"cache\['1'\]: found 1 values, expected 2"),
        ({**KERNEL_TUNER, "cache": {"1,2": {}}}, r"cache\['1,2'\]: found no `time`"),
        ({**KERNEL_TUNER, "cache": {"1,2": {"time": 0}}}, r"cache\['1,2'\]\.time: found 0, expected a positive time"),
        ({"results": []}, r"results\[0\]\.configuration"),
        ({"results": [T4["results"][0], {"configuration": {"B": 1}}]}, r"results\[1\]\.configuration"),
        ({"results": [{"configuration": {"B": [1]}, "times": {}}]}, r"results\[0\]\.configuration\.B: found \[1\]"),
        ({"results": [{"configuration": {"B": 1}, "times": {}}]}, r"results\[0\]: found no measurement"),
        ({"results": [{"configuration": {"B": 1}, "measurements": [{"name": "time", "value": 1, "unit": "pc"}]}]}, r"unit: found 'pc'"),
        ({"results": [T4["results"][0], T4["results"][0]]}, r"results: found the configuration .* twice"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_named_with_line_or_key(tmp_path: Path, content: str | dict[str, Any], match: str) -> None:
    path = write(tmp_path, content)
    with pytest.raises(RecordingError, match=match) as caught:
        load_recording(path)
    assert str(caught.value).startswith(f"{path}: ") and "expected" in str(caught.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(CSV.encode())[:-12])
    (tmp_path / "noise").write_bytes(b"\xff\xfe\x00")
    for name, match in (("cut.csv.gz", "damaged gzip"), ("noise", "UTF-8"), ("absent.csv", "no such file"), (".", "a folder")):
        with pytest.raises(RecordingError, match=match):
            load_recording(tmp_path / name)


# -- the evaluator -----------------------------------------------------------------------------------------------------


def test_it_is_an_inline_deterministic_evaluator(evaluator: TabularEvaluator) -> None:
    assert isinstance(evaluator, Evaluator) and evaluator.inline and evaluator.deterministic


def test_the_seed_is_the_first_configuration_that_works(tmp_path: Path, evaluator: TabularEvaluator) -> None:
    (seed,) = evaluator.seeds()
    assert seed.values == {"TILE_X": 8, "UNROLL": 1, "MODE": "fast"} and seed.language == "tabular"
    assert seed.source.splitlines()[0] == "TILE_X = 8  # evo: {8, 16, 32}"
    first_fails = "A,status,time_ms\n1,compile,\n2,ok,1\n"
    assert TabularEvaluator(str(write(tmp_path, first_fails, "other"))).seeds()[0].values == {"A": 2}


def test_the_space_is_what_was_recorded(evaluator: TabularEvaluator) -> None:
    (seed,) = evaluator.seeds()
    space = evaluator.space(seed)
    assert space.size == 5 and seed.space.size == 12
    assert space.legal({"TILE_X": 32, "UNROLL": 2, "MODE": "fast"}) and not space.legal({"TILE_X": 8, "UNROLL": 2, "MODE": "fast"})


@pytest.mark.parametrize("values", ["true,x y,-3,0.25", "false,it's \"q\",7,1e-05"])
def test_values_of_every_type_go_through_the_text(tmp_path: Path, values: str) -> None:
    cells = values.replace('"q"', '""q""').split(",")
    cells[1] = f'"{cells[1]}"'
    evaluator = TabularEvaluator(str(write(tmp_path, f"P,Q,R,S,status,time_ms\n{','.join(cells)},ok,2\ntrue,z,0,1.5,ok,1\n")))
    (seed,) = evaluator.seeds()
    again = Kernel("tabular", seed.source)
    assert again.values == seed.values == dict(zip("PQRS", evaluator.recording.rows[0].values, strict=True))
    assert evaluator.measure(evaluator.prepare(again)).ok


def test_the_objective_is_the_log_of_the_speedup_over_the_median(evaluator: TabularEvaluator) -> None:
    (seed,) = evaluator.seeds()
    best = seed.with_values({"TILE_X": 16, "UNROLL": 2, "MODE": "slow"})
    prepared = evaluator.prepare(best)
    evaluation = evaluator.measure(prepared)
    assert evaluation.outcome is Outcome.OK and evaluation.objective == pytest.approx(math.log(2.0))
    assert evaluation.interval == (evaluation.objective, evaluation.objective)
    assert evaluation.kernel_id == best.id and evaluation.environment == evaluator.environment().id
    assert dict(evaluation.cost) == {"recorded": pytest.approx(0.3)}
    (samples,) = evaluation.samples
    assert samples.seconds.tolist() == [pytest.approx(0.001)] and samples.baseline.tolist() == [pytest.approx(0.002)]
    assert dict(prepared.profile) == {"tunable.TILE_X": 16, "tunable.UNROLL": 2, "tunable.MODE": "slow", "tile_elements": 16}


def test_a_text_that_was_parsed_anew_is_the_same_configuration(evaluator: TabularEvaluator) -> None:
    (seed,) = evaluator.seeds()
    own = Kernel("tabular", "MODE = \"slow\"  # evo: {\"slow\"}\nUNROLL = 2  # evo: {1, 2}\n# mine\nTILE_X = 16  # evo: {16}\n")
    one = evaluator.measure(evaluator.prepare(own))
    assert one.objective == evaluator.measure(evaluator.prepare(seed.with_values(own.values))).objective


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("CompilationFailedConfig", Outcome.BUILD_ERROR), ("compile", Outcome.BUILD_ERROR), ("RuntimeFailedConfig", Outcome.CRASH),
        ("runtime", Outcome.CRASH), ("timeout", Outcome.TIMEOUT), ("out_of_memory", Outcome.OUT_OF_MEMORY), ("correctness", Outcome.WRONG),
        ("InvalidConfig", Outcome.CRASH),
    ],
)  # fmt: skip
def test_recorded_failures_become_outcomes(tmp_path: Path, status: str, outcome: Outcome) -> None:
    evaluator = TabularEvaluator(str(write(tmp_path, f"A,status,time_ms,cost_ms\n1,ok,1,1\n2,{status},,70\n")))
    prepared = evaluator.prepare(evaluator.seeds()[0].with_values({"A": 2}))
    evaluation = evaluator.measure(prepared)
    assert evaluation.outcome is outcome and evaluation.objective is None
    assert evaluation.diagnostics[0].reason == "recorded_failure" and status in evaluation.diagnostics[0].message
    assert dict(evaluation.cost) == {"recorded": pytest.approx(0.07)}
    assert (prepared.failed is not None) == (outcome is Outcome.BUILD_ERROR)


def test_what_was_not_recorded_is_infeasible_and_costs_nothing(evaluator: TabularEvaluator) -> None:
    (seed,) = evaluator.seeds()
    others = [
        Kernel("tabular", seed.source.replace("UNROLL = 1", "UNROLL = 2")),
        Kernel("tabular", "TILE_X = 64  # evo: {64}\nUNROLL = 1  # evo: {1}\nMODE = \"fast\"  # evo: {\"fast\"}\n"),
        Kernel("tabular", "OTHER = 1  # evo: {1}\n"),
    ]
    for kernel in others:
        prepared = evaluator.prepare(kernel)
        assert prepared.failed is not None and prepared.failed.outcome is Outcome.INFEASIBLE and not prepared.cost
        assert evaluator.measure(prepared) is prepared.failed


def test_a_malformed_text_is_a_build_error(evaluator: TabularEvaluator) -> None:
    prepared = evaluator.prepare(Kernel("tabular", "A = 1  # evo: {2, 3}\n"))
    assert prepared.failed is not None and prepared.failed.outcome is Outcome.BUILD_ERROR


def test_certificates_are_exact(evaluator: TabularEvaluator) -> None:
    (seed,) = evaluator.seeds()
    best = evaluator.prepare(seed.with_values({"TILE_X": 16, "UNROLL": 2, "MODE": "slow"}))
    certificate = evaluator.certify(best, evaluator.prepare(seed))
    assert certificate.ok and certificate.strongest == "median" and certificate.roofline_share is None
    assert set(certificate.against) == {"median", "seed"}
    for name, factor in (("median", 2.0), ("seed", 4.0)):
        estimate = certificate.against[name]
        assert estimate.low == estimate.value == estimate.high == pytest.approx(factor)
    failed = evaluator.certify(evaluator.prepare(seed.with_values({"TILE_X": 32, "UNROLL": 2})))
    assert not failed.ok and failed.diagnostics


def test_duels_are_decided_by_the_record(evaluator: TabularEvaluator) -> None:
    (seed,) = evaluator.seeds()
    slow, fast = evaluator.prepare(seed), evaluator.prepare(seed.with_values({"TILE_X": 16}))
    assert evaluator.duel(fast, slow).advantage == pytest.approx(math.log(2.0))
    low, high = evaluator.duel(slow, fast).interval
    assert low == high == pytest.approx(-math.log(2.0))


def test_looking_up_is_fast(tmp_path: Path) -> None:
    rows = "".join(f"{a},{b},{c},{d},ok,{1 + a + b},1\n" for a in range(8) for b in range(8) for c in range(8) for d in range(8))
    evaluator = TabularEvaluator(str(write(tmp_path, "A,B,C,D,status,time_ms,cost_ms\n" + rows)))
    (seed,) = evaluator.seeds()
    kernels = [seed.with_key(key) for key in list(seed.space.keys())[:2000]]
    for kernel in kernels:
        assert kernel.id
    start = time.process_time()
    for kernel in kernels:
        evaluator.measure(evaluator.prepare(kernel))
    assert (time.process_time() - start) / len(kernels) < 200e-6  # about 15 µs on a quiet machine


REAL = Path(os.environ.get("EVO_AUTOTUNING_DATA", Path(__file__).resolve().parents[3] / "shared" / "data" / "autotuning"))


@pytest.mark.skipif(not REAL.is_dir(), reason="no recorded spaces here; name their folder in EVO_AUTOTUNING_DATA")
def test_published_spaces_load() -> None:
    files = sorted(REAL.glob("*.csv.gz"))
    assert files
    for path in files:
        evaluator = TabularEvaluator(str(path))
        space = evaluator.space(evaluator.seeds()[0])
        assert space.size == len(evaluator.recording.rows) > 1000
        assert evaluator.best <= evaluator.median
        assert evaluator.measure(evaluator.prepare(evaluator.seeds()[0])).ok
