"""Comparisons from end to end, on small recorded spaces."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_problem import tiny_problem

from evo.compare import compare
from evo.compare.config import ALWAYS, CompareConfig, load_comparison, parse_comparison
from evo.compare.runner import Advance, one_thread_each
from evo.compare.schedule import schedule
from evo.errors import UserError, as_user_error
from fitness.targets.base import TargetError


def write_space(path: Path, seed: int = 0) -> Path:
    """A recorded space of 5 x 4 x 4 configurations with an easy optimum and some failures."""
    lines = ["A,B,C,status,time_ms,cost_ms"]
    for a in range(5):
        for b in range(4):
            for c in range(4):
                time_ms = 1.0 + (a - 3) ** 2 + 0.5 * (b - (seed + 1) % 4) ** 2 + 0.25 * abs(c - 2) + 0.01 * ((7 * a + 3 * b + c + seed) % 5)
                failed = (a + b + c) % 9 == 8
                lines.append(f"{2**a},{b},{c},{'compile' if failed else 'ok'},{'' if failed else round(time_ms, 4)},{10 + a}")
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def problems(tmp_path: Path) -> list[str]:
    return [str(write_space(tmp_path / f"space{seed}.csv", seed)) for seed in range(2)]


def config(spaces: list[str], **changes: Any) -> CompareConfig:
    plain: dict[str, Any] = {
        "name": "small", "problems": spaces, "strategies": ["map_elites"], "seeds": 3, "budget": {"evaluations": 20}, "resamples": 100,
        "deterministic": True, "jobs": 1,
    }  # fmt: skip
    return parse_comparison({**plain, **changes})


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("curves.csv", "tests.csv", "report.md")}


def test_a_comparison_has_every_run_under_the_same_budget_and_the_plain_strategies_always_in(problems: list[str], tmp_path: Path) -> None:
    result = compare(config(problems), tmp_path / "out")
    expected = {"map_elites", *ALWAYS}
    assert {outcome.strategy for outcome in result.outcomes} == expected
    assert len(result.outcomes) == 2 * 3 * len(expected)
    assert {len(outcome.objective) for outcome in result.outcomes} == {20}
    rows = list(csv.DictReader(result.curves.open()))
    assert len(rows) == 20 * len(result.outcomes)
    for name in ("by_evaluations", "by_seconds", "overall", "ecdf", "profile"):
        assert result.pictures[name].stat().st_size > 5000
    text = result.report.read_text()
    assert all(f"({path.name})" in text for path in result.pictures.values())


def test_curves_say_what_the_recording_says(problems: list[str], tmp_path: Path) -> None:
    result = compare(config(problems), tmp_path / "out")
    for row in csv.DictReader(result.curves.open()):
        assert float(row["found"] or 0) <= 1.0 + 1e-9
        if row["speedup"]:
            assert float(row["best_speedup"]) >= float(row["speedup"]) - 1e-6
        assert float(row["seconds"]) >= 0.010 * int(row["evaluation"]) - 1e-9  # every evaluation cost 10 to 14 ms
        assert 0 <= float(row["qd_score"]) <= 1.0 + 1e-9
    known = result.analysis.references["space0"]
    assert known.configurations == 80 and known.objectives is not None and known.exact


def test_the_same_comparison_gives_the_same_bytes_on_one_core_and_on_two(problems: list[str], tmp_path: Path) -> None:
    one = compare(config(problems, jobs=1), tmp_path / "one", command="evo compare x")
    two = compare(config(problems, jobs=2), tmp_path / "two", command="evo compare x")
    assert one.curves.read_bytes() == two.curves.read_bytes()
    assert (one.folder / "tests.csv").read_bytes() == (two.folder / "tests.csv").read_bytes()


def test_finished_runs_are_kept_and_only_what_is_new_is_run(problems: list[str], tmp_path: Path) -> None:
    first = compare(config(problems), tmp_path / "out")
    before = (tmp_path / "out" / "runs.jsonl").read_bytes()
    seen: list[Advance] = []
    again = compare(config(problems, seeds=4), tmp_path / "out", seen.append)
    kept = len(first.outcomes)
    assert seen[0].done == seen[0].kept == kept and seen[-1].done == seen[-1].total == len(again.outcomes) == kept // 3 * 4
    assert (tmp_path / "out" / "runs.jsonl").read_bytes().startswith(before)
    fewer = compare(config(problems), tmp_path / "out", command="evo compare x")
    assert fewer.curves.read_bytes() == first.curves.read_bytes() != b""


def test_what_a_run_depends_on_is_in_its_identity(problems: list[str], tmp_path: Path) -> None:
    plain = {task.identity for task in schedule(config(problems))}
    assert len(plain) == len(schedule(config(problems)))
    greedy = config(problems, strategies=[{"name": "map_elites", "greed": 1.0}])
    assert {t.identity for t in schedule(greedy) if t.strategy == "map_elites"}.isdisjoint(plain)
    longer = config(problems, budget={"evaluations": 21})
    assert {t.identity for t in schedule(longer)}.isdisjoint(plain)
    write_space(Path(problems[0]), seed=2)
    changed = {t.identity for t in schedule(config(problems)) if t.problem == "space0"}
    assert changed.isdisjoint(plain)
    relabelled = config([], strategies=[{"name": "map_elites", "label": "ours"}], problems=[{"problem": problems[1], "name": "q"}])
    assert {t.identity for t in schedule(relabelled)} <= plain
    moved = Path(problems[1]).rename(tmp_path / "elsewhere.csv")
    assert {t.identity for t in schedule(config([str(moved)]))} <= plain


def test_killed_in_the_middle_it_goes_on_and_ends_with_the_same_bytes(problems: list[str], tmp_path: Path) -> None:
    whole = compare(config(problems, seeds=12), tmp_path / "whole", command="evo compare x")
    out = tmp_path / "killed"
    script = (
        "import json, sys\nfrom evo.compare import compare\nfrom evo.compare.config import parse_comparison\n"
        "if __name__ == '__main__':\n    compare(parse_comparison(json.loads(sys.argv[1])), sys.argv[2])\n"
    )
    (tmp_path / "go.py").write_text(script)
    plain = config(problems, seeds=12, jobs=2).model_dump(mode="json")
    for _ in range(2):
        process = subprocess.Popen([sys.executable, str(tmp_path / "go.py"), json.dumps(plain), str(out)])
        begun = finished_lines(out)
        deadline = time.monotonic() + 60
        while finished_lines(out) <= begun + 2 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with (out / "runs.jsonl").open("ab") as journal:
        journal.write(b'{"run":"cut off in the mid')
    resumed = compare(config(problems, seeds=12), out, command="evo compare x")
    rows = [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()[1:]]
    assert len({row["run"] for row in rows}) == len(rows) == len(resumed.outcomes)
    assert resumed.curves.read_bytes() == whole.curves.read_bytes()


@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_ends_it_soon_whenever_it_comes_and_leaves_whole_runs_only(jobs: int, problems: list[str], tmp_path: Path) -> None:
    whole = compare(config(problems, seeds=20), tmp_path / "whole")
    (tmp_path / "c.json").write_text(json.dumps(config(problems, seeds=20, jobs=jobs).model_dump(mode="json")))
    out = tmp_path / "interrupted"
    for patience in (0, 3, 8):
        command = [sys.executable, "-m", "evo", "compare", str(tmp_path / "c.json"), "-o", str(out)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        begun, deadline = finished_lines(out), time.monotonic() + 60
        while finished_lines(out) <= begun + patience and time.monotonic() < deadline:
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130 and "finished runs are kept" in said
    resumed = compare(config(problems, seeds=20), out)
    assert resumed.curves.read_bytes() == whole.curves.read_bytes()


def finished_lines(out: Path) -> int:
    path = out / "runs.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_workers_and_the_command_line_do_linear_algebra_in_one_thread_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    ask = [sys.executable, "-c", "import os; print(os.environ['OPENBLAS_NUM_THREADS'], os.environ['OMP_NUM_THREADS'])"]
    with one_thread_each():
        assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == "1 1\n"
    assert "OPENBLAS_NUM_THREADS" not in os.environ and os.environ["OMP_NUM_THREADS"] == "7"
    text = (
        "import os, sys; from evo.__main__ import main; sys.argv = ['evo', 'version']\n"
        "try: main()\nexcept SystemExit: print(os.environ['OPENBLAS_NUM_THREADS'])"
    )
    for given, expected in (({}, "1"), ({"OPENBLAS_NUM_THREADS": "3"}, "3")):
        done = subprocess.run([sys.executable, "-c", text], env={**os.environ, **given}, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == expected


def test_two_processes_cannot_do_one_comparison(problems: list[str], tmp_path: Path) -> None:
    hold = "import fcntl, sys, time\nf = open(sys.argv[1], 'a')\nfcntl.lockf(f, fcntl.LOCK_EX)\nprint(1, flush=True)\ntime.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", hold, str(tmp_path / "runs.jsonl")], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline()
        with pytest.raises(UserError, match="Another process"):
            compare(config(problems), tmp_path)
    finally:
        holder.kill()
        holder.wait()


def test_a_budget_in_recorded_seconds_ends_runs_by_what_recording_took(problems: list[str], tmp_path: Path) -> None:
    result = compare(config(problems, budget={"seconds": 0.2}), tmp_path / "out")
    for outcome in result.outcomes:
        assert outcome.seconds[-1] >= 0.2 > outcome.seconds[-2] and outcome.stopped_by == "device_seconds"
    assert result.analysis.axis == "seconds" and result.analysis.checkpoints == (0.05, 0.1, 0.2)
    for standing in result.analysis.standings:
        early, _, late = (found.value for found in standing.found)
        assert 0 < early < late
    text = result.report.read_text()
    assert "| found @0.05 s | found @0.1 s | found @0.2 s |" in text and "random's end after (seconds)" in text
    assert "same share after n seconds" in text and "0.2 seconds a run" in text
    assert "seconds for what random has at the end" in text and "evaluations for what" not in text


def test_a_strategy_that_is_clearly_better_is_said_to_be_and_twins_are_not(problems: list[str], tmp_path: Path) -> None:
    twins = ["random", {"name": "random", "label": "random twin"}, "map_elites"]
    result = compare(config(problems, strategies=twins, seeds=10, budget={"evaluations": 30}), tmp_path / "out")
    pair = result.analysis.pair("random", "random twin")
    assert pair.p == 1.0 and pair.a12 == 0.5 and pair.needed == float("inf")
    text = result.report.read_text()
    assert "cannot tell" in text or "better than" in text
    assert "How to make this again" in text and "evo compare" in text


@pytest.mark.filterwarnings("error")
def test_problems_too_small_for_a_score_are_named_and_the_others_keep_theirs(problems: list[str], tmp_path: Path) -> None:
    tiny = tmp_path / "tiny.csv"
    tiny.write_text("A,B,status,time_ms,cost_ms\n1,1,ok,2.0,5\n1,2,ok,1.0,5\n2,1,compile,,5\n")
    little = tmp_path / "little.csv"
    little.write_text("A,B,status,time_ms,cost_ms\n" + "".join(f"{a},{b},ok,{1 + a + 4 * b},5\n" for a in range(4) for b in range(3)))
    both = compare(config([problems[0], str(little), str(tiny)]), tmp_path / "both").analysis
    assert both.scores.trivial == ("tiny",) and both.scores.cutoffs == {"space0": 37, "little": 6} and both.scores.partial == ("space0",)
    text = (tmp_path / "both" / "report.md").read_text()
    assert "score (95 %)" in text and "There is none on tiny, where an ideal random search has the best at once." in text
    assert "so few evaluations: 6 on little." in text and "shorter than that on space0," in text
    for index, standing in enumerate(both.standings):
        assert standing.score is not None and standing.score.value == pytest.approx(both.scores.values[:2, index].mean())
    lone = compare(config([str(tiny)]), tmp_path / "lone")
    assert "score (95 %)" not in lone.report.read_text() and "No **score**: there is none on tiny" in lone.report.read_text()


@pytest.mark.parametrize(
    ("change", "key", "words"),
    [
        ({"strategies": ["map_elits"]}, None, "map_elits"),
        ({"strategies": [{"name": "map_elites", "gred": 1.0}]}, None, "gred"),
        ({"strategies": ["map_elites", {"name": "map_elites", "greed": 1.0}]}, None, "label"),
        ({"problems": ["nowhere.csv"]}, None, "nowhere.csv"),
        ({"budget": {}}, "budget", "evaluations, seconds, dollars"),
        ({"problems": ["softmax"]}, None, "measured"),
        ({"seeds": []}, "seeds", "at least one"),
        ({"sede": 3}, "sede", "not a key"),
        ({"strategies": [], "controls": []}, "controls", "at least one strategy, here or in `strategies`"),
    ],
)
def test_mistakes_in_the_config_are_explained(
    problems: list[str], tmp_path: Path, change: dict[str, Any], key: str | None, words: str
) -> None:
    with pytest.raises((UserError, TargetError)) as caught:
        compare(config(problems, **change), tmp_path / "out")
    known = as_user_error(caught.value)
    assert known is not None and words in str(known)
    assert key is None or known.key == key
    assert not (tmp_path / "out" / "runs.jsonl").exists()


def test_a_comparison_of_nobody_is_a_mistake_with_a_remedy_and_one_of_the_controls_alone_is_none(problems: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        config(problems, strategies=[], controls=[])
    assert caught.value.found == "[]" and caught.value.expected is not None and caught.value.remedy is not None
    assert [entry.shown for entry in config(problems, strategies=[], controls=["random"]).contestants] == ["random"]


def test_a_file_is_read_with_its_own_folder_and_overrides(problems: list[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("problems: [./space0.csv, {problem: space1.csv, name: second}]\nstrategies: [random]\nbudget: {evaluations: 9}\n")
    loaded = load_comparison(file, ["seeds=2", "budget.evaluations=5"])
    assert loaded.name == "mine" and loaded.seed_list == (0, 1) and loaded.budget.evaluations == 5
    assert [problem.label for problem in loaded.problems] == ["space0", "second"]
    assert all(Path(problem.problem).is_absolute() for problem in loaded.problems)


def test_the_command_line_writes_the_report_and_json_says_the_same(problems: list[str], tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"problems: {json.dumps(problems)}\nstrategies: [map_elites]\nbudget: {{evaluations: 12}}\nseeds: 2\nresamples: 100\n")
    command = [sys.executable, "-m", "evo", "compare", str(file), "-o", str(tmp_path / "out"), "--jobs", "1"]
    plain = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "shown to be best" in plain.stdout and str(tmp_path / "out" / "report.md") in plain.stdout
    found = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert {each["strategy"] for each in found["strategies"]} == {"map_elites", *ALWAYS}


def measured_config(tmp_path: Path, **changes: Any) -> CompareConfig:
    problem = tmp_path / "tiny" if (tmp_path / "tiny").exists() else tiny_problem(tmp_path)
    plain: dict[str, Any] = {
        "name": "measured", "problems": [{"problem": str(problem), "evaluation": {"repetitions": 2}}],
        "strategies": ["random"], "seeds": 2, "budget": {"evaluations": 3}, "resamples": 100,
    }  # fmt: skip
    return parse_comparison({**plain, **changes})


def test_a_measured_problem_is_compared_too_and_its_elites_are_measured_afresh(tmp_path: Path) -> None:
    result = compare(measured_config(tmp_path), tmp_path / "out")
    assert {outcome.strategy for outcome in result.outcomes} == set(ALWAYS)
    for outcome in result.outcomes:
        assert len(outcome.objective) >= 3 and outcome.stopped_by in ("evaluations", "exhausted")
        assert outcome.remeasured is not None
        assert set(outcome.remeasured) <= set(outcome.elites)
        assert sorted(outcome.seconds) == list(outcome.seconds) and outcome.seconds[-1] > 0
    assert result.analysis.standings[0].qd_remeasured is not None and not result.analysis.references["tiny"].exact
    assert "QD re-measured" in result.report.read_text()
    for database in (tmp_path / "out" / "measured").glob("*/*.db"):  # each kernel was measured once, and nothing was certified
        with sqlite3.connect(database) as lineage:
            (events,) = lineage.execute("SELECT count(*) FROM archive_events WHERE kind != 'offer'").fetchone()
            (certified,) = lineage.execute("SELECT count(*) FROM certificates").fetchone()
        assert (events, certified) == (0, 0)


def test_where_measuring_is_dear_only_the_named_controls_are_in(tmp_path: Path) -> None:
    tasks = schedule(measured_config(tmp_path, strategies=["auto"], controls=["random"]))
    assert {task.strategy for task in tasks} == {"auto", "random"}
    more = schedule(measured_config(tmp_path, strategies=["auto"], controls=["random"], executor={"devices": 2, "builders": 3}))
    assert [task.identity for task in more] == [task.identity for task in tasks]  # who measures is not what is measured


def test_measured_runs_that_are_killed_go_on(tmp_path: Path) -> None:
    config = measured_config(tmp_path, controls=["random"], budget={"evaluations": 12})
    (tmp_path / "c.json").write_text(json.dumps(config.model_dump(mode="json")))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "evo", "compare", str(tmp_path / "c.json"), "-o", str(out)]
    for number in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
        begun, deadline = committed(out), time.monotonic() + 60
        while committed(out) <= begun + 2 and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=30)
        assert number == signal.SIGKILL or (process.returncode == 130 and "finished runs are kept" in said)
    before = committed(out)
    assert before >= 2
    short = compare(config, out, cut=True)
    (least,) = {len(outcome.objective) for outcome in short.outcomes}
    assert 2 <= least == short.analysis.budget <= 12 and len(short.outcomes) % 2 == 0
    result = compare(config, out)
    assert committed(out) >= before and len(result.outcomes) == 2
    assert all(len(outcome.objective) >= 8 for outcome in result.outcomes)


def committed(out: Path) -> int:
    """Candidates in the databases of the measured runs."""
    total = 0
    for database in (out / "measured").glob("*/*.db"):
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as lineage:
            total += lineage.execute("SELECT count(*) FROM candidates").fetchone()[0]
    return total


def test_what_models_cost_has_curves_of_its_own(problems: list[str], tmp_path: Path) -> None:
    from dataclasses import replace

    import numpy as np

    from evo.compare.pictures import draw_pictures

    result = compare(config(problems), tmp_path / "out")
    assert "by_dollars" not in result.pictures
    paid = [
        replace(run, dollars=0.01 * np.arange(1.0, len(run.objective) + 1)) if run.strategy == "map_elites" else run
        for run in result.outcomes
    ]  # fmt: skip
    assert draw_pictures(result.analysis, paid, tmp_path)["by_dollars"].stat().st_size > 5000
