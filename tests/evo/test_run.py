"""A run as its user has it: a folder, a search, a summary, certificates, and plain words when something is wrong."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from pathlib import Path

import pytest
from instant_evaluator import Instant, InstantEvaluator
from instant_runs import config, finished, make_run, open_again

from archive.lineage import Lineage, LineageError
from evo.config import load_config, parse_config
from evo.errors import UserError, as_user_error
from evo.progress import Progress
from evo.run import Run
from operators.base import OperatorError


def test_a_run_leaves_config_lineage_best_source_and_summary(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    summary = run.search(picture=False)
    assert {"config.yaml", "run.db", "run.log", "best.py", "summary.json"} <= {path.name for path in summary.path.iterdir()}
    assert not list(summary.path.glob("*.new"))
    assert load_config(tmp_path / "run" / "config.yaml") == run.config
    stored = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert stored["best"] == summary.best
    assert stored["certificate"]["against"]["plain"]["value"] == summary.certificate.against["plain"].value  # type: ignore[union-attr]
    with Lineage.open(tmp_path / "run" / "run.db", readonly=True) as lineage:
        (best,) = lineage.select("select * from best")
        assert best["candidate"] == summary.best
        assert best["source"] == (tmp_path / "run" / "best.py").read_text()
        (session,) = lineage.select("select * from sessions")
        assert session["stopped_by"] == "evaluations"
        assert lineage.environments()[0].id == "instant"


def test_runs_without_a_folder_get_one_each_under_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVO_RUNS", str(tmp_path / "here"))
    made = [Run.create(config(), evaluator_factory=InstantEvaluator, evaluator_arguments=()) for _ in range(3)]
    assert len({run.path for run in made}) == 3
    assert all(run.path.parent == tmp_path / "here" and run.name.startswith("instant-") for run in made)


def test_a_picture_is_drawn_and_one_that_cannot_be_drawn_fails_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = make_run(tmp_path / "drawn").search()
    assert summary.picture is not None and summary.picture.stat().st_size > 1000, summary.message

    def cannot(path: Path) -> Path:
        raise RuntimeError("no fonts")

    monkeypatch.setattr("evo.plots.run_picture", cannot)
    failed = make_run(tmp_path / "undrawn").search()
    assert failed.picture is None
    assert "no fonts" in failed.message
    assert failed.stopped_by == "evaluations"


def test_candidates_can_be_certified_again_and_the_certificates_are_kept(tmp_path: Path) -> None:
    make_run(tmp_path / "run").search(picture=False)
    certificates = open_again(tmp_path / "run").certify([0, 2])
    assert set(certificates) == {0, 2}
    assert certificates[0].against["seed"].value == pytest.approx(1.0)
    with Lineage.open(tmp_path / "run" / "run.db", readonly=True) as lineage:
        assert lineage.select("SELECT count(*) AS n FROM certificates")[0]["n"] == 3
    with pytest.raises(UserError, match="no candidate 9999"):
        open_again(tmp_path / "run").certify([9999])
    assert len(finished(tmp_path / "run")) > 0


def test_the_next_best_is_reported_when_the_best_fails_its_certification(tmp_path: Path) -> None:
    first = make_run(tmp_path / "first").search(picture=False)
    second = make_run(tmp_path / "second", Instant(uncertified=first.kernel_id)).search(picture=False)
    assert second.certificate is not None and second.certificate.ok
    assert second.kernel_id != first.kernel_id
    assert second.source is not None and second.source.read_text() != first.source.read_text()  # type: ignore[union-attr]


def test_a_run_none_of_whose_best_pass_says_so(tmp_path: Path) -> None:
    summary = make_run(tmp_path / "run", Instant(uncertified="all")).search(picture=False)
    assert summary.certificate is not None and not summary.certificate.ok
    assert "certification" in summary.message
    assert summary.best is not None


def test_it_can_be_stopped_from_another_thread(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", Instant(measure_seconds=0.01), budget={"evaluations": 100_000})
    threading.Timer(0.5, run.stop).start()
    began = time.monotonic()
    summary = run.search(picture=False)
    assert summary.stopped_by == "interrupted"
    assert time.monotonic() - began < 20
    assert summary.resume


@pytest.mark.parametrize("inline", [True, False], ids=["inline", "local"])
def test_it_can_be_searched_where_an_event_loop_runs_already_as_in_a_notebook(tmp_path: Path, inline: bool) -> None:
    async def cell() -> int:
        return make_run(tmp_path / "run", Instant(inline=inline)).search(picture=False).evaluations

    assert asyncio.run(cell()) == 60


def test_what_an_observer_raises_ends_the_run_and_leaves_it_resumable(tmp_path: Path) -> None:
    def broken(progress: Progress) -> None:
        if progress.evaluations >= 10:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make_run(tmp_path / "run").search(broken, picture=False)
    assert open_again(tmp_path / "run").search(picture=False).evaluations == 60


def test_a_folder_that_is_not_empty_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError) as caught:
        make_run(tmp_path)
    assert (caught.value.file, caught.value.found) == (tmp_path, "notes.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be made"):
        make_run(tmp_path / "file" / "run")


@pytest.mark.parametrize("name", ["absent", "."])
def test_what_is_no_run_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="not a run"):
        Run.open(tmp_path / name)


def test_mistakes_in_names_are_told_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="map_elites"):
        make_run(tmp_path / "run", strategy="map_elite")
    with pytest.raises(OperatorError):
        make_run(tmp_path / "run", operators={"mutate_sideways": 1.0})
    assert not (tmp_path / "run").exists()


def fail(what: str) -> InstantEvaluator:
    raise UserError("There is no C++ compiler.", key="target.compiler", found="nothing", expected="g++ or clang++", remedy=what)


def test_a_run_that_cannot_open_its_evaluator_leaves_no_folder(tmp_path: Path) -> None:
    run = Run.create(config(), tmp_path / "run", evaluator_factory=fail, evaluator_arguments=("apt-get install g++",))
    with pytest.raises(UserError) as caught:
        run.search(picture=False)
    assert caught.value.remedy == "apt-get install g++"
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_open_its_evaluator_when_resumed_keeps_what_it_has(tmp_path: Path) -> None:
    make_run(tmp_path / "run").search(picture=False)
    before = len(finished(tmp_path / "run"))
    with pytest.raises(UserError):
        Run.open(tmp_path / "run", evaluator_factory=fail, evaluator_arguments=("",)).search(picture=False)
    assert len(finished(tmp_path / "run")) == before


def test_a_problem_that_does_not_exist_is_told_with_a_remedy(tmp_path: Path) -> None:
    run = Run.create(config(problem="no_such_problem", target="cpp"), tmp_path / "run")
    with pytest.raises(Exception) as caught:  # the lower floor's own kind
        run.search(picture=False)
    told = as_user_error(caught.value)
    assert told is not None and "no_such_problem" in str(told)
    assert not (tmp_path / "run").exists()


def test_a_full_disk_is_told_and_what_was_committed_is_there_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    original, calls = Lineage.commit, 0

    def full(self: Lineage, *arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 30:
            pages = self.connection.execute("PRAGMA page_count").fetchone()[0]
            self.connection.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own SQLITE_FULL
        original(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Lineage, "commit", full)
    with pytest.raises(LineageError) as caught:
        make_run(tmp_path / "run", budget={"evaluations": 5000}, archive={"descriptors": config().archive.descriptors}).search(
            picture=False
        )
    told = as_user_error(caught.value)
    assert told is not None and "full" in str(told) and told.remedy
    monkeypatch.undo()
    with sqlite3.connect(tmp_path / "run" / "run.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert open_again(tmp_path / "run").search(picture=False).evaluations > 30


def test_a_descriptor_over_a_field_that_no_profile_has_is_refused_before_anything_is_searched(tmp_path: Path, small_space: Path) -> None:
    axis = {"name": "tile", "kind": "log2", "field": "tunable.TILES", "low": 8, "high": 256}
    mistaken = parse_config(
        {"problem": str(small_space), "target": "tabular", "budget": {"evaluations": 5}, "archive": {"descriptors": [axis]}}
    )
    with pytest.raises(UserError) as caught:
        Run.create(mistaken, tmp_path / "run").search()
    assert caught.value.key == "archive.descriptors[0].field"
    assert "tunable.TILE" in str(caught.value.remedy)
    assert not (tmp_path / "run").exists()
