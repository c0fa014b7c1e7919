"""The engine: what happens to candidates on their way, in both of its modes."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from instant_evaluator import SMALL_SEED, Instant, speed
from instant_runs import finished, make_run, trace

from archive.candidate import AddStatus
from archive.evaluation import Outcome
from archive.events import EventKind
from archive.lineage import Lineage
from evo.errors import UserError
from evo.progress import Progress, Stage

WAYS = pytest.mark.parametrize("inline", [True, False], ids=["inline", "asyncio"])


@WAYS
def test_a_run_evaluates_exactly_as_many_kernels_as_its_budget_says(tmp_path: Path, inline: bool) -> None:
    summary = make_run(tmp_path / "run", Instant(inline=inline), budget={"evaluations": 37}).search(picture=False)
    assert summary.stopped_by == "evaluations"
    assert summary.evaluations == 37 == sum(summary.outcomes.values())
    counted = [c for c in finished(tmp_path / "run") if c.evaluation is not None and not c.evaluation.reused]
    assert len(counted) == 37


@WAYS
def test_what_a_run_finds_is_the_best_that_it_evaluated(tmp_path: Path, inline: bool) -> None:
    summary = make_run(tmp_path / "run", Instant(inline=inline), budget={"evaluations": 80}).search(picture=False)
    best = max(c.objective for c in finished(tmp_path / "run") if c.objective is not None)
    assert summary.speedup == pytest.approx(math.exp(best))
    assert summary.source is not None and summary.source.read_text() == finished(tmp_path / "run")[summary.best or 0].kernel.source  # type: ignore[union-attr]
    assert summary.certificate is not None and summary.certificate.against["seed"].value > 1


@WAYS
@pytest.mark.parametrize("strategy", ["random", "map_elites"])
def test_a_deterministic_run_is_the_same_run_every_time(tmp_path: Path, inline: bool, strategy: str) -> None:
    behaviour = Instant(inline=inline, build_seconds=0.0 if inline else 0.002)
    for name in ("a", "b"):
        make_run(tmp_path / name, behaviour, strategy=strategy, seed=3).search(picture=False)
    make_run(tmp_path / "other", behaviour, strategy=strategy, seed=4).search(picture=False)
    assert trace(tmp_path / "a") == trace(tmp_path / "b")
    assert trace(tmp_path / "a") != trace(tmp_path / "other")
    numbers = [row[0] for row in trace(tmp_path / "a")]
    assert numbers == sorted(numbers)


@WAYS
def test_no_kernel_and_no_program_is_evaluated_twice(tmp_path: Path, inline: bool) -> None:
    journal = tmp_path / "journal"
    make_run(tmp_path / "run", Instant(inline=inline, journal=journal), deterministic=False, budget={"evaluations": 100}).search(
        picture=False
    )
    measured = Counter(line.split()[3] for line in journal.read_text().splitlines() if " measure " in line)
    assert set(measured.values()) == {1}
    candidates = finished(tmp_path / "run")
    programs = Counter(c.evaluation.artifact for c in candidates if c.evaluation and c.evaluation.artifact and not c.evaluation.reused)
    assert set(programs.values()) == {1}
    reused = [c for c in candidates if c.evaluation and c.evaluation.reused]
    assert reused
    known = {c.kernel.id: c for c in candidates if c.kernel and c.evaluation}
    for candidate in reused:
        assert candidate.objective == known[candidate.evaluation.reused].objective  # type: ignore[union-attr]


def test_every_way_to_fail_is_recorded_with_its_diagnostics(tmp_path: Path) -> None:
    make_run(tmp_path / "run", budget={"evaluations": 120}).search(picture=False)
    by_outcome = {c.evaluation.outcome: c for c in finished(tmp_path / "run") if c.evaluation and not c.ok}
    assert set(by_outcome) == {Outcome.BUILD_ERROR, Outcome.WRONG}
    assert by_outcome[Outcome.WRONG].evaluation.diagnostics[0].message == "UNROLL 5 is off by one"  # type: ignore[union-attr]
    assert all(c.status is None for c in by_outcome.values())


@WAYS
def test_a_space_that_is_used_up_ends_the_run_after_every_configuration_was_seen(tmp_path: Path, inline: bool) -> None:
    behaviour = Instant(inline=inline, sources=(SMALL_SEED,))
    summary = make_run(tmp_path / "run", behaviour, budget={"evaluations": 1000, "barren": 20}).search(picture=False)
    assert summary.stopped_by == "exhausted"
    assert summary.evaluations == 6
    assert summary.proposals <= 6 + 20 + 4


def test_a_stall_ends_the_run_so_many_evaluations_after_the_last_improvement(tmp_path: Path) -> None:
    summary = make_run(tmp_path / "run", budget={"evaluations": 250, "stall": 25}).search(picture=False)
    assert summary.stopped_by == "stall"
    best = -math.inf
    improved = evaluations = 0
    for candidate in finished(tmp_path / "run"):
        if candidate.evaluation is not None and not candidate.evaluation.reused:
            evaluations += 1
            if candidate.objective is not None and candidate.objective > best:
                best, improved = candidate.objective, evaluations
    assert evaluations - improved == 25


def test_a_reached_target_ends_the_run(tmp_path: Path) -> None:
    summary = make_run(tmp_path / "run", budget={"evaluations": 250, "target_speedup": 5.0}).search(picture=False)
    assert summary.stopped_by == "target_speedup"
    assert summary.speedup is not None and summary.speedup >= 5.0
    assert summary.evaluations < 250


@WAYS
def test_the_clock_ends_a_run(tmp_path: Path, inline: bool) -> None:
    behaviour = Instant(inline=inline, measure_seconds=0.02)
    summary = make_run(tmp_path / "run", behaviour, budget={"minutes": 0.01}).search(picture=False)
    assert summary.stopped_by == "minutes"
    assert 0.6 <= summary.seconds < 5


def test_builds_overlap_each_other_and_timing_and_only_one_kernel_is_timed_at_once(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    behaviour = Instant(inline=False, build_seconds=0.06, measure_seconds=0.03, journal=journal, failures=False)
    make_run(tmp_path / "run", behaviour, budget={"evaluations": 25}, deterministic=False).search(picture=False)
    spans = [(what, float(began), float(ended)) for began, ended, what, _ in map(str.split, journal.read_text().splitlines())]
    timed = sorted((began, ended) for what, began, ended in spans if what == "measure")
    built = [(began, ended) for what, began, ended in spans if what == "prepare"]
    assert all(before[1] <= after[0] for before, after in pairwise(timed))
    beside_timing = [b for b in built if any(b[0] < ended and began < b[1] for began, ended in timed)]
    beside_building = [b for b in built if any(b[0] < ended and began < b[1] for began, ended in built if (began, ended) != b)]
    assert len(beside_timing) > len(built) / 2
    assert len(beside_building) > len(built) / 2


@WAYS
def test_contests_are_settled_by_duels_that_the_lineage_keeps(tmp_path: Path, inline: bool) -> None:
    behaviour = Instant(inline=inline, deterministic=False, noise=0.2)
    make_run(tmp_path / "run", behaviour, budget={"evaluations": 80}).search(picture=False)
    with Lineage.open(tmp_path / "run" / "run.db", readonly=True) as lineage:
        events = list(lineage.events())
    contests = [e for e in events if e.status is AddStatus.CONTEST]
    settled = [e for e in events if e.kind is EventKind.SETTLE]
    assert contests
    assert len(settled) == len(contests)
    known = {c.number: c for c in finished(tmp_path / "run")}
    for event in settled:
        if event.evaluations:
            kernels = {number: known[number].kernel for number in event.evaluations}
            faster = max(kernels, key=lambda number: speed(kernels[number]))  # type: ignore[arg-type]
            assert speed(kernels[event.candidate]) == speed(kernels[faster])  # type: ignore[arg-type]


@WAYS
def test_a_share_of_noisy_evaluations_measures_elites_again(tmp_path: Path, inline: bool) -> None:
    behaviour = Instant(inline=inline, deterministic=False)
    summary = make_run(tmp_path / "run", behaviour, budget={"evaluations": 100}, evaluation={"remeasure": 0.2}).search(picture=False)
    with Lineage.open(tmp_path / "run" / "run.db", readonly=True) as lineage:
        again = [e for e in lineage.events() if e.kind is EventKind.REMEASURE]
    assert 15 <= len(again) <= 21
    assert summary.evaluations == 100
    assert sum(summary.outcomes.values()) + len(again) == 100


def test_exact_evaluations_are_never_repeated(tmp_path: Path) -> None:
    make_run(tmp_path / "run", evaluation={"remeasure": 0.5}).search(picture=False)
    with Lineage.open(tmp_path / "run" / "run.db", readonly=True) as lineage:
        assert {e.kind for e in lineage.events()} == {EventKind.OFFER}


@WAYS
def test_a_passing_trouble_of_the_evaluator_is_retried_and_costs_nobody_anything(tmp_path: Path, inline: bool) -> None:
    trouble = tmp_path / "trouble"
    trouble.write_text("busy\nraise\n")
    summary = make_run(tmp_path / "run", Instant(inline=inline, trouble=trouble)).search(picture=False)
    assert summary.stopped_by == "evaluations"
    assert "infrastructure_error" not in summary.outcomes
    assert not trouble.exists()


@WAYS
def test_a_lasting_trouble_of_the_evaluator_stops_the_run_with_advice(tmp_path: Path, inline: bool) -> None:
    trouble = tmp_path / "trouble"
    run = make_run(tmp_path / "run", Instant(inline=inline, trouble=trouble))

    def watch(progress: Progress) -> None:
        if progress.evaluations >= 5 and not trouble.exists():
            trouble.write_text("busy\n" * 100)

    summary = run.search(watch, picture=False)
    assert summary.stopped_by == "infrastructure"
    assert "the device is busy" in summary.message or "evaluator failed" in summary.message
    assert summary.resume
    assert summary.outcomes["infrastructure_error"] >= 3
    assert summary.best is not None


def test_a_kernel_the_evaluator_could_not_evaluate_may_be_proposed_again(tmp_path: Path) -> None:
    trouble = tmp_path / "trouble"
    run = make_run(tmp_path / "run", Instant(sources=(SMALL_SEED,), trouble=trouble), budget={"evaluations": 50, "barren": 20})

    def watch(progress: Progress) -> None:
        if progress.evaluations == 1 and "infrastructure_error" not in progress.failures:
            trouble.write_text("busy\n" * 3)

    run.search(watch, picture=False)
    kernels = {c.kernel.id for c in finished(tmp_path / "run") if c.ok and c.kernel}
    failed = {c.kernel.id for c in finished(tmp_path / "run") if c.evaluation and c.evaluation.outcome is Outcome.INFRASTRUCTURE_ERROR}  # type: ignore[union-attr]
    assert failed
    assert failed <= kernels


@WAYS
def test_a_seed_that_fails_is_told_with_its_diagnostics_and_leaves_nothing_behind(tmp_path: Path, inline: bool) -> None:
    run = make_run(tmp_path / "run", Instant(inline=inline, broken="element 3 is 7, expected 8"))
    with pytest.raises(UserError) as caught:
        run.search(picture=False)
    assert "element 3 is 7, expected 8" in str(caught.value)
    assert (caught.value.found, caught.value.expected) == ("wrong", "ok")
    assert str(caught.value.file) == "seed-0.py"
    assert not (tmp_path / "run").exists()


def test_one_seed_that_works_is_enough(tmp_path: Path) -> None:
    broken = "TILE = 1 # evo: {1, 2}\nVECTOR = 0 # evo: {0}\nUNROLL = 7 # evo: {7}\n"
    summary = make_run(tmp_path / "run", Instant(sources=(broken, SMALL_SEED)), budget={"evaluations": 5}).search(picture=False)
    assert summary.outcomes["ok"] == 4
    assert 0 not in {c.proposal.parents[0] for c in finished(tmp_path / "run")[2:]}


@WAYS
def test_progress_tells_the_stages_in_order_and_ends_with_the_truth(tmp_path: Path, inline: bool) -> None:
    seen: list[Progress] = []
    summary = make_run(tmp_path / "run", Instant(inline=inline)).search(seen.append, picture=False)
    order = list(Stage)
    stages = [order.index(progress.stage) for progress in seen]
    assert stages == sorted(stages)
    assert {Stage.OPEN, Stage.REPLAY, Stage.SEARCH, Stage.CERTIFY, Stage.DONE} <= {progress.stage for progress in seen}
    last = seen[-1]
    assert (last.evaluations, last.best_candidate, last.cells) == (summary.evaluations, summary.best, summary.cells)
    assert last.evaluations_left == 0 and last.in_flight == 0
    assert last.failures == {k: v for k, v in summary.outcomes.items() if k != "ok"}
    assert any("is the best" in progress.message for progress in seen)
