"""Suites: many runs in one go, resumable run by run; what their tables and pictures say."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from instant_evaluator import Instant
from instant_runs import config, make_run, open_again

from evo.cli import main
from evo.config import Config
from evo.errors import UserError
from evo.facts import Estimated
from evo.plots.suite import draw_suite, shares
from evo.run import Run
from evo.suites.config import Suite, load_suite
from evo.suites.energy import EnergyLog, Meter
from evo.suites.runner import SuiteRun
from evo.suites.side_by_side import side_by_side
from evo.suites.table import Row, as_csv, as_markdown, cells, columns
from evo.summary import Summary


@pytest.fixture
def files(tmp_path: Path, small_space: Path) -> Path:
    """A suite of three recorded searches."""
    (tmp_path / "base.yaml").write_text(f"problem: {small_space}\ntarget: tabular\nbudget: {{evaluations: 400}}\nexecutor: inline\n")
    (tmp_path / "suite.yaml").write_text(
        "runs:\n  - {config: base.yaml, set: {name: one}}\n  - {config: base.yaml, set: {name: two, seed: 5}}\n"
        "  - {config: base.yaml, set: {name: three, strategy.name: random}}\nset: {budget.evaluations: 12}\n"
    )
    return tmp_path


def rows_of(folder: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads((folder / "suite.json").read_text())["rows"]
    return found


def test_a_suite_searches_every_run_and_leaves_table_data_and_origin(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["suite", str(files / "suite.yaml"), "-o", str(files / "out")]
    monkeypatch.setattr("sys.argv", ["/usr/bin/evo", *arguments])
    assert main(arguments) == 0
    rows = rows_of(files / "out")
    assert [row["name"] for row in rows] == ["one", "two", "three"]
    assert all(row["state"] == "certified" and row["evaluations"] == 12 for row in rows)
    assert len(list(csv.DictReader(io.StringIO((files / "out" / "suite.csv").read_text())))) == 3
    assert (files / "out" / "suite.md").read_text().count("\n| ") == 5
    assert json.loads((files / "out" / "suite.json").read_text())["origin"]["command"].startswith("evo ")
    assert "one" in capsys.readouterr().out


def test_the_same_command_again_touches_nothing_that_is_finished(files: Path) -> None:
    arguments = ["suite", str(files / "suite.yaml"), "-o", str(files / "out")]
    assert main(arguments) == 0
    before = {path: path.stat().st_mtime_ns for path in (files / "out").glob("*/run.db")}
    assert len(before) == 3
    assert main(arguments) == 0
    assert {path: path.stat().st_mtime_ns for path in (files / "out").glob("*/run.db")} == before


def test_one_run_alone_can_be_searched_now(files: Path) -> None:
    assert main(["suite", str(files / "suite.yaml"), "-o", str(files / "out"), "--only", "two"]) == 0
    assert [row["state"] for row in rows_of(files / "out")] == ["waiting", "certified", "waiting"]
    assert main(["suite", str(files / "suite.yaml"), "-o", str(files / "out"), "--only", "four"]) == 2


def test_a_search_without_a_table_leaves_that_to_later(files: Path) -> None:
    arguments = ["suite", str(files / "suite.yaml"), "-o", str(files / "out"), "--only", "two"]
    assert main([*arguments, "--search-only"]) == 0
    assert not (files / "out" / "suite.md").exists()
    assert main([*arguments, "--table"]) == 0
    assert [row["state"] for row in rows_of(files / "out")] == ["waiting", "certified", "waiting"]


def test_more_devices_than_there_are_is_a_clear_error(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["suite", str(files / "suite.yaml"), "-o", str(files / "out"), "--devices", "2"]) == 2
    assert "tabular" in capsys.readouterr().err


TELL = "import os, time; time.sleep(0.5); print(os.environ['CUDA_VISIBLE_DEVICES'], sorted(os.sched_getaffinity(0)))"


def test_runs_side_by_side_have_a_device_and_a_share_of_the_cores(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d"]
    ended = list(side_by_side(names, ["3", "5"], lambda name: [sys.executable, "-c", TELL], tmp_path))
    assert sorted(one.name for one in ended) == names and all(one.status == 0 for one in ended)
    told = [one.log.read_text().split(" ", 1) for one in ended]
    cores = {device: text for device, text in told}
    assert set(cores) == {"3", "5"} and sum(device == "3" for device, _ in told) == 2, "each device took its next run"
    if len(os.sched_getaffinity(0)) > 1:
        assert cores["3"] != cores["5"]


def test_ctrl_c_ends_what_is_under_way_and_begins_no_other(tmp_path: Path) -> None:
    patient = "import sys, time\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    sys.exit(130)"
    timer = threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    ended = list(side_by_side(["a", "b", "c"], ["0", "1"], lambda name: [sys.executable, "-c", patient], tmp_path))
    assert sorted((one.name, one.status) for one in ended) == [("a", 130), ("b", 130)]


def test_a_run_that_cannot_be_searched_is_told_in_the_table_and_the_others_go_on(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "broken.yaml").write_text(f"problem: {files / 'nothing.csv'}\ntarget: tabular\nbudget: {{evaluations: 5}}\n")
    (files / "mixed.yaml").write_text("runs: [broken.yaml, base.yaml]\nset: {budget.evaluations: 5}\n")
    assert main(["suite", str(files / "mixed.yaml"), "-o", str(files / "out")]) == 2
    first, second = rows_of(files / "out")
    assert first["state"] == "failed" and first["message"]
    assert second["state"] == "certified"
    assert str(first["message"])[:20] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("runs: []\n", "runs"),
        ("runs: [base.yaml]\nbudget: {minutes: 3}\n", "budget"),
        ("runs: [base.yaml, base.yaml]\n", "runs.1"),
        ("runs: [base.yaml]\nset: {budget.minuets: 3}\n", "budget.minuets"),
    ],
)
def test_mistakes_in_a_suite_name_the_key(files: Path, text: str, key: str) -> None:
    (files / "wrong.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        load_suite(files / "wrong.yaml")
    assert caught.value.key == key


def instant_suite(folder: Path, names: tuple[str, ...]) -> Suite:
    from evo.suites.config import Entry

    return Suite("instant", folder / "instant.yaml", tuple(Entry(name, config(name=name)) for name in names))


def instant_runner(folder: Path, names: tuple[str, ...] = ("one", "two"), **settings: object) -> SuiteRun:
    def create(made: Config, path: Path) -> Run:
        return make_run(path, Instant(), name=made.name)

    return SuiteRun(instant_suite(folder, names), folder, create=create, reopen=open_again, **settings)  # type: ignore[arg-type]


def test_an_interrupted_run_is_continued_where_it_was(tmp_path: Path) -> None:
    runner = instant_runner(tmp_path)
    first = runner.pending()[0]
    seen = 0

    def interrupted(run: Run) -> Summary:
        def stop(progress: object) -> None:
            nonlocal seen
            seen += 1
            if getattr(progress, "evaluations", 0) >= 5:
                run.stop()

        return run.search(stop, picture=False)

    assert runner.search(first, interrupted) is False
    again = instant_runner(tmp_path)
    assert [entry.name for entry in again.pending()] == ["one", "two"]
    for entry in again.pending():
        assert again.search(entry, lambda run: run.search(picture=False))
    assert [row.evaluations for row in again.rows()] == [60, 60]
    assert not instant_runner(tmp_path).pending()


def test_joules_are_summed_over_sessions_and_unknown_once_one_was_killed(tmp_path: Path) -> None:
    counters = tmp_path / "powercap" / "intel-rapl:0"
    (counters.parent / "intel-rapl:0:0").mkdir(parents=True)
    counters.mkdir()
    (counters / "max_energy_range_uj").write_text("1000000000\n")
    (counters / "energy_uj").write_text("999000000\n")

    def search(run: Run) -> Summary:
        (counters / "energy_uj").write_text("4000000\n")  # it wrapped around
        return run.search(picture=False)

    runner = instant_runner(tmp_path / "suite", ("one",), meter=lambda: Meter(tmp_path / "powercap"))
    assert runner.search(runner.pending()[0], search)
    (row,) = runner.rows()
    assert row.joules == pytest.approx(5.0, abs=1e-3)
    assert "joules" in columns([row])
    log = EnergyLog(tmp_path / "suite" / "one")
    log.begin()
    assert log.total() is None
    assert Meter(tmp_path / "nothing").joules() is None


ROWS = [
    Row("softmax", "softmax", "certified", 5.2, 69.0, {"numpy": 26.0, "torch": 13.0}, "torch", Estimated(2.5, 2.4, 2.6),
        Estimated(13.3, 13.0, 13.6), 0.86, 400, 130.0, None, "a processor"),
    Row("matmul", "matmul", "certified", 20.4, 3473.0, {"numpy": 21.0}, "numpy", Estimated(1.03, 0.99, 1.07),
        Estimated(170.0, 165.0, 175.0), 0.88, 900, 300.0, None, "a processor"),
    Row("broken", state="failed", message="There is no compiler"),
]  # fmt: skip


def test_the_table_has_a_column_for_every_baseline_and_none_for_joules_nobody_told() -> None:
    shown = columns(ROWS)
    assert shown.index("numpy ms") < shown.index("torch ms") < shown.index("evolved ms") and "joules" not in shown
    matmul = dict(zip(shown, cells(ROWS[1], shown), strict=True))
    assert (matmul["evolved ms"], matmul["torch ms"], matmul["of roofline"], matmul["speedup"]) == ("20.4", "", "88%", "1.03×")
    assert "There is no compiler" in as_markdown(ROWS)
    read = list(csv.DictReader(io.StringIO(as_csv(ROWS))))
    assert float(read[0]["torch_ms"]) == 13.0 and read[1]["torch_ms"] == "" and read[2]["state"] == "failed"


def test_each_kernel_is_held_against_the_ceiling_that_its_certificate_names() -> None:
    copied = {"plain copy": 1.3, "streaming copy": 0.9, "FMA peak": 0.03}
    rows = [
        replace(ROWS[0], name="layernorm", roofline="plain copy", shares={"plain copy": 0.85, "streaming copy": 0.6}),
        replace(ROWS[0], name="cumsum", roofline="streaming copy", shares=copied),
        replace(ROWS[1], roofline="FMA peak", shares={"plain copy": 0.1, "streaming copy": 0.07, "FMA peak": 0.8}),
    ]
    shown = columns(rows)
    layernorm, cumsum, matmul = (dict(zip(shown, cells(row, shown), strict=True)) for row in rows)
    assert (layernorm["of roofline"], layernorm["roofline"], layernorm["of plain copy"]) == ("85%", "plain copy", "85%")
    assert (cumsum["of roofline"], cumsum["roofline"], cumsum["of plain copy"]) == ("90%", "streaming copy", "130%")
    assert (matmul["of roofline"], matmul["roofline"], matmul["of plain copy"]) == ("80%", "FMA peak", "")
    read = list(csv.DictReader(io.StringIO(as_csv(rows))))
    assert float(read[1]["share_plain_copy"]) == 1.3 and read[1]["share_random_gather"] == "" and read[2]["roofline"] == "FMA peak"
    assert shares(rows[2])["evolved"] == 0.8
    assert "of plain copy" not in columns(ROWS)


def test_the_picture_shows_shares_of_the_same_roofline(tmp_path: Path) -> None:
    assert shares(ROWS[0])["torch"] == pytest.approx(0.86 * 5.2 / 13.0)
    from evo.plots import save

    path = save(draw_suite("cpu", ROWS), tmp_path / "suite.png")
    assert path.stat().st_size > 10_000
    with pytest.raises(ValueError, match="roofline"):
        draw_suite("cpu", ROWS[2:])


def test_the_shipped_suite_names_twelve_problems_that_exist(repository: Path) -> None:
    from fitness.problem import Problem

    suite = load_suite(repository / "experiments" / "suites" / "cpu.yaml")
    assert len(suite.entries) == 12
    problems = {Problem.find(entry.config.problem).name for entry in suite.entries}
    assert len(problems) == 12
