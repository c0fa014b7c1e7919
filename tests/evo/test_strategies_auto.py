"""What is particular to `auto`, and to the bandit that it and others use."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from instant_evaluator import SEED, Instant
from instant_runs import finished, make_run, open_again, trace

from archive.candidate import AddStatus, Candidate, Proposal, SetValues
from archive.evaluation import Evaluation, Outcome
from archive.kernel import Kernel
from evo.errors import UserError
from evo.strategies.auto import Auto
from evo.strategies.bandit import Bandit, OperatorChoice, reward
from evo.strategies.registry import create_strategy

OTHER = SEED.replace("VECTOR = 0 ", "VECTOR = 1 ").replace("{0, 1, 2}", "{0, 1}") + "# another text\n"


def test_it_reaches_the_optimum_of_the_synthetic_space_in_few_evaluations(tmp_path) -> None:
    run = make_run(tmp_path / "run", strategy="auto", budget={"evaluations": 45})
    summary = run.search(picture=False)
    assert summary.speedup == pytest.approx(2.718281828 ** (1.5 + 0.8), rel=1e-6)


def test_a_search_that_is_resumed_goes_on_as_if_nothing_had_happened(tmp_path) -> None:
    make_run(tmp_path / "whole", strategy="auto", budget={"evaluations": 40}).search(picture=False)
    make_run(tmp_path / "halves", strategy="auto", budget={"evaluations": 23}).search(picture=False)
    config = tmp_path / "halves" / "config.yaml"
    config.write_text(config.read_text().replace("evaluations: 23", "evaluations: 40"))
    open_again(tmp_path / "halves").search(picture=False)
    assert trace(tmp_path / "halves") == trace(tmp_path / "whole")


def test_several_builds_at_once_and_noise_are_no_hindrance(tmp_path) -> None:
    behaviour = Instant(inline=False, deterministic=False)
    run = make_run(tmp_path / "run", behaviour, strategy="auto", budget={"evaluations": 60}, deterministic=False)
    summary = run.search(picture=False)
    assert summary.speedup is not None and summary.speedup > 7.0
    candidates = finished(tmp_path / "run")
    assert sum(candidate.duplicate_of is not None for candidate in candidates) == 0
    assert all(candidate.kernel is not None for candidate in candidates)


def test_every_family_has_a_surrogate_and_the_better_one_gets_more(tmp_path) -> None:
    run = make_run(tmp_path / "run", Instant(sources=(SEED, OTHER)), strategy="auto", budget={"evaluations": 120})
    run.search(picture=False)
    families = Counter(candidate.kernel.family for candidate in finished(tmp_path / "run") if candidate.kernel)
    better, worse = Kernel("python", SEED).family, Kernel("python", OTHER).family
    assert families[better] > 1.3 * families[worse] > 13


def test_what_the_surrogate_wants_is_a_small_edit_of_a_parent(tmp_path) -> None:
    make_run(tmp_path / "run", strategy="auto", budget={"evaluations": 50}).search(picture=False)
    candidates = finished(tmp_path / "run")
    kernels = {candidate.number: candidate.kernel for candidate in candidates}
    late = [c for c in candidates[20:] if isinstance(c.proposal.goal, SetValues)]
    assert len(late) > 20
    for candidate in late:
        parent = kernels[candidate.proposal.parents[0]]
        changed = {name for name, value in candidate.kernel.values.items() if parent.values[name] != value}
        assert changed == set(candidate.proposal.goal.values)


def test_other_operators_share_in_the_work(tmp_path) -> None:
    run = make_run(tmp_path / "run", strategy="auto", operators={"mutate_many": 1.0, "crossover": 1.0}, budget={"evaluations": 80})
    run.search(picture=False)
    used = Counter(candidate.proposal.operator for candidate in finished(tmp_path / "run"))
    assert {"set_values", "mutate_many", "crossover"} <= set(used)


def test_a_part_can_be_left_out_and_an_unknown_one_is_told() -> None:
    assert isinstance(create_strategy("auto", {"without": ["squash"]}), Auto)
    with pytest.raises(UserError, match="no part magic to leave out"):
        create_strategy("auto", {"without": ["magic"]})


# ── the bandit ──


def test_a_bandit_finds_the_arm_that_pays_and_notices_when_it_stops() -> None:
    bandit, rng, pulls = Bandit(memory=100), Random(1), []
    for number in range(1000):
        arm = bandit.choose(("a", "b", "c"), rng)
        pays = {"a": 0.6, "b": 0.2, "c": 0.1} if number < 500 else {"a": 0.05, "b": 0.2, "c": 0.6}
        bandit.tell(arm, float(rng.random() < pays[arm]))
        pulls.append(arm)
    assert Counter(pulls[200:500])["a"] > 200
    assert Counter(pulls[800:])["c"] > 130


def told(number: int, operator: str, status: AddStatus | None, outcome: Outcome = Outcome.OK) -> Candidate:
    evaluation = Evaluation("k", outcome, objective=0.0 if outcome is Outcome.OK else None)
    return Candidate(Proposal(number, operator, (0,)), Kernel("python", SEED), evaluation, status=status)


def test_an_operator_that_makes_elites_is_chosen_more_often_only_where_success_counts() -> None:
    for adaptive in (True, False):
        choice, rng = OperatorChoice({"mutate_many": 1.0, "mutate_uniform": 1.0, "crossover": 0.0}, adaptive=adaptive), Random(0)
        for number in range(100):
            choice.tell(told(2 * number, "mutate_many", AddStatus.NEW))
            choice.tell(told(2 * number + 1, "mutate_uniform", AddStatus.REJECT))
        chosen = Counter(choice.choose(rng) for _ in range(1000))
        assert set(chosen) == {"mutate_many", "mutate_uniform"}
        assert (chosen["mutate_many"] > 800) is adaptive


def test_rewards_rank_new_elites_over_contests_over_losers_over_failures() -> None:
    rewards = [
        reward(told(1, "sample", status, outcome))
        for status, outcome in (
            (AddStatus.NEW, Outcome.OK),
            (AddStatus.CONTEST, Outcome.OK),
            (AddStatus.REJECT, Outcome.OK),
            (None, Outcome.WRONG),
        )
    ]
    assert rewards == sorted(rewards, reverse=True) and len(set(rewards)) == 4


def test_a_choice_knows_how_many_parents_there_are() -> None:
    choice = OperatorChoice({"crossover": 1.0}, adaptive=False)
    assert choice.choose(Random(0), most_parents=1) is None
    with pytest.raises(ValueError, match="no operator has a weight"):
        OperatorChoice({"crossover": 0.0}, adaptive=True)
