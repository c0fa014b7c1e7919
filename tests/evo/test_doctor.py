"""The doctor tells what is so, names what is missing with the line that gets it, and never reads out a secret."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from evo import doctor
from evo.cli import main
from evo.doctor import Check, Report, examine


def by_name(report: Report) -> dict[str, Check]:
    return {f"{check.section}.{check.name}": check for check in report.checks}


def test_it_names_the_compiler_it_found() -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    found = by_name(examine())
    assert found["compiler.g++"].state == "ok" and shutil.which("g++") in found["compiler.g++"].value


def test_without_a_compiler_the_machine_cannot_search_and_the_remedy_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    report = examine()
    assert not report.able
    assert by_name(report)["compiler.C++"] == Check(
        "compiler", "C++", "missing", "neither g++ nor clang++ is on the path", "apt install g++"
    )


def test_exit_code_and_json_say_whether_a_search_can_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["doctor", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["able"] is False


def test_the_sandbox_it_tells_of_is_the_one_that_will_be_used() -> None:
    from fitness.sandbox import choose

    assert by_name(examine())["sandbox.strength"].value == choose("auto").level


def test_a_weaker_sandbox_comes_with_what_would_strengthen_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVO_SANDBOX", "rlimits")
    check = by_name(examine())["sandbox.strength"]
    assert check.value == "rlimits" and check.state == "note" and check.remedy


def test_runners_that_do_not_start_are_missing_and_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    from fitness.referee import Referee, RefereeError

    def refuse(self: Referee) -> None:
        raise RefereeError("no zygote today")

    monkeypatch.setattr(Referee, "trial", refuse)
    doctor.trial.cache_clear()
    try:
        report = examine()
    finally:
        doctor.trial.cache_clear()
    assert not report.able
    assert "no zygote today" in by_name(report)["sandbox.runners"].value


def test_model_keys_are_named_and_never_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret-value")
    for arguments in (["doctor"], ["doctor", "--json"]):
        main(arguments)
        out = capsys.readouterr().out
        assert "OPENAI_API_KEY" in out and "very-secret" not in out


def test_cores_are_those_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 5})
    assert "(0-2,5); core 5 measures" in by_name(examine())["processor.cores"].value


@pytest.mark.parametrize(("cores", "text"), [([0], "0"), ([0, 1, 2], "0-2"), ([1, 3, 4, 9], "1,3-4,9")])
def test_core_lists_are_short(cores: list[int], text: str) -> None:
    assert doctor.ranges(cores) == text


def test_a_cache_that_cannot_be_written_is_missing_with_its_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (check,) = doctor.storage()
    assert check.state == "missing" and "XDG_CACHE_HOME" in check.remedy and str(tmp_path / "cache") in check.value


def test_looking_measures_nothing_and_loads_nothing_heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    from fitness import roofline

    def measured(*arguments: object, **options: object) -> None:
        raise AssertionError("the doctor measured without being asked")

    monkeypatch.setattr(roofline, "ceilings", measured)
    assert "roofline.ceilings" in by_name(examine()) or "roofline.memory" in by_name(examine())


@pytest.mark.slow
def test_asked_to_measure_it_gives_ceilings_and_finds_them_again() -> None:
    first = by_name(examine(measure=True))
    assert "GB/s" in first["roofline.memory"].value and "GFLOP/s" in first["roofline.arithmetic"].value
    assert by_name(examine())["roofline.memory"] == first["roofline.memory"]


def test_every_note_and_every_gap_of_this_machine_has_a_remedy_or_explains_itself() -> None:
    for check in examine().checks:
        assert check.value
        assert check.state == "ok" or check.remedy or check.section == "roofline"
