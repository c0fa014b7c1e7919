"""The command line: what each verb prints, for people, pipes and programs."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evo.cli import main


def out_of(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(arguments) == code
    return capsys.readouterr().out


# ── running ──


def test_a_run_ends_with_the_certified_figure_its_source_its_picture_and_its_lineage(
    small_space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"problem: {small_space}\ntarget: tabular\nbudget: {{evaluations: 30}}\nexecutor: inline\n")
    out = out_of(capsys, "run", str(config), "-o", str(tmp_path / "r"))
    lines = {line.split(":")[0]: line for line in out.splitlines() if ":" in line}
    assert "×" in lines["certified"] and "prediction interval" in lines["certified"]
    assert "over the plain seed" in out
    assert (tmp_path / "r" / "picture.png").stat().st_size > 10_000
    for label, file in (("source", "best.py"), ("picture", "picture.png"), ("lineage", "run.db")):
        assert file in lines[label]
    assert "resume" not in lines


def test_no_plot_draws_nothing_and_loads_no_matplotlib(small_space: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"problem: {small_space}\ntarget: tabular\nbudget: {{evaluations: 5}}\nexecutor: inline\n")
    code = (
        "import sys\nfrom evo.cli import main\n"
        f"assert main(['run', {str(config)!r}, '--no-plot', '-o', {str(tmp_path / 'r')!r}]) == 0\n"
        "heavy = {'matplotlib', 'litellm', 'deap', 'scipy', 'torch'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "r" / "picture.png").exists()


def test_run_as_json_prints_one_document_and_progress_elsewhere(
    small_space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"problem: {small_space}\ntarget: tabular\nbudget: {{evaluations: 20}}\nexecutor: inline\n")
    summary = json.loads(out_of(capsys, "run", str(config), "--json", "--no-plot", "-o", str(tmp_path / "r")))
    assert summary["evaluations"] == 20
    assert summary["stopped_by"] == "evaluations"
    assert summary["certificate"]["ok"] is True


def test_overrides_reach_the_run(small_space: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"problem: {small_space}\ntarget: tabular\nbudget: {{evaluations: 20}}\nexecutor: inline\n")
    arguments = ("--set", "budget.evaluations=7", "--set", "strategy=random", "--json", "--no-plot", "-o", str(tmp_path / "r"))
    assert json.loads(out_of(capsys, "run", str(config), *arguments))["evaluations"] == 7


def test_ctrl_c_ends_with_a_summary_and_the_command_that_resumes(small_space: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(
        f"problem: {small_space}\ntarget: tabular\nbudget: {{minutes: 5, barren: 100000000}}\nexecutor: inline\nstrategy: random\n"
    )
    command = [sys.executable, "-m", "evo", "run", str(config), "-o", str(tmp_path / "r")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "r" / "run.db").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "ended by interrupted" in out
    assert f"evo resume {tmp_path / 'r'}" in out


def test_a_finished_run_can_be_resumed_without_harm(here: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "alpha", here / "copy")
    summary = json.loads(out_of(capsys, "resume", str(here / "copy"), "--json", "--no-plot"))
    assert summary["evaluations"] == 60


def test_certify_measures_again_and_keeps_the_certificate(here: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "alpha", here / "copy")
    count = "select count(*) from certificates"
    before = sqlite3.connect(here / "copy" / "run.db").execute(count).fetchone()[0]
    out = out_of(capsys, "certify", str(here / "copy"), "0", "best")
    assert "candidate 0" in out and out.count("certified:") == 2
    assert sqlite3.connect(here / "copy" / "run.db").execute(count).fetchone()[0] == before + 2


# ── looking ──


def test_ls_lists_runs_one_line_each_without_a_terminal(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    header, *lines = out_of(capsys, "ls").splitlines()
    assert header.split()[:2] == ["run", "problem"]
    assert [line.split()[0] for line in lines] == ["alpha", "beta"]
    assert all("\x1b" not in line and "│" not in line for line in lines)


def test_ls_as_json_composes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alpha, beta = json.loads(out_of(capsys, "ls", "--json"))
    assert (alpha["name"], alpha["evaluations"], alpha["state"]) == ("alpha", 60, "evaluations")
    assert beta["best"]["speedup"] > 1


def test_ls_of_nothing_says_how_to_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "evo run" in out_of(capsys, "ls", str(tmp_path))


def test_ls_passes_over_a_broken_run_and_names_it(here: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "alpha", here / "all" / "good")
    (here / "all" / "bad").mkdir()
    (here / "all" / "bad" / "run.db").write_bytes(b"this is no database" * 100)
    capsys.readouterr()
    assert main(["ls", str(here / "all")]) == 0
    said = capsys.readouterr()
    assert "good" in said.out and "bad" not in said.out
    assert "bad cannot be read" in said.err


def test_status_tells_state_counts_and_best(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = out_of(capsys, "status", "alpha")
    assert "60 evaluations" in out and "state:" in out and "certified:" in out and "resume" not in out


@pytest.mark.parametrize("reference", ["alpha", "al", "last"])
def test_a_run_is_found_by_name_prefix_and_last(here: Path, reference: str, capsys: pytest.CaptureFixture[str]) -> None:
    expected = "beta" if reference == "last" else "alpha"
    assert json.loads(out_of(capsys, "status", reference, "--json"))["name"] == expected


def test_a_run_is_found_by_its_folder_and_by_its_database(here: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for reference in (runs / "beta", runs / "beta" / "run.db"):
        assert json.loads(out_of(capsys, "status", str(reference), "--json"))["name"] == "beta"


def test_best_prints_the_source_and_nothing_else(here: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert out_of(capsys, "best", "alpha") == (runs / "alpha" / "best.py").read_text()


def test_best_writes_a_file(here: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert out_of(capsys, "best", "alpha", "-o", "kernel.py") == ""
    assert (here / "kernel.py").read_text() == (runs / "alpha" / "best.py").read_text()


def test_best_as_json_says_where_it_came_from(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = json.loads(out_of(capsys, "best", "alpha", "--json"))
    assert best["ancestry"].endswith(f"{best['candidate']} {best['operator']}")
    assert "TILE" in best["source"]


def test_show_tells_everything_about_a_candidate(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = json.loads(out_of(capsys, "best", "alpha", "--json"))
    out = out_of(capsys, "show", "alpha", str(best["candidate"]))
    for part in ("outcome:", "made by:", "speedup:", "tunables:", "── timings ──", "── profile ──", "── source ──", best["source"]):
        assert part in out
    assert "── certificate ──" in out and f"{best['certified']['value']:.2f}×" in out
    assert json.loads(out_of(capsys, "show", "alpha", str(best["candidate"]), "--json"))["certificate"]["ok"] is True
    if best["ancestry"] != f"{best['candidate']} {best['operator']}":
        assert "── ancestry ──" in out and "── difference to parent" in out


def test_show_of_a_child_marks_exactly_the_changed_lines(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(1, 60):
        child = json.loads(out_of(capsys, "show", "alpha", str(number), "--json"))
        if child["parents"] and child.get("diffs"):
            parent = json.loads(out_of(capsys, "show", "alpha", str(child["parents"][0]), "--json"))
            added = [line[1:] for line in next(iter(child["diffs"].values())).splitlines() if line.startswith("+") and line[:3] != "+++"]
            assert added == [line for line in child["source"].splitlines() if line not in parent["source"].splitlines()]
            return
    raise AssertionError("no candidate has a parent")


def test_show_of_a_failure_gives_its_diagnostics(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(60):
        known = json.loads(out_of(capsys, "show", "alpha", str(number), "--json"))
        if known["outcome"] == "build_error":
            assert "── diagnostics ──" in out_of(capsys, "show", "alpha", str(number))
            return
    pytest.skip("no failure in this run")


def test_show_finds_a_candidate_by_the_beginning_of_its_kernels_id(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = json.loads(out_of(capsys, "best", "alpha", "--json"))
    shown = json.loads(out_of(capsys, "show", "alpha", best["kernel"][:10], "--json"))
    assert shown["kernel"] == best["kernel"]


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_plot_writes_the_named_format(here: Path, suffix: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert out_of(capsys, "plot", "alpha", "-o", f"p{suffix}").strip() == f"p{suffix}"
    magic = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}[suffix]
    assert (here / f"p{suffix}").read_bytes().startswith(magic)


def test_plot_compares_several_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out_of(capsys, "plot", "alpha", "beta", "-o", "both.svg")
    assert (here / "both.svg").stat().st_size > 5_000


def test_looking_never_changes_a_run(here: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = runs / "alpha" / "run.db"
    before = database.read_bytes()
    for verb in (["status", "alpha"], ["best", "alpha"], ["show", "alpha", "3"], ["ls"], ["plot", "alpha", "-o", "x.png"]):
        out_of(capsys, *verb)
    assert database.read_bytes() == before


def test_a_run_in_a_folder_that_cannot_be_written_can_be_read(here: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "alpha", here / "frozen")
    (here / "frozen").chmod(0o555)
    try:
        assert "60 evaluations" in out_of(capsys, "status", str(here / "frozen"))
    finally:
        (here / "frozen").chmod(0o755)


# ── problems, schema, machine ──


def test_problems_are_listed_with_their_targets(capsys: pytest.CaptureFixture[str]) -> None:
    found = {problem["name"]: problem for problem in json.loads(out_of(capsys, "problems", "--json"))}
    assert {"softmax", "transpose", "layernorm", "matmul"} <= set(found)
    assert "cpp" in found["softmax"]["targets"]


def test_config_lists_every_key_of_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    from evo.config import describe

    keys = [row["key"] for row in json.loads(out_of(capsys, "config", "--json"))]
    assert keys == [key for key, _, _ in describe()]
    assert out_of(capsys, "config").splitlines()[0].split() == ["key", "default", "meaning"]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    import evo

    assert out_of(capsys, "version").strip() == evo.__version__


@pytest.mark.parametrize("name", ["softmax", "transpose", "layernorm", "matmul"])
def test_shipped_experiments_are_valid_and_found_by_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evo.cli.searching import find_config
    from evo.config import load_config

    monkeypatch.chdir(tmp_path)
    config = load_config(find_config(name))
    assert config.problem == name
    assert config.budget.minutes is not None


def test_evaluations_are_counted_alike_by_summary_and_status(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run in ("alpha", "beta"):
        summary = json.loads((Path(json.loads(out_of(capsys, "status", run, "--json"))["path"]) / "summary.json").read_text())
        assert json.loads(out_of(capsys, "status", run, "--json"))["evaluations"] == summary["evaluations"]
