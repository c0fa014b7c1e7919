"""What every archive must do, whatever its cells are. To add an archive: add a maker to `MAKERS`.

A maker takes `deterministic` and returns an empty archive whose cells are found from the profile field `tile` (1 … 256).
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from archive.base import BENCH, Archive
from archive.candidate import AddStatus, Candidate, Proposal
from archive.cvt import CVTArchive
from archive.descriptors import Descriptors, Log2
from archive.evaluation import Evaluation, Outcome, Samples
from archive.events import Event
from archive.grid import GridArchive
from archive.kernel import Kernel
from archive.lineage import Lineage
from archive.replay import replay
from archive.schema import LineageError
from archive.stats import summarise

AXES = Descriptors([Log2("tile", "tile", 1, 256, out_of_range="drop")])
MAKERS: dict[str, Callable[[bool], Archive]] = {
    "grid": lambda deterministic: GridArchive(AXES, deterministic=deterministic),
    "cvt": lambda deterministic: CVTArchive(AXES, cells=5, deterministic=deterministic),
}
KERNEL = Kernel("tabular", "A = 0  # evo: [0..999 step 1]\n")

Make = Callable[[bool], Archive]


@pytest.fixture(params=sorted(MAKERS))
def make(request: pytest.FixtureRequest) -> Make:
    return MAKERS[request.param]


def evaluation(objective: float, *, half: float = 0.005, tile: float = 4, outcome: Outcome = Outcome.OK) -> Evaluation:
    """Samples whose pooled estimate is `objective` to within `half`."""
    if outcome is not Outcome.OK:
        return Evaluation(KERNEL.id, outcome, profile={"tile": tile})
    baseline = 1e-3 * np.exp(np.linspace(-half, half, 9))
    samples = (Samples("n=1", np.full(9, 1e-3) * math.exp(-objective), baseline),)
    estimate = summarise(samples)
    return Evaluation(
        KERNEL.id, outcome, objective=estimate.value, interval=(estimate.low, estimate.high), samples=samples, profile={"tile": tile}
    )


def candidate(number: int, objective: float, *, half: float = 0.005, tile: float = 4, outcome: Outcome = Outcome.OK) -> Candidate:
    found = evaluation(objective, half=half, tile=tile, outcome=outcome)
    return Candidate(Proposal(number, "mutate"), KERNEL.with_values({"A": number % 1000}), found)


def test_an_empty_archive_has_no_best_no_coverage_and_no_score(make: Make) -> None:
    archive = make(False)
    assert (archive.best, archive.coverage, archive.qd_score(), archive.elites(), len(archive)) == (None, 0.0, 0.0, (), 0)
    assert archive.bar_samples(None) == () and archive.remeasure(0, evaluation(1.0)) is None


def test_the_first_of_a_cell_is_new_and_becomes_its_elite_and_bar(make: Make) -> None:
    archive = make(False)
    first = candidate(0, 0.5)
    result = archive.offer(first)
    assert (result.status, result.incumbent) == (AddStatus.NEW, None)
    assert result.cell is not None and result.cell in archive
    elite = archive.elite(result.cell)
    assert elite is not None and elite is result.elite and elite.candidate is first
    assert archive.bar_samples(result.cell) == first.evaluation.samples
    assert archive.coverage == 1 / archive.cells and archive.best is elite


def test_better_beyond_noise_improves_and_the_loser_waits_on_the_bench(make: Make) -> None:
    archive = make(False)
    archive.offer(candidate(0, 0.5))
    result = archive.offer(candidate(1, 0.6))
    assert result.status is AddStatus.IMPROVE and result.incumbent is not None and result.incumbent.number == 0
    assert archive.elite(result.cell).number == 1
    assert [e.number for e in archive.bench(result.cell)] == [0]


def test_worse_beyond_noise_is_rejected(make: Make) -> None:
    archive = make(False)
    archive.offer(candidate(0, 0.5))
    result = archive.offer(candidate(1, 0.4))
    assert result.status is AddStatus.REJECT and result.elite is result.incumbent
    assert archive.elite(result.cell).number == 0


@pytest.mark.parametrize("gap", [-0.01, 0.0, 0.01])
def test_within_noise_is_a_contest_that_changes_no_elite(make: Make, gap: float) -> None:
    archive = make(False)
    archive.offer(candidate(0, 0.5))
    result = archive.offer(candidate(1, 0.5 + gap))
    assert result.status is AddStatus.CONTEST
    assert archive.elite(result.cell).number == 0 and archive.best.number == 0


def test_wide_intervals_make_a_contest_of_a_gap_that_narrow_ones_decide(make: Make) -> None:
    for half, status in ((0.005, AddStatus.IMPROVE), (0.2, AddStatus.CONTEST)):
        archive = make(False)
        archive.offer(candidate(0, 0.5, half=half))
        assert archive.offer(candidate(1, 0.56, half=half)).status is status


def test_a_deterministic_archive_has_no_contests_and_ties_keep_the_incumbent(make: Make) -> None:
    archive = make(True)
    archive.offer(candidate(0, 0.5))
    assert archive.offer(candidate(1, 0.5)).status is AddStatus.REJECT
    assert archive.offer(candidate(2, 0.5 + 1e-9)).status is AddStatus.IMPROVE
    assert archive.offer(candidate(3, 0.5)).status is AddStatus.REJECT


def test_what_is_not_ok_or_outside_the_axes_is_rejected_without_a_cell(make: Make) -> None:
    archive = make(False)
    for outcome in set(Outcome) - {Outcome.OK}:
        assert archive.offer(candidate(0, 0.0, outcome=outcome)).status is AddStatus.REJECT
    outside = archive.offer(candidate(1, 0.5, tile=4096))
    assert (outside.status, outside.cell, len(archive)) == (AddStatus.REJECT, None, 0)
    assert archive.offer(Candidate(Proposal(2, "graft"), None, None)).status is AddStatus.REJECT


def test_a_cell_that_the_candidate_carries_is_used_as_it_is(make: Make) -> None:
    archive = make(False)
    cell = archive.cell_of({"tile": 256})
    assert archive.offer(dataclasses.replace(candidate(0, 0.5, tile=1), cell=cell)).cell == cell


def test_settling_for_the_challenger_seats_it_and_both_keep_the_duels_samples(make: Make) -> None:
    archive = make(False)
    archive.offer(candidate(0, 0.50))
    challenger = candidate(1, 0.51)
    cell = archive.offer(challenger).cell
    change = archive.settle(cell, challenger, {0: evaluation(0.49), 1: evaluation(0.52)})
    assert change.demoted and change.before.number == 0 and change.after.number == 1
    assert [e.number for e in archive.bench(cell)] == [0]
    for entry in (archive.elite(cell), *archive.bench(cell)):
        assert entry.samples[0].seconds.size == 18 and entry.sittings == 2
    assert dict(change.estimates)[1].value == archive.elite(cell).objective


def test_settling_for_the_incumbent_leaves_it_seated_with_more_samples(make: Make) -> None:
    archive = make(False)
    first = candidate(0, 0.50)
    archive.offer(first)
    cell = archive.offer(candidate(1, 0.51)).cell
    change = archive.settle(cell, first, {0: evaluation(0.52), 1: evaluation(0.49)})
    assert not change.demoted and archive.elite(cell).number == 0 and archive.elite(cell).sittings == 2


def test_a_winner_that_failed_in_its_duel_does_not_win(make: Make) -> None:
    archive = make(False)
    archive.offer(candidate(0, 0.50))
    challenger = candidate(1, 0.51)
    cell = archive.offer(challenger).cell
    change = archive.settle(cell, challenger, {0: evaluation(0.5), 1: evaluation(0.0, outcome=Outcome.WRONG)})
    assert archive.elite(cell).number == 0 and archive.held(1) is None
    assert dict(change.estimates)[1] is None


def test_a_cell_that_changed_hands_during_a_duel_is_not_taken_by_its_winner(make: Make) -> None:
    archive = make(False)
    archive.offer(candidate(0, 0.50))
    challenger = candidate(1, 0.51)
    cell = archive.offer(challenger).cell
    archive.offer(candidate(2, 0.90))
    change = archive.settle(cell, challenger, {0: evaluation(0.49), 1: evaluation(0.52)})
    assert not change.demoted and archive.elite(cell).number == 2 and archive.held(1).sittings == 2


def test_a_winner_that_fell_off_the_bench_meanwhile_can_still_win(make: Make) -> None:
    archive = make(False)
    archive.offer(candidate(0, 0.50))
    challenger = candidate(1, 0.49)
    cell = archive.offer(challenger).cell
    for number in range(2, 6):
        archive.offer(candidate(number, 0.495))
    assert archive.held(1) is None
    assert archive.settle(cell, challenger, {0: evaluation(0.4), 1: evaluation(0.6)}).after.number == 1
    assert len(archive.bench(cell)) == BENCH


def test_a_lucky_elite_is_demoted_when_measured_again(make: Make) -> None:
    archive = make(False)
    archive.offer(candidate(0, 0.50))
    archive.offer(candidate(1, 0.45))
    cell = archive.offer(candidate(2, 0.30)).cell
    change = None
    for _ in range(3):
        change = archive.remeasure(0, evaluation(0.35))
    assert change is not None and archive.elite(cell).number == 1
    assert [e.number for e in archive.bench(cell)] == [0, 2]
    assert archive.best.number == 1


def test_an_elite_found_wrong_when_measured_again_leaves_and_the_best_runner_up_moves_up(make: Make) -> None:
    archive = make(False)
    archive.offer(candidate(0, 0.5))
    archive.offer(candidate(1, 0.2))
    cell = archive.offer(candidate(2, 0.3)).cell
    change = archive.remeasure(0, evaluation(0.0, outcome=Outcome.CRASH))
    assert change.demoted and change.after.number == 2 and archive.held(0) is None
    assert [e.number for e in archive.bench(cell)] == [1]


def test_a_cell_whose_only_candidate_is_found_wrong_is_empty_again(make: Make) -> None:
    archive = make(False)
    cell = archive.offer(candidate(0, 0.5)).cell
    change = archive.remeasure(0, evaluation(0.0, outcome=Outcome.WRONG))
    assert (change.after, archive.best, len(archive), cell in archive) == (None, None, 0, False)
    assert archive.offer(candidate(1, 0.1)).status is AddStatus.NEW


def test_an_infrastructure_error_says_nothing_about_an_elite(make: Make) -> None:
    archive = make(False)
    archive.offer(candidate(0, 0.5))
    before = archive.state()
    assert archive.remeasure(0, evaluation(0.0, outcome=Outcome.INFRASTRUCTURE_ERROR)) is None
    assert archive.state() == before


def test_the_bench_is_short_and_holds_the_best_runners_up(make: Make) -> None:
    archive = make(False)
    for number, objective in enumerate((0.9, 0.1, 0.3, 0.2, 0.5, 0.4)):
        cell = archive.offer(candidate(number, objective)).cell
    assert [e.number for e in archive.bench(cell)] == [4, 5, 2]
    assert archive.held(1) is None and archive.held(2).number == 2


def test_the_score_sums_what_cells_have_over_the_floor(make: Make) -> None:
    archive = make(True)
    archive.offer(candidate(0, 0.5, tile=1))
    archive.offer(candidate(1, -0.5, tile=256))
    assert archive.qd_score() == pytest.approx(0.5)
    assert archive.qd_score(floor=-1.0) == pytest.approx(1.5 + 0.5)
    assert archive.coverage == 2 / archive.cells


def test_the_frame_has_a_row_per_elite_best_first(make: Make) -> None:
    archive = make(False)
    assert len(archive.frame()) == 0
    archive.offer(candidate(0, 0.1, tile=1))
    archive.offer(candidate(1, 0.4, tile=256))
    frame = archive.frame()
    assert list(frame.index) == [1, 0]
    assert frame.loc[1, "speedup"] == pytest.approx(math.exp(0.4))
    assert frame.loc[1, "pairs"] == 9


@pytest.mark.parametrize("deterministic", [False, True])
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 30))
def test_any_sequence_of_events_replays_from_the_lineage_to_the_identical_archive(
    make: Make, deterministic: bool, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    archive = make(deterministic)
    path = tmp_path_factory.mktemp("run") / "run.db"
    with Lineage.create(path, group_ms=100) as lineage:
        lineage.start_run("{}", seed, "problem", "tabular")
        live(archive, lineage, random.Random(seed), 60)
        assert lineage.select("SELECT candidate FROM best") == ([] if archive.best is None else [{"candidate": archive.best.number}])
        elites = {row["candidate"]: row["objective"] for row in lineage.select("SELECT candidate, objective FROM elites")}
        assert elites == {e.number: e.objective for e in archive.elites()}
    with Lineage.open(path, readonly=True) as stored:
        assert replay(stored, make(deterministic)).state() == archive.state()


def live(archive: Archive, lineage: Lineage, rng: random.Random, events: int) -> None:
    """A random life: offers (some failed, some outside), contests settled or forgotten, re-measurements of whatever is held."""
    contests: list[tuple[tuple[int, ...], Candidate, int]] = []
    made: dict[int, Candidate] = {}
    check_best(archive)
    while len(made) < events:
        what = rng.random()
        if what < 0.6 or not made:
            number = len(made)
            outcome = Outcome.OK if rng.random() < 0.85 else rng.choice(list(Outcome))
            drawn = candidate(
                number, round(rng.gauss(0.0, 0.03), 2), half=rng.choice([0.001, 0.02]), tile=2 ** rng.randrange(10), outcome=outcome
            )
            result = archive.offer(drawn)
            stored = dataclasses.replace(drawn, cell=result.cell, status=result.status)
            lineage.propose(stored.proposal)
            lineage.commit(stored, Event.offered(number, result))
            made[number] = stored
            if result.status is AddStatus.CONTEST and result.cell is not None and result.incumbent is not None:
                contests.append((result.cell, stored, result.incumbent.number))
        elif what < 0.8 and contests:
            cell, challenger, incumbent = contests.pop(rng.randrange(len(contests)))
            duel = {
                n: evaluation(rng.gauss(0.0, 0.03), outcome=rng.choice([Outcome.OK] * 9 + list(Outcome)))
                for n in (challenger.number, incumbent)
            }
            winner = rng.choice([challenger, made[incumbent]])
            lineage.event(Event.settled(winner.number, archive.settle(cell, winner, duel), duel))
        else:
            number = rng.randrange(len(made))
            again = evaluation(rng.gauss(0.0, 0.03), outcome=rng.choice([Outcome.OK] * 9 + list(Outcome)))
            lineage.event(Event.remeasured(number, archive.remeasure(number, again), again))
        check_best(archive)


def check_best(archive: Archive) -> None:
    """Best, coverage and entries agree with what the cells say, after every event."""
    elites = archive.elites()
    assert archive.best is max(elites, key=lambda e: (e.objective, -e.number), default=None)
    assert archive.coverage == len(elites) / archive.cells
    numbers = [e.number for cell, elite in archive.items() for e in (elite, *archive.bench(cell))]
    assert len(set(numbers)) == len(numbers)
    for cell, elite in archive.items():
        bench = archive.bench(cell)
        assert len(bench) <= BENCH and [e.objective for e in bench] == sorted((e.objective for e in bench), reverse=True)
        assert all(archive.held(e.number) is e for e in (elite, *bench))


def test_replaying_on_other_cells_is_an_error_that_says_so(make: Make, tmp_path: Path) -> None:
    archive = make(False)
    with Lineage.create(tmp_path / "run.db") as lineage:
        lineage.start_run("{}", 0, "problem", "tabular")
        live(archive, lineage, random.Random(0), 30)
        with pytest.raises(LineageError, match="went differently"):
            replay(lineage, make(True))
