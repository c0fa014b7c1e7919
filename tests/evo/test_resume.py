"""Interrupting, killing and resuming real run processes: nothing is lost but what was in flight, and the end is the same."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from instant_evaluator import Instant
from instant_runs import config, finished, make_run, open_again, trace

from archive.lineage import Lineage
from archive.schema import VERSION, LineageError
from evo.errors import UserError, as_user_error

PROGRAM = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from instant_evaluator import Instant
from instant_runs import make_run, open_again
path, behaviour = Path({folder!r}), Instant(**{behaviour!r})
run = open_again(path, behaviour) if (path / "config.yaml").exists() else make_run(path, behaviour, **{changes!r})
print("begin", flush=True)
summary = run.search(picture=False)
print(summary.dump())
"""


def start(folder: Path, behaviour: dict[str, object], **changes: object) -> subprocess.Popen[str]:
    """A process of its own that makes or resumes the run in `folder`."""
    program = PROGRAM.format(path=[p for p in sys.path if p], folder=str(folder), behaviour=behaviour, changes=changes)
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(condition, seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def candidates(folder: Path) -> int:
    try:
        return len(finished(folder))
    except (LineageError, UserError):
        return 0


def descendants(pid: int) -> list[int]:
    """Live processes whose ancestor is `pid`."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, IndexError):
                continue
            if parent == pid:
                found += [int(entry.name), *descendants(int(entry.name))]
    return found


def alive(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("inline", [True, False], ids=["inline", "local"])
def test_a_run_killed_again_and_again_ends_like_one_that_never_was(tmp_path: Path, inline: bool) -> None:
    behaviour = {"inline": inline, "measure_seconds": 0.004, "build_seconds": 0.0 if inline else 0.004}
    changes = {"budget": {"evaluations": 90}, "seed": 11}
    make_run(tmp_path / "whole", Instant(**behaviour), **changes).search(picture=False)
    dice = random.Random(7)
    kills = 0
    while True:
        before = candidates(tmp_path / "killed")
        process = start(tmp_path / "killed", behaviour, **changes)
        progress = dice.choice((0, 3, 10, 20, 25))
        wait_for(lambda: candidates(tmp_path / "killed") >= before + progress or process.poll() is not None)  # noqa: B023 - used at once
        time.sleep(dice.uniform(0.0, 0.1))
        process.kill()
        _, err = process.communicate()
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL, err
        kills += 1
    assert kills >= 3
    assert trace(tmp_path / "killed") == trace(tmp_path / "whole")
    with Lineage.open(tmp_path / "killed" / "run.db", readonly=True) as lineage:
        assert lineage.in_flight() == [] or not inline
    summary = json.loads((tmp_path / "killed" / "summary.json").read_text())
    assert summary["evaluations"] == 90


def test_a_noisy_run_that_was_killed_resumes_to_the_same_number_of_evaluations(tmp_path: Path) -> None:
    behaviour = {"inline": False, "deterministic": False, "measure_seconds": 0.005, "noise": 0.1}
    process = start(tmp_path / "run", behaviour, deterministic=False)
    wait_for(lambda: candidates(tmp_path / "run") >= 20)
    process.kill()
    process.communicate()
    before = candidates(tmp_path / "run")
    summary = open_again(tmp_path / "run", Instant(**behaviour)).search(picture=False)
    assert summary.evaluations == 60
    assert summary.proposals == len(finished(tmp_path / "run")) > before


def test_the_archive_after_a_replay_is_the_archive_before(tmp_path: Path) -> None:
    from evo.session import Session

    states = []
    original = Session._certify_best

    async def keep(self: Session) -> None:
        states.append(self.state.archive.state())
        await original(self)

    Session._certify_best = keep  # type: ignore[method-assign]
    try:
        behaviour = Instant(deterministic=False, noise=0.2)
        make_run(tmp_path / "run", behaviour, evaluation={"remeasure": 0.2}, budget={"evaluations": 150}).search(picture=False)
        open_again(tmp_path / "run", behaviour).search(picture=False)
    finally:
        Session._certify_best = original  # type: ignore[method-assign]
    assert len(states) == 2
    assert states[0] == states[1]


def test_the_whole_tree_dies_with_a_killed_run(tmp_path: Path) -> None:
    process = start(tmp_path / "run", {"inline": False, "measure_seconds": 5.0})
    wait_for(lambda: len(descendants(process.pid)) >= 1 and (tmp_path / "run" / "run.db").exists())
    time.sleep(0.3)
    children = descendants(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(alive, children)), seconds=5)


@pytest.mark.parametrize("inline", [True, False], ids=["inline", "local"])
def test_ctrl_c_ends_cleanly_with_a_summary_and_the_command_to_resume(tmp_path: Path, inline: bool) -> None:
    behaviour = {"inline": inline, "measure_seconds": 0.01, "build_seconds": 0.01}
    process = start(tmp_path / "run", behaviour, budget={"evaluations": 100})
    wait_for(lambda: candidates(tmp_path / "run") >= 10)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to the whole group
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    summary = json.loads(out.partition("\n")[2])
    assert summary["stopped_by"] == "interrupted"
    assert summary["resume"] == f"evo resume {tmp_path / 'run'}"
    assert summary["certificate"] is None
    assert (tmp_path / "run" / "best.py").exists()
    done = candidates(tmp_path / "run")
    assert summary["proposals"] == done
    assert all(c.evaluation is None or c.evaluation.outcome.value in ("ok", "wrong", "build_error") for c in finished(tmp_path / "run"))
    resumed = open_again(tmp_path / "run", Instant(**behaviour)).search(picture=False)
    assert (resumed.stopped_by, resumed.evaluations, resumed.resume) == ("evaluations", 100, "")


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    process = start(tmp_path / "run", {"inline": True, "measure_seconds": 30.0})
    wait_for(lambda: (tmp_path / "run" / "run.db").exists())
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=5)
    assert process.returncode != 0


def test_a_run_in_use_is_refused_with_the_process_that_uses_it(tmp_path: Path) -> None:
    process = start(tmp_path / "run", {"inline": True, "measure_seconds": 0.2})
    try:
        wait_for(lambda: candidates(tmp_path / "run") >= 1)
        with pytest.raises(LineageError) as caught:
            open_again(tmp_path / "run").search(picture=False)
        told = as_user_error(caught.value)
        assert told is not None and told.exit_code == 2
        assert str(process.pid) in str(told)
    finally:
        process.kill()
        process.communicate()


def test_a_finished_run_is_resumed_to_the_same_summary_without_another_evaluation(tmp_path: Path) -> None:
    first = make_run(tmp_path / "run").search(picture=False)
    again = open_again(tmp_path / "run").search(picture=False)
    assert (again.evaluations, again.best, again.stopped_by, again.proposals) == (
        first.evaluations,
        first.best,
        first.stopped_by,
        first.proposals,
    )
    assert again.certificate == first.certificate
    with Lineage.open(tmp_path / "run" / "run.db", readonly=True) as lineage:
        assert lineage.select("SELECT count(*) AS n FROM certificates")[0]["n"] == 1


def test_a_larger_budget_in_the_runs_own_config_continues_it_as_if_it_had_been_so_from_the_start(tmp_path: Path) -> None:
    make_run(tmp_path / "long", budget={"evaluations": 90}).search(picture=False)
    make_run(tmp_path / "short", budget={"evaluations": 40}).search(picture=False)
    (tmp_path / "short" / "config.yaml").write_text(config(budget={"evaluations": 90}).dump())
    assert open_again(tmp_path / "short").search(picture=False).evaluations == 90
    assert trace(tmp_path / "short") == trace(tmp_path / "long")


def test_anything_else_that_was_changed_is_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "run").search(picture=False)
    (tmp_path / "run" / "config.yaml").write_text(config(seed=5).dump())
    with pytest.raises(UserError) as caught:
        open_again(tmp_path / "run").search(picture=False)
    assert (caught.value.key, caught.value.found, caught.value.expected) == ("seed", "5", "0")


def test_a_database_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    import sqlite3

    make_run(tmp_path / "run").search(picture=False)
    with sqlite3.connect(tmp_path / "run" / "run.db") as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()
    with pytest.raises(LineageError) as caught:
        open_again(tmp_path / "run").search(picture=False)
    assert "newer" in str(as_user_error(caught.value))
    assert (tmp_path / "run" / "summary.json").exists()


def test_a_run_killed_before_its_database_was_made_begins_anew(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    assert not (tmp_path / "run" / "run.db").exists()
    assert open_again(tmp_path / "run").search(picture=False).evaluations == 60


def test_in_flight_proposals_are_evaluated_with_the_kernels_they_were_stored_with(tmp_path: Path) -> None:
    behaviour = {"inline": False, "measure_seconds": 0.03}
    process = start(tmp_path / "run", behaviour, deterministic=False)
    wait_for(lambda: candidates(tmp_path / "run") >= 5)
    process.kill()
    process.communicate()
    with Lineage.open(tmp_path / "run" / "run.db", readonly=True) as lineage:
        waiting = {proposal.number: kernel for proposal, kernel in lineage.in_flight() if kernel is not None}
    assert waiting
    open_again(tmp_path / "run", Instant(inline=False)).search(picture=False)
    done = {c.number: c.kernel for c in finished(tmp_path / "run")}
    assert {number: done[number] for number in waiting} == waiting
