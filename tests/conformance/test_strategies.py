"""What every strategy has to do, whatever it thinks. To add one: it is here as soon as the registry knows its name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random

import pytest
from instant_evaluator import DESCRIPTORS, SEED, SMALL_SEED, Instant, InstantEvaluator
from instant_runs import config, make_run, open_again, trace

from archive.candidate import Candidate, Draft, Proposal
from archive.descriptors import parse_descriptors
from archive.grid import GridArchive
from evo.budget import Budget
from evo.config import BudgetSection
from evo.errors import UserError
from evo.randomness import generator
from evo.state import State
from evo.strategies.base import Move, Strategy
from evo.strategies.registry import create_strategy, strategy_class, strategy_names
from operators.base import Context, operator, operator_class


class World:
    """A search without engine and lineage: the strategy, the state that it sees, and an evaluator."""

    def __init__(self, strategy: Strategy, *sources: str, broken: str = "", seed: int = 0) -> None:
        self.evaluator = InstantEvaluator(Instant(sources=sources or (SEED,), broken=broken))
        archive = GridArchive(parse_descriptors(list(DESCRIPTORS)), deterministic=True)
        self.state = State(archive, strategy, Budget(BudgetSection(evaluations=1000)), self.evaluator.space)
        self.seed = seed
        self.operators = cache(operator)
        self.told: list[Candidate] = []
        self.moves: list[Move] = []
        self.drafts: dict[int, tuple[Draft, int | None]] = {}
        """What was drafted, and which earlier candidate had the same kernel; drafted and claimed at once, as an engine does."""
        for number, kernel in enumerate(self.evaluator.seeds()):
            self.draft(Proposal(number, "seed"), Draft(kernel))
            self.tell(Proposal(number, "seed"))

    def ask(self, number: int) -> Proposal:
        move = self.state.strategy.ask(self.state.view, generator(self.seed, "ask", number))
        self.moves.append(move)
        proposal = Proposal(number, move.operator, move.parents, move.goal)
        context = Context(self.state.view, generator(self.seed, "propose", number), self.evaluator.seeds())
        self.draft(proposal, self.operators(proposal.operator).propose(proposal, context))
        return proposal

    def draft(self, proposal: Proposal, draft: Draft) -> None:
        earlier = None if draft.kernel is None else self.state.view.claim(draft.kernel.id, proposal.number)
        self.drafts[proposal.number] = draft, earlier

    def tell(self, proposal: Proposal) -> Candidate:
        draft, earlier = self.drafts.pop(proposal.number)
        kernel, notes = draft.kernel, {"reason": draft.reason} if draft.reason else {}
        if kernel is None or earlier is not None:
            candidate = Candidate(proposal, kernel, None, duplicate_of=earlier, notes=notes)
        else:
            prepared = self.evaluator.prepare(kernel)
            evaluation = prepared.failed or self.evaluator.measure(prepared)
            cell = self.state.archive.cell_of(prepared.profile, kernel.values) if evaluation.ok else None
            candidate = Candidate(proposal, kernel, evaluation, cell, notes=notes)
            if evaluation.ok:
                self.state.offer(candidate)
        self.state.finish(candidate)
        self.told.append(candidate)
        return candidate

    def search(self, steps: int, overlap: int = 1) -> World:
        """`steps` candidates, asked for `overlap` at a time before the first of them is told."""
        while steps > 0:
            first = len(self.told)
            batch = [self.ask(first + i) for i in range(min(overlap, steps))]
            for proposal in batch:
                self.tell(proposal)
            steps -= len(batch)
        return self


Make = Callable[[], Strategy]


SLOW = ("optuna",)
"""A model of its own for each of thousands of draws: a minute of CPU time for all that is asked here."""
EVERY = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in strategy_names()]


@pytest.fixture(params=EVERY)
def make(request: pytest.FixtureRequest) -> Make:
    try:
        create_strategy(request.param, {})
    except UserError as error:
        if "not installed" not in str(error):
            raise
        pytest.skip(f"{request.param}: {error.remedy}")
    return lambda: create_strategy(request.param, {})


def check(world: World) -> None:
    """Every move was one that an engine can carry out."""
    kernels = {c.number: c for c in world.told if c.kernel is not None}
    for move in world.moves:
        kind = operator_class(move.operator)
        assert len(move.parents) >= kind.parents
        assert set(move.parents) <= set(kernels)
        assert move.goal is None or isinstance(move.goal, kind.goals)


@pytest.mark.parametrize("overlap", [1, 7])
def test_it_asks_for_what_an_engine_can_do(make: Make, overlap: int) -> None:
    world = World(make()).search(120, overlap)
    check(world)
    assert len({c.kernel.id for c in world.told if c.kernel}) > 100


def test_it_finds_something_better_than_the_seed(make: Make) -> None:
    world = World(make()).search(100)
    best = world.state.archive.best
    assert best is not None and world.told[0].objective is not None
    assert best.objective > world.told[0].objective + 1.0


def test_the_same_generator_gives_the_same_search_and_another_another(make: Make) -> None:
    first, second, other = (World(make(), seed=seed).search(60, 3) for seed in (1, 1, 2))
    assert first.moves == second.moves
    assert [c.kernel for c in first.told] == [c.kernel for c in second.told]
    assert [c.kernel for c in first.told] != [c.kernel for c in other.told]


def test_asking_changes_nothing_that_an_answer_depends_on(make: Make) -> None:
    world = World(make()).search(40)
    view, strategy = world.state.view, world.state.strategy
    answers = [strategy.ask(view, Random(number % 5)) for number in range(20)]
    assert answers == answers[:5] * 4


def test_a_new_one_that_is_told_the_same_goes_on_the_same(make: Make) -> None:
    world = World(make()).search(50)
    resumed = make()
    for candidate in world.told:
        resumed.tell(candidate)
    for number in range(30):
        assert resumed.ask(world.state.view, Random(number)) == world.state.strategy.ask(world.state.view, Random(number))


def test_it_goes_on_when_nothing_works(make: Make) -> None:
    world = World(make(), broken="nothing is ever right").search(40, 4)
    check(world)
    assert len(world.state.archive) == 0


def test_it_goes_on_when_the_space_is_used_up(make: Make) -> None:
    world = World(make(), SMALL_SEED).search(60, 4)
    check(world)
    assert len({c.kernel.id for c in world.told if c.kernel}) == 6


def test_it_can_do_with_a_kernel_that_has_no_tunables_worth_the_name(make: Make) -> None:
    world = World(make(), "TILE = 4 # evo: {4}\nVECTOR = 0 # evo: {0}\n").search(30)
    check(world)
    assert len({c.kernel.id for c in world.told if c.kernel}) == 1


def test_it_starts_from_every_seed_that_works(make: Make) -> None:
    other = SEED.replace("UNROLL = 1 ", "UNROLL = 2 ").replace("[1..8]", "[1..6]")
    dead = SEED.replace("UNROLL = 1 ", "UNROLL = 7 ")
    world = World(make(), SEED, other, dead).search(150)
    check(world)
    parents = {move.parents[0] for move in world.moves if move.parents}
    assert {0, 1} <= parents
    assert 2 not in parents


def test_it_searches_a_whole_run_and_a_resume_of_it_the_same(make: Make, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    name = request.node.callspec.params["make"]
    make()
    make_run(tmp_path / "whole", strategy=name, budget={"evaluations": 40}).search(picture=False)
    make_run(tmp_path / "halves", strategy=name, budget={"evaluations": 22}).search(picture=False)
    (tmp_path / "halves" / "config.yaml").write_text(config(strategy=name, budget={"evaluations": 40}).dump())
    assert open_again(tmp_path / "halves").search(picture=False).evaluations == 40
    assert trace(tmp_path / "halves") == trace(tmp_path / "whole")


def test_noise_and_results_in_any_order_are_no_hindrance(make: Make, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    name = request.node.callspec.params["make"]
    make()
    behaviour = Instant(inline=False, deterministic=False)
    summary = make_run(tmp_path / "run", behaviour, strategy=name, deterministic=False, budget={"evaluations": 50}).search(picture=False)
    assert summary.evaluations == 50
    assert summary.speedup is not None and summary.speedup > 4.0


@pytest.mark.parametrize("name", strategy_names())
def test_it_chooses_operators_by_their_success_or_says_why_it_cannot(name: str) -> None:
    reason = strategy_class(name).not_adaptive
    if reason:
        with pytest.raises(UserError, match="cannot choose its operators by their success") as refused:
            create_strategy(name, {"adaptive": True})
        assert reason in refused.value.what and refused.value.key == "strategy.adaptive"
        assert refused.value.found == "True" and refused.value.expected and "map_elites" in (refused.value.remedy or "")
        return
    world = World(create_strategy(name, {"adaptive": True})).search(120)
    check(world)
    if name != "auto":  # whose further operators are those that the config names
        assert len({move.operator for move in world.moves}) > 1


def test_auto_shares_its_proposals_out_by_success_among_the_operators_it_is_given() -> None:
    weights = {"mutate_neighbour": 1.0, "mutate_many": 1.0}
    world = World(create_strategy("auto", {"adaptive": True}, weights)).search(120)
    assert len({move.operator for move in world.moves}) > 2
