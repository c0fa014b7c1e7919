"""What is particular to each of the classical strategies; what all share is in tests/conformance."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from deap import tools
from instant_evaluator import SEED
from instant_runs import finished, make_run
from tiny_problem import tiny_problem

from archive.candidate import AddStatus, Candidate, Proposal, SetValues
from archive.evaluation import Evaluation, Outcome
from archive.kernel import Kernel
from evo.config import parse_config
from evo.errors import UserError
from evo.run import Run
from evo.strategies.annealing import Annealing
from evo.strategies.beam import Beam
from evo.strategies.islands import Islands
from evo.strategies.iterated_local_search import IteratedLocalSearch
from evo.strategies.mcts import MCTS
from evo.strategies.novelty import Novelty
from evo.strategies.nsga2 import NSGA2
from evo.strategies.population import borrowed
from evo.strategies.registry import create_strategy
from evo.strategies.variation import Variation

KERNEL = Kernel("python", SEED)


def told(
    number: int,
    objective: float | None,
    parents: tuple[int, ...] = (),
    operator: str = "mutate_uniform",
    cell: tuple[int, ...] | None = None,
    **profile: float,
) -> Candidate:
    outcome = Outcome.WRONG if objective is None else Outcome.OK
    kernel = KERNEL.with_values({"UNROLL": 1 + number % 4, "VECTOR": number % 3})
    return Candidate(
        Proposal(number, operator, parents),
        kernel,
        Evaluation(kernel.id, outcome, objective=objective, profile=profile),
        cell,
        None if objective is None else AddStatus.REJECT,
    )


class NoView:
    """A view that nothing is asked of."""

    seeds = (told(0, 0.0, operator="seed"),)


def searched(tmp_path, strategy: object, evaluations: int = 80) -> list[Candidate]:
    make_run(tmp_path / "run", strategy=strategy, budget={"evaluations": evaluations}).search(picture=False)
    return finished(tmp_path / "run")


def test_best_of_n_never_builds_on_what_it_found(tmp_path) -> None:
    assert {candidate.proposal.parents for candidate in searched(tmp_path, "best_of_n")[1:]} == {(0,)}


def test_greedy_varies_the_best_only(tmp_path) -> None:
    candidates = searched(tmp_path, {"name": "greedy", "initial": 5})
    best = candidates[0]
    for candidate in candidates[1:]:
        if candidate.number > 5:
            assert candidate.proposal.parents[0] == best.number
        if candidate.objective is not None and candidate.objective > best.objective:
            best = candidate


def test_local_search_climbs_and_kicks_the_best_when_it_is_stuck() -> None:
    search = IteratedLocalSearch(patience=5, restart=0.0)
    for number in range(8):
        search.tell(told(number, 1.0 + number / 10))
    assert search.ask(NoView(), Random(0)).parents == (7,)
    search.tell(told(8, 0.5, (7,)))
    assert search.current == (1.7, 7)
    for number in range(9, 13):
        search.tell(told(number, 0.5, (7,)))
    kick = search.ask(NoView(), Random(0))
    assert (kick.operator, kick.parents) == ("mutate_many", (7,))
    search.tell(told(13, 0.2, (7,), "mutate_many"))
    assert search.current == (0.2, 13) and search.best == (1.7, 7)


def test_annealing_takes_worse_steps_while_it_is_hot_and_hardly_any_when_it_is_cold() -> None:
    def taken(steps_before: int) -> int:
        count = 0
        for trial in range(60):
            search = Annealing(temperature=0.5, halving=10.0, patience=10_000)
            for number in range(8 + steps_before):
                search.tell(told(number, None if number else 1.0))
            search.tell(told(1000 + trial, 0.8 - trial / 1000, (0,)))
            count += search.current != (1.0, 0)
        return count

    assert taken(0) > 20 > 5 > taken(80)


def test_the_beam_expands_its_members_equally_and_moves_on() -> None:
    beam, rng, parents = Beam(width=2, branch=3, initial=4), Random(0), []
    for number in range(4):
        beam.tell(told(number, float(number)))
    for number in range(4, 10):
        move = beam.ask(NoView(), rng)
        parents.append(move.parents[0])
        beam.tell(told(number, 10.0 + number, (move.parents[0],)))
    assert Counter(parents) == {3: 3, 2: 3}
    assert beam.ask(NoView(), rng).parents[0] in (8, 9)


def test_tree_search_goes_where_descendants_were_good() -> None:
    tree = MCTS(exploration=0.05, widening=0.5)
    tree.tell(told(0, 0.0, operator="seed"))
    tree.tell(told(1, 0.1, (0,), "sample"))
    tree.tell(told(2, 0.2, (0,), "sample"))
    for number in range(3, 9):
        tree.tell(told(number, 2.0 if number == 5 else 0.0, (1,)))
    chosen = Counter(tree.ask(NoView(), Random(seed)).parents[0] for seed in range(50))
    assert chosen[5] == 50


def test_islands_keep_their_children_and_send_their_best_around() -> None:
    islands = Islands(islands=2, interval=1000, initial=2)
    for number in range(4):
        islands.tell(told(number, float(number), (0,), "sample", cell=(number,)))
    first, second = islands._islands
    assert {number for _, number in first.members} == {0, 2} and {number for _, number in second.members} == {1, 3}
    islands.tell(told(4, 9.0, (2,), cell=(2,)))
    assert (9.0, 4) in first.members and (9.0, 4) not in second.members
    islands._migrate()
    assert (9.0, 4) in second.members and (3.0, 3) in first.members


def test_novelty_prefers_who_behaves_like_nobody_else() -> None:
    search = Novelty(population=16, nearest=3, quality=0.0, operators={"mutate_uniform": 1.0})
    for number in range(16):
        search.tell(told(number, float(number), cell=(9, 9) if number == 4 else (number % 2, 0)))
    chosen = Counter(search.ask(NoView(), Random(seed)).parents[0] for seed in range(200))
    assert chosen[4] == max(chosen.values()) and chosen[4] > 30


def test_nsga2_keeps_the_front_of_speed_against_size() -> None:
    search = NSGA2(population=6, batch=6)
    front = {0: (3.0, 30.0), 1: (2.0, 20.0), 2: (1.0, 10.0)}
    for number, (objective, size) in front.items():
        search.tell(told(number, objective, code_bytes=size))
    for number in range(3, 12):  # each slower and larger than one of the front
        search.tell(told(number, 0.9 - number / 100, code_bytes=40.0 + number))
    kept = {member.number for member in search.population}
    assert set(front) <= kept and len(kept) == 6


def test_nsga2_refuses_a_field_that_nothing_tells_and_names_those_there_are() -> None:
    search = NSGA2(against="registers")
    search.tell(told(0, None))  # what fails tells little
    with pytest.raises(UserError, match="cannot search against `registers`") as refused:
        search.tell(told(1, 0.1, code_bytes=40.0, register=3.0))
    assert refused.value.key == "strategy.against" and refused.value.expected == "one of code_bytes, register"
    assert "`register`" in (refused.value.remedy or "")
    with pytest.raises(UserError, match="it is no number") as refused:
        NSGA2(against="error").tell(told(0, 0.1, error=math.nan))
    assert refused.value.found == "error = nan"


def test_nsga2_that_is_told_no_field_does_with_speed_where_there_is_no_code_size() -> None:
    search = NSGA2()
    for number in range(5):
        search.tell(told(number, number / 10))
    assert len(search.population) == 5


def test_a_run_of_nsga2_against_an_unknown_field_ends_with_what_there_is(tmp_path) -> None:
    with pytest.raises(UserError, match="no_such_field") as refused:
        searched(tmp_path, {"name": "nsga2", "against": "no_such_field"}, 20)
    assert refused.value.expected and refused.value.expected.startswith("one of ")


@pytest.mark.slow
def test_nsga2_searches_against_the_numerical_error_that_the_evaluator_of_cpp_tells(tmp_path) -> None:
    document = {
        "name": "rough", "problem": str(tiny_problem(tmp_path)), "target": "cpp", "budget": {"evaluations": 5},
        "strategy": {"name": "nsga2", "against": "error", "population": 2, "batch": 1}, "evaluation": {"repetitions": 4},
    }  # fmt: skip
    Run.create(parse_config(document), tmp_path / "run").search(picture=False, certify=False)
    worked = [candidate for candidate in finished(tmp_path / "run") if candidate.ok and candidate.evaluation is not None]
    assert len(worked) > 2
    assert all(candidate.evaluation.profile["error"] == 0.0 for candidate in worked)  # y = 2 x is exact


def test_a_child_of_differential_evolution_sets_values_that_are_legal(tmp_path) -> None:
    candidates = searched(tmp_path, {"name": "differential_evolution", "population": 8}, 60)
    targeted = [candidate for candidate in candidates if isinstance(candidate.proposal.goal, SetValues)]
    assert len(targeted) > 15
    assert all(candidate.kernel is not None and candidate.kernel.space.legal(candidate.kernel.values) for candidate in targeted)


def test_deap_draws_from_our_generator_and_leaves_the_global_one_alone() -> None:
    before, places = random.getstate(), list(range(1000))
    with borrowed(Random(5)) as drawn:
        assert drawn is not random
        first = tools.selRandom(places, 9)
    with pytest.raises(RuntimeError, match="within"), borrowed(Random(5)):
        assert tools.selRandom(places, 9) == first
        raise RuntimeError("within")
    assert random.getstate() == before
    tools.selRandom(places, 9)
    assert random.getstate() != before  # DEAP draws from the module again


def test_a_parent_without_new_neighbours_is_changed_in_several_places() -> None:
    variation = Variation({"mutate_uniform": 1.0, "mutate_many": 1.0})
    worn = told(3, 0.0, (1,))
    variation.tell(Candidate(worn.proposal, worn.kernel, worn.evaluation, notes={"widened": "further"}))
    assert {variation.move(1, lambda: None, Random(seed)).operator for seed in range(20)} == {"mutate_many"}
    assert len({variation.move(2, lambda: None, Random(seed)).operator for seed in range(20)}) == 2


def test_annealing_takes_the_step_that_pays_when_it_is_adaptive() -> None:
    taken = {}
    for adaptive in (True, False):
        search = Annealing(adaptive=adaptive, patience=1000)
        for number in range(120):  # a uniform change enters the archive each time, a neighbour never
            child = told(number, 0.0, (0,), ("mutate_uniform", "mutate_neighbour")[number % 2])
            search.tell(replace(child, status=AddStatus.IMPROVE if number % 2 == 0 else AddStatus.REJECT))
        taken[adaptive] = Counter(search.ask(NoView(), Random(seed)).operator for seed in range(400))["mutate_uniform"]
    assert taken[True] > 300 > 150 > taken[False]


def test_an_adaptive_differential_evolution_has_more_children_than_the_mutant(tmp_path) -> None:
    candidates = searched(tmp_path, {"name": "differential_evolution", "population": 8, "adaptive": True}, 60)
    used = Counter(candidate.proposal.operator for candidate in candidates)
    assert {"set_values", "mutate_neighbour", "crossover"} <= set(used)


def test_optuna_that_is_not_installed_is_said_with_the_way_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(UserError, match=r"evo-kernels\[optuna\]"):
        create_strategy("optuna", {})
