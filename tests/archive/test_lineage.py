"""The lineage: what is written comes back equal, in order, and says who came from whom."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from archive import lineage as lineage_module
from archive.candidate import AddStatus, Candidate, Cell, Proposal, Repair, SetValues, VisitCell
from archive.elite import AddResult
from archive.evaluation import Diagnostic, Environment, Evaluation, Outcome, Samples
from archive.events import Event
from archive.frame import candidates_frame
from archive.kernel import Kernel
from archive.lineage import Lineage, LineageError

KERNEL = Kernel("cpp", "#define TILE 8  // evo: {8, 16, 32}\n// naïve\n")


@pytest.fixture
def lineage(tmp_path: Path) -> Iterator[Lineage]:
    with Lineage.create(tmp_path / "run.db") as made:
        made.start_run('{"a": 1}', 7, "softmax", "cpp", strategy="map_elites", version="0.1.0")
        yield made


def evaluated(objective: float, tile: int = 8) -> Evaluation:
    samples = tuple(Samples(f"n={n}", np.linspace(1e-3, 2e-3, 5) / n, np.linspace(3e-3, 4e-3, 5) / n, n == 3) for n in (1, 3))
    return Evaluation(
        KERNEL.with_values({"TILE": tile}).id,
        Outcome.OK,
        objective=objective,
        interval=(objective - 0.1, objective + 0.2),
        samples=samples,
        profile={"vector_bits": 256, "nt": True, "share": 0.1 + 0.2, "pattern": "row"},
        cost={"build": 0.25, "cpu": 1e-9},
        artifact="abc",
        environment="here",
        reused="",
    )


def stored(
    lineage: Lineage,
    number: int,
    objective: float | None,
    *,
    parents: tuple[int, ...] = (),
    operator: str = "mutate_many",
    cell: Cell = (0,),
) -> Candidate:
    """A candidate on its whole way; `objective` None: it did not compile."""
    proposal = Proposal(number, operator, parents)
    kernel = KERNEL.with_values({"TILE": (8, 16, 32)[number % 3]})
    lineage.propose(proposal)
    lineage.draft(number, kernel, {"changed": ["TILE"]})
    evaluation = Evaluation(kernel.id, Outcome.BUILD_ERROR) if objective is None else evaluated(objective, (8, 16, 32)[number % 3])
    made = Candidate(proposal, kernel, evaluation, notes={"changed": ["TILE"]})
    if objective is None:
        lineage.commit(made)
        return made
    made = dataclasses.replace(made, cell=cell, status=AddStatus.NEW)
    elite = type("Seat", (), {"number": number})()
    lineage.commit(made, Event.offered(number, AddResult(AddStatus.NEW, cell, None, elite)))
    return made


def same(a: Evaluation | None, b: Evaluation | None) -> bool:
    """Equal in every field, samples bit for bit."""
    if a is None or b is None:
        return a is b
    plain = [f.name for f in dataclasses.fields(Evaluation) if f.name != "samples"]
    return all(getattr(a, n) == getattr(b, n) for n in plain) and [
        (s.shape, s.seconds.tobytes(), s.baseline.tobytes(), s.only_longer) for s in a.samples
    ] == [(s.shape, s.seconds.tobytes(), s.baseline.tobytes(), s.only_longer) for s in b.samples]


def test_a_candidate_comes_back_equal_in_every_field(lineage: Lineage) -> None:
    made = stored(lineage, 0, 0.1 + 0.2, cell=(3, 0, 12))
    for back in (lineage.candidate(0), *lineage.candidates()):
        assert back is not None and back.proposal == made.proposal and back.kernel == made.kernel and same(back.evaluation, made.evaluation)
        assert (back.cell, back.status, back.notes, back.duplicate_of) == ((3, 0, 12), AddStatus.NEW, {"changed": ["TILE"]}, None)
        assert back.kernel.source == made.kernel.source


def test_failures_keep_their_diagnostics(lineage: Lineage) -> None:
    lineage.propose(Proposal(0, "seed"))
    diagnostic = Diagnostic("build", "syntax", "expected ‘;’", {"line": 3, "got": math.nan, "limit": np.int64(4), "index": (1, 2)})
    found = Evaluation(KERNEL.id, Outcome.BUILD_ERROR, (diagnostic,))
    lineage.commit(Candidate(Proposal(0, "seed"), KERNEL, found))
    back = lineage.candidate(0).evaluation.diagnostics[0]
    assert (back.stage, back.reason, back.message) == ("build", "syntax", "expected ‘;’")
    assert back.details == {"line": 3, "got": "NaN", "limit": 4, "index": [1, 2]}
    (text,) = lineage.connection.execute("SELECT json_extract(diagnostics, '$[0][2]') FROM evaluations").fetchone()
    assert text == "expected ‘;’"


def test_facts_that_are_found_out_later_join_the_profile(lineage: Lineage) -> None:
    stored(lineage, 0, 0.5)
    for value in (0.25, 0.75):
        lineage.profiled(0, {"counter.dram_share": value})
    found = lineage.candidate(0)
    assert found is not None and found.evaluation is not None
    assert found.evaluation.profile == {**evaluated(0.5).profile, "counter.dram_share": 0.75}
    assert [s.shape for s in found.evaluation.samples] == [s.shape for s in evaluated(0.5).samples]
    with pytest.raises(LineageError, match="no evaluation"):
        lineage.profiled(7, {"counter.dram_share": 0.5})


def test_numbers_that_json_lacks_come_back_in_a_profile(lineage: Lineage) -> None:
    lineage.propose(Proposal(0, "seed"))
    found = dataclasses.replace(evaluated(0.0), profile={"a": math.inf, "b": -math.inf, "c": math.nan}, interval=(-math.inf, math.inf))
    lineage.commit(Candidate(Proposal(0, "seed"), KERNEL, found))
    back = lineage.candidate(0).evaluation
    assert back.profile["a"] == math.inf and back.profile["b"] == -math.inf and math.isnan(float(back.profile["c"]))
    assert back.interval == (-math.inf, math.inf)


def test_candidates_without_kernel_or_evaluation_are_stored_too(lineage: Lineage) -> None:
    stored(lineage, 0, 0.5)
    for number, made in (
        (1, Candidate(Proposal(1, "graft", (0, 0)), None, None, notes={"reason": "exhausted"})),
        (2, Candidate(Proposal(2, "mutate_uniform", (0,)), KERNEL, None, duplicate_of=0)),
    ):
        lineage.propose(made.proposal)
        lineage.draft(number, made.kernel, made.notes)
        lineage.commit(made)
    drafted, duplicate = list(lineage.candidates())[1:]
    assert (drafted.kernel, drafted.evaluation, drafted.notes, drafted.proposal.parents) == (None, None, {"reason": "exhausted"}, (0, 0))
    assert (duplicate.kernel, duplicate.evaluation, duplicate.duplicate_of) == (KERNEL, None, 0)


@pytest.mark.parametrize("goal", [None, SetValues({"TILE": 16, "F": "-O3", "B": True}), VisitCell((1, 2)), Repair(4)])
def test_goals_come_back(lineage: Lineage, goal: SetValues | VisitCell | Repair | None) -> None:
    proposal = Proposal(0, "any", (), goal)
    lineage.propose(proposal)
    assert lineage.in_flight() == [(proposal, None)]


def test_what_was_in_flight_is_known_after_a_restart_with_its_kernel_when_drafted(lineage: Lineage) -> None:
    stored(lineage, 0, 0.5)
    lineage.propose(Proposal(1, "mutate_many", (0,)))
    lineage.propose(Proposal(2, "crossover", (0, 0)))
    drafted = KERNEL.with_values({"TILE": 32})
    lineage.draft(2, drafted, {"model": "m"})
    lineage.close()
    with Lineage.open(lineage.path) as again:
        assert again.in_flight() == [(Proposal(1, "mutate_many", (0,)), None), (Proposal(2, "crossover", (0, 0)), drafted)]
        assert again.notes(2) == {"model": "m"}
        again.commit(Candidate(Proposal(2, "crossover", (0, 0)), drafted, evaluated(0.1, 32), notes={"model": "m"}))
        assert [p.number for p, _ in again.in_flight()] == [1]
        assert again.candidate(2).notes == {"model": "m"}


def test_the_commit_order_is_kept_whatever_the_numbers(lineage: Lineage) -> None:
    for number in (2, 0, 1):
        stored(lineage, number, 0.1)
    assert [c.number for c in lineage.candidates()] == [2, 0, 1]


def test_kernels_are_stored_once(lineage: Lineage) -> None:
    for number in range(9):
        stored(lineage, number, 0.1)
    assert lineage.select("SELECT count(*) AS n FROM kernels") == [{"n": 3}]


def test_best_tells_who_it_came_from(lineage: Lineage) -> None:
    stored(lineage, 0, 0.1, operator="seed")
    stored(lineage, 1, None, parents=(0,))
    stored(lineage, 2, 0.4, parents=(0,), cell=(1,))
    stored(lineage, 3, 0.3, parents=(2,), cell=(2,))
    stored(lineage, 4, 0.9, parents=(2, 3), operator="crossover", cell=(3,))
    (best,) = lineage.select("SELECT * FROM best")
    assert best["candidate"] == 4 and best["operator"] == "crossover" and best["parents"] == "2, 3"
    assert best["ancestry"] == "0 seed > 2 mutate_many > 4 crossover"
    assert best["speedup"] == pytest.approx(math.exp(0.9)) and (best["low"], best["high"]) == (pytest.approx(0.8), pytest.approx(1.1))
    assert best["kernel"] == lineage.candidate(4).kernel.id and best["source"] == lineage.candidate(4).kernel.source
    assert (best["problem"], best["target"]) == ("softmax", "cpp")


def test_best_carries_the_newest_certificate_and_passes_over_a_kernel_that_failed_its_own(lineage: Lineage) -> None:
    stored(lineage, 0, 0.5)
    stored(lineage, 1, 0.9, cell=(1,))
    ids = [lineage.candidate(n).kernel.id for n in (0, 1)]
    lineage.certificate(0, ids[0], True, facts={"shapes": 3}, strongest="numpy", speedup=(1.5, 1.4, 1.6), roofline_share=0.7)
    lineage.certificate(0, ids[0], True, facts={}, strongest="seed", speedup=(1.2, 1.1, 1.3))
    lineage.certificate(1, ids[1], False, facts={})
    (best,) = lineage.select("SELECT * FROM best")
    assert (best["candidate"], best["certified_speedup"], best["certified_against"]) == (0, 1.2, "seed")


def test_an_empty_run_has_no_best(lineage: Lineage) -> None:
    stored(lineage, 0, None)
    assert lineage.select("SELECT * FROM best") == []


def test_convergence_counts_evaluations_and_keeps_the_best_so_far(lineage: Lineage) -> None:
    for number, objective in enumerate((0.2, None, 0.1, 0.6)):
        stored(lineage, number, objective)
    lineage.propose(Proposal(4, "sample"))
    lineage.commit(Candidate(Proposal(4, "sample"), KERNEL, Evaluation(KERNEL.id, Outcome.INFEASIBLE)))
    rows = lineage.select("SELECT * FROM convergence")
    assert [r["evaluation"] for r in rows] == [1, 2, 3, 4]
    assert [r["best_objective"] for r in rows] == [0.2, 0.2, 0.2, 0.6]
    assert [r["outcome"] for r in rows] == ["ok", "build_error", "ok", "ok"]
    assert rows == sorted(rows, key=lambda r: r["seconds"])


def test_ancestry_lists_every_ancestor_once_by_its_shortest_way(lineage: Lineage) -> None:
    stored(lineage, 0, 0.1, operator="seed")
    stored(lineage, 1, 0.1, parents=(0,))
    stored(lineage, 2, 0.1, parents=(1, 0), operator="crossover")
    rows = lineage.select("SELECT ancestor, depth, operator FROM ancestry WHERE candidate = 2")
    assert [tuple(r.values()) for r in rows] == [(0, 1, "seed"), (1, 1, "mutate_many")]
    assert [(a.candidate, a.depth, a.operator) for a in lineage.ancestry(2)] == [(2, 0, "crossover"), (0, 1, "seed"), (1, 1, "mutate_many")]


def test_a_clock_that_jumps_back_changes_neither_order_nor_elapsed_seconds(lineage: Lineage, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(["2030-01-01T00:00:00.000Z", "1999-01-01T00:00:00.000Z"] * 20)
    monkeypatch.setattr(lineage_module.schema, "now", lambda: next(times))
    for number in range(5):
        stored(lineage, number, 0.1 * number, parents=(number - 1,) if number else ())
    assert [c.number for c in lineage.candidates()] == list(range(5))
    seconds = [r["seconds"] for r in lineage.select("SELECT seconds FROM candidates ORDER BY id")]
    assert seconds == sorted(seconds) and seconds[0] >= 0.0
    assert [r["candidate"] for r in lineage.select("SELECT candidate FROM convergence")] == list(range(5))


def test_the_clock_of_a_resumed_run_goes_on_where_it_stood(lineage: Lineage) -> None:
    time.sleep(0.05)
    stored(lineage, 0, 0.1)
    reached = lineage.seconds
    lineage.close()
    time.sleep(0.2)
    with Lineage.open(lineage.path) as again:
        assert 0.05 <= again.seconds < reached + 0.15
        again.start_session()
        assert again.select("SELECT count(*) AS n FROM sessions") == [{"n": 2}]


def test_what_a_run_is_can_be_read_back(lineage: Lineage) -> None:
    record = lineage.run_record()
    assert (json.loads(record.config_json), record.seed, record.problem, record.target) == ({"a": 1}, 7, "softmax", "cpp")
    assert (record.strategy, record.version) == ("map_elites", "0.1.0")
    lineage.end_session("evaluations")
    assert lineage.select("SELECT stopped_by FROM sessions") == [{"stopped_by": "evaluations"}]


def test_environments_prompts_and_model_calls_are_kept(lineage: Lineage) -> None:
    for _ in range(2):
        lineage.environment(Environment("e1", {"cores": 2}))
    assert lineage.environments() == [Environment("e1", {"cores": 2})]
    prompt = lineage.prompt("Make it faster.")
    assert prompt == lineage.prompt("Make it faster.")
    call = lineage.model_call(3, "model-x", prompt, "answer", tokens_in=10, tokens_out=20, dollars=0.5, seconds=1.5, facts={"stop": "end"})
    (row,) = lineage.select("SELECT m.*, p.text FROM model_calls m JOIN prompts p ON p.id = m.prompt")
    assert (row["id"], row["text"], row["answer"], row["dollars"]) == (call, "Make it faster.", "answer", 0.5)


def test_a_second_writer_is_refused_by_the_pid_of_the_first(lineage: Lineage) -> None:
    with pytest.raises(LineageError, match=str(os.getpid())):
        Lineage.open(lineage.path)
    script = f"from archive.lineage import *\ntry: Lineage.open({str(lineage.path)!r})\nexcept LineageError as e: print(e)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert f"process {os.getpid()}" in found.stdout
    lineage.close()
    Lineage.open(lineage.path).close()


def test_a_reader_sees_what_a_live_writer_committed_and_cannot_write(lineage: Lineage) -> None:
    stored(lineage, 0, 0.5)
    with Lineage.open(lineage.path, readonly=True) as reader:
        assert [c.number for c in reader.candidates()] == [0]
        with pytest.raises(LineageError, match="read-only"):
            reader.propose(Proposal(9, "seed"))
        stored(lineage, 1, 0.5)
        assert [c.number for c in reader.candidates()] == [0, 1]


def test_a_commit_that_fails_leaves_nothing_of_itself(lineage: Lineage) -> None:
    made = stored(lineage, 0, 0.5)
    counts = {t: lineage.select(f"SELECT count(*) AS n FROM {t}") for t in ("evaluations", "samples", "archive_events", "candidates")}
    with pytest.raises(LineageError, match="UNIQUE"):
        lineage.commit(made)
    assert counts == {t: lineage.select(f"SELECT count(*) AS n FROM {t}") for t in counts}
    stored(lineage, 1, 0.5)
    assert [c.number for c in lineage.candidates()] == [0, 1]


def test_a_group_is_committed_when_its_time_has_passed_or_on_flush(tmp_path: Path) -> None:
    with Lineage.create(tmp_path / "run.db", group_ms=60) as grouped:
        grouped.start_run("{}", 0, "p", "tabular")
        with Lineage.open(grouped.path, readonly=True) as reader:
            stored(grouped, 0, 0.5)
            assert list(reader.candidates()) == []
            time.sleep(0.08)
            stored(grouped, 1, 0.5)
            seen = len(list(reader.candidates()))
            assert seen >= 1
            stored(grouped, 2, 0.5)
            grouped.flush()
            assert [c.number for c in reader.candidates()] == [0, 1, 2]


def test_after_a_failed_write_in_a_group_nothing_more_is_written(tmp_path: Path) -> None:
    with Lineage.create(tmp_path / "run.db", group_ms=100) as grouped:
        grouped.start_run("{}", 0, "p", "tabular")
        made = stored(grouped, 0, 0.5)
        with pytest.raises(LineageError, match="UNIQUE"):
            grouped.commit(made)
        with pytest.raises(LineageError, match="earlier write failed"):
            grouped.propose(Proposal(1, "seed"))


def test_a_new_run_never_overwrites_an_old_one(lineage: Lineage) -> None:
    lineage.close()
    with pytest.raises(LineageError, match="exists already"):
        Lineage.create(lineage.path)
    with pytest.raises(LineageError, match="directory"):
        Lineage.create(lineage.path.parent / "missing" / "run.db")
    with pytest.raises(LineageError, match="no such run"):
        Lineage.open(lineage.path.parent / "other.db")
    assert not list(lineage.path.parent.glob("*.new"))


def test_the_file_opens_with_plain_sqlite_in_wal_mode(lineage: Lineage) -> None:
    stored(lineage, 0, 0.5)
    plain = sqlite3.connect(lineage.path)
    assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert plain.execute("SELECT candidate FROM best").fetchall() == [(0,)]
    plain.close()


def test_the_frame_has_a_row_per_candidate_with_values_facts_and_costs(lineage: Lineage) -> None:
    assert len(candidates_frame(lineage)) == 0
    stored(lineage, 0, 0.5)
    stored(lineage, 1, None, parents=(0,))
    frame = candidates_frame(lineage)
    assert frame.loc[0, "tunable.TILE"] == 8 and frame.loc[0, "profile.vector_bits"] == 256 and frame.loc[0, "cost.build"] == 0.25
    assert frame.loc[1, "outcome"] == "build_error" and math.isnan(frame.loc[1, "objective"]) and frame.loc[1, "parents"] == (0,)
