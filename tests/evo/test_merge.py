"""Merging runs: every candidate of both, one archive, a run like any other."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from instant_evaluator import Instant
from instant_runs import finished, make_run, open_again

from archive.lineage import Lineage
from evo.cli import main
from evo.errors import UserError
from evo.merge import merge
from evo.reading import open_run


@pytest.fixture(params=[True, False], ids=["exact", "noisy"])
def behaviour(request: pytest.FixtureRequest) -> Instant:
    return Instant(deterministic=request.param)


@pytest.fixture
def runs(tmp_path: Path, behaviour: Instant) -> list[Path]:
    for seed, name in enumerate(("one", "two")):
        make_run(tmp_path / name, behaviour, seed=seed, deterministic=behaviour.deterministic).search(picture=False)
    return [tmp_path / "one", tmp_path / "two"]


def test_every_candidate_is_there_once_with_its_parents(tmp_path: Path, runs: list[Path]) -> None:
    merged = merge(runs, tmp_path / "both")
    before = [len(finished(run)) for run in runs]
    candidates = finished(tmp_path / "both")
    assert merged.candidates == len(candidates) == sum(before)
    assert [c.number for c in candidates] == list(range(len(candidates)))
    for index, run in enumerate(runs):
        offset = sum(before[:index])
        for original, number in zip(finished(run), range(offset, offset + before[index]), strict=True):
            copied = candidates[number]
            assert copied.kernel == original.kernel and copied.notes["merged"] == [index, original.number]
            assert len(copied.proposal.parents) == len(original.proposal.parents)
            for here, there in zip(copied.proposal.parents, original.proposal.parents, strict=True):
                assert candidates[here].kernel == next(c for c in finished(run) if c.number == there).kernel
    with sqlite3.connect(tmp_path / "both" / "run.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_the_best_of_both_leads_and_the_archive_holds_the_cells_of_both(tmp_path: Path, runs: list[Path], behaviour: Instant) -> None:
    merge(runs, tmp_path / "both")
    cells, bests = [], []
    for run in runs:
        with open_run(run) as reader:
            cells.append(set(reader.elites()))
            bests.append(reader.facts().best)
    with open_run(tmp_path / "both") as reader:
        assert set(reader.elites()) == cells[0] | cells[1]
        best = reader.facts().best
    assert best is not None
    top = max(each.speedup for each in bests if each is not None)
    assert best.speedup == pytest.approx(top, rel=1e-9 if behaviour.deterministic else 0.1)


def test_the_merged_run_can_be_resumed_under_a_larger_budget(tmp_path: Path, runs: list[Path], behaviour: Instant) -> None:
    merged = merge(runs, tmp_path / "both")
    config = tmp_path / "both" / "config.yaml"
    config.write_text(config.read_text().replace("evaluations: 60", "evaluations: 200"))
    summary = open_again(tmp_path / "both", behaviour).search(picture=False)
    assert summary.evaluations == 200
    assert summary.certificate is not None and summary.certificate.ok
    numbers = [c.number for c in finished(tmp_path / "both")]
    assert len(set(numbers)) == len(numbers) > merged.candidates


def test_certificates_come_along(tmp_path: Path, runs: list[Path]) -> None:
    merge(runs, tmp_path / "both")
    with Lineage.open(tmp_path / "both" / "run.db", readonly=True) as lineage:
        assert lineage.select("SELECT count(*) AS n FROM certificates")[0]["n"] == 2


def test_runs_that_were_measured_differently_are_refused_and_nothing_is_left(tmp_path: Path, runs: list[Path]) -> None:
    make_run(tmp_path / "other", problem="something else").search(picture=False)
    with pytest.raises(UserError) as caught:
        merge([runs[0], tmp_path / "other"], tmp_path / "both")
    assert caught.value.key == "problem" and "--warm-from" in str(caught.value.remedy)
    assert not (tmp_path / "both").exists()
    with pytest.raises(UserError, match="nothing to merge"):
        merge([runs[0], runs[0]], tmp_path / "both")


def test_the_verb_says_what_came_of_it(
    tmp_path: Path, small_space: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(f"problem: {small_space}\ntarget: tabular\nbudget: {{evaluations: 25}}\nexecutor: inline\n")
    for seed in (0, 1):
        assert main(["run", "c.yaml", "-o", f"run{seed}", "--no-plot", "--set", f"seed={seed}"]) == 0
    assert main(["merge", "run0", "run1", "-o", "both"]) == 0
    assert "both" in capsys.readouterr().out
    assert main(["show", "both", "best"]) == 0
    assert main(["plot", "both", "-o", "both.png"]) == 0
