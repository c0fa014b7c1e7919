"""The command line: what bad input gets, and how commands end when something goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from evo.cli import main


def complaint_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Standard error of a command that the user got wrong: exit code 2, nothing on standard output, no traceback."""
    capsys.readouterr()
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert not said.out
    return said.err


# ── bad input ──


def test_an_unknown_run_names_the_runs_there_are(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint_of(capsys, "status", "gamma")
    assert "alpha, beta" in said and "remedy:" in said


def test_an_ambiguous_prefix_names_the_matches(
    here: Path, runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("twin-1", "twin-2"):
        shutil.copytree(runs / "alpha", here / "runs" / name)
    monkeypatch.setenv("EVO_RUNS", str(here / "runs"))
    assert "twin-1, twin-2" in complaint_of(capsys, "status", "twin")


def test_a_folder_that_is_no_run_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "empty").mkdir()
    assert "run.db" in complaint_of(capsys, "status", f"{here}/empty")


@pytest.mark.parametrize("candidate", ["9999", "zz", "-1", "abcd"])
def test_an_unknown_candidate_says_which_there_are(here: Path, candidate: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint_of(capsys, "show", "alpha", "--", candidate)
    assert "candidates 0 to" in said


def test_a_strategy_without_operators_to_choose_among_says_so_with_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("problem: cumsum\nstrategy:\n  name: random\n  adaptive: true\nbudget: {evaluations: 5}\n")
    said = complaint_of(capsys, "run", str(config), "-o", str(tmp_path / "out"))
    assert f"{config}:4" in said and "strategy.adaptive" in said and "is the whole of it" in said and "remedy:" in said
    said = complaint_of(capsys, "run", str(config), "-o", str(tmp_path / "out"), "--set", "strategy.adaptive=false")
    assert "False (from --set)" in said and str(config) not in said


def test_an_unknown_experiment_names_the_shipped_ones(capsys: pytest.CaptureFixture[str]) -> None:
    said = complaint_of(capsys, "run", "sofmax")
    assert all(name in said for name in ("layernorm", "matmul", "softmax", "transpose"))


def test_an_unknown_key_is_refused_with_file_line_and_suggestion(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("problem: softmax\nbudget:\n  minuts: 3\n")
    said = complaint_of(capsys, "run", str(config), "-o", str(tmp_path / "r"))
    assert f"{config}:3" in said and "budget.minuts" in said and "minutes" in said
    assert not (tmp_path / "r").exists()


def test_a_bad_override_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--set" in complaint_of(capsys, "run", "softmax", "--set", "budget.minutes")


def test_an_unknown_problem_names_the_known_ones_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("problem: sofmax\nbudget: {evaluations: 3}\n")
    capsys.readouterr()
    assert main(["run", str(config), "-o", str(tmp_path / "r")]) == 2
    said = capsys.readouterr().err
    assert "softmax" in said and "Traceback" not in said
    assert not (tmp_path / "r" / "run.db").exists()


def test_a_picture_of_an_unknown_format_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ".png" in complaint_of(capsys, "plot", "alpha", "-o", "x.bmp")


def test_a_newer_database_is_refused_with_both_versions(here: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "alpha", here / "newer")
    connection = sqlite3.connect(here / "newer" / "run.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for verb in ("status", "resume"):
        capsys.readouterr()
        assert main([verb, str(here / "newer")]) == 2
        assert "99" in capsys.readouterr().err


def test_a_run_in_use_is_refused_for_writing_and_can_be_read(here: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(runs / "alpha", here / "busy")
    database = here / "busy" / "run.db"
    code = f"from archive.lineage import Lineage\nl = Lineage.open({str(database)!r})\nprint('held', flush=True)\ninput()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline().strip() == "held"
        capsys.readouterr()
        assert main(["status", str(here / "busy"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["state"] == "running"
        assert main(["resume", str(here / "busy")]) == 2
        assert str(holder.pid) in capsys.readouterr().err
    finally:
        holder.communicate("\n", timeout=30)


def test_usage_errors_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lss"]) == 2
    assert "ls" in capsys.readouterr().err
    assert main(["run"]) == 2


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    said = capsys.readouterr()
    assert "Commands" in said.out + said.err


# ── how it ends ──


def test_a_reader_that_goes_away_is_no_error(here: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"'{sys.executable}' -m evo show alpha best | head -1; echo ${{PIPESTATUS[0]}}"],
        capture_output=True, text=True, timeout=60, cwd=here,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines()[0].startswith("candidate:")


def test_a_defect_is_one_block_with_a_log_and_exit_code_1(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import evo.reading

    def broken(folder: Path) -> None:
        raise ZeroDivisionError("quite unexpected")

    monkeypatch.setattr(evo.reading, "open_run", broken)
    capsys.readouterr()
    assert main(["status", "alpha"]) == 1
    said = capsys.readouterr().err
    assert "quite unexpected" in said and "Traceback" not in said
    log = Path(next(line.split(":", 1)[1].strip() for line in said.splitlines() if line.strip().startswith("log:")))
    assert "ZeroDivisionError" in log.read_text()


def test_the_traceback_of_a_user_error_is_there_for_who_asks(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EVO_DEBUG", "1")
    assert main(["status", "gamma"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("code", [("ENOSPC", "No space left"), ("EROFS", "Read-only")])
def test_a_disk_that_refuses_is_the_users_to_put_right(
    code: tuple[str, str], here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno

    number = getattr(errno, code[0])

    def full(self: Path, *arguments: object, **options: object) -> int:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, "write_text", full)
    assert code[1] in complaint_of(capsys, "best", "alpha", "-o", "x.py")
