"""What each tunable operator does that the others do not."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from archive.candidate import Candidate, Draft, Goal, Proposal, SetValues
from archive.descriptors import Bins, Descriptors
from archive.grid import GridArchive
from archive.kernel import Kernel
from archive.space import Space
from operators.base import Context, OperatorError, operator

SOURCE = """\
#define TILE 16      // evo: {8, 16, 32, 64}
#define UNROLL 4     // evo: 2**[0..4]
#define MODE "row"   // evo: {"row", "column", "block"}
#define DEPTH 3      // evo: [0..6]
// evo: require UNROLL <= TILE
"""
KERNEL = Kernel("cpp", SOURCE)


class Run:
    """A view of finished candidates; everything in it was seen."""

    def __init__(self, *kernels: Kernel) -> None:
        self.archive = GridArchive(Descriptors([Bins("depth", "tunable.DEPTH", (0, 3, 7))]))
        self.candidates = [Candidate(Proposal(number, "seed"), kernel, None) for number, kernel in enumerate(kernels)]
        self.seeds, self.failures, self.budget_left, self.evaluations = self.candidates[:1], (), 1.0, len(kernels)
        self.known = {kernel.id for kernel in kernels}

    def candidate(self, number: int) -> Candidate:
        return self.candidates[number]

    def seen(self, kernel_id: str) -> bool:
        return kernel_id in self.known

    def space(self, kernel: Kernel) -> Space:
        return kernel.space


def propose(name: str, run: Run, *parents: int, seed: int = 0, goal: Goal = None, **settings: object) -> Draft:
    return operator(name, **settings).propose(Proposal(9, name, parents, goal), Context(run, random.Random(seed)))


def changed(draft: Draft) -> dict[str, list[object]]:
    found = draft.notes["changed"]
    assert isinstance(found, dict)
    return found


def test_mutate_neighbour_takes_one_step() -> None:
    seen = set()
    for seed in range(200):
        ((name, (_, new)),) = changed(propose("mutate_neighbour", Run(KERNEL), 0, seed=seed)).items()
        seen.add((name, new))
    assert seen == {
        ("TILE", 8),
        ("TILE", 32),
        ("UNROLL", 2),
        ("UNROLL", 8),
        ("MODE", "column"),
        ("MODE", "block"),
        ("DEPTH", 2),
        ("DEPTH", 4),
    }


def test_mutate_uniform_reaches_every_value_of_one_tunable_and_draws_tunables_evenly() -> None:
    drawn = Counter(
        (name, new) for seed in range(1200) for name, (_, new) in changed(propose("mutate_uniform", Run(KERNEL), 0, seed=seed)).items()
    )
    assert len(drawn) == 3 + 4 + 2 + 6
    by_tunable = Counter[str]()
    for (name, _), count in drawn.items():
        by_tunable[name] += count
    assert min(by_tunable.values()) > 0.7 * max(by_tunable.values())


def test_mutate_many_changes_two_or_more_and_many_the_less_often() -> None:
    counts = Counter(len(changed(propose("mutate_many", Run(KERNEL), 0, seed=seed))) for seed in range(600))
    assert set(counts) == {2, 3, 4}
    assert counts[2] > counts[3] > 0.5 * counts[4] > 0
    assert {len(changed(propose("mutate_many", Run(KERNEL), 0, seed=seed, more=0.0))) for seed in range(50)} == {2}


def test_mutate_many_on_a_single_tunable_changes_that_one() -> None:
    run = Run(Kernel("cpp", "#define N 1 // evo: {1, 2, 3}\n"))
    assert propose("mutate_many", run, 0).kernel is not None


def test_crossover_takes_each_value_from_one_parent_or_the_other() -> None:
    other = KERNEL.with_values({"TILE": 64, "UNROLL": 16, "MODE": "block", "DEPTH": 0})
    taken = Counter[str]()
    for seed in range(300):
        child = propose("crossover", Run(KERNEL, other), 0, 1, seed=seed).kernel
        assert child is not None
        for name, value in child.values.items():
            assert value in (KERNEL.values[name], other.values[name])
            taken[name] += value == other.values[name]
        assert child not in (KERNEL, other)
    # UNROLL = 16 is legal with either tile here, so every tunable is as likely from one parent as from the other.
    assert all(110 < count < 190 for count in taken.values())


def test_crossover_repairs_mixtures_when_none_is_legal() -> None:
    source = "#define A 0 // evo: [0..9]\n#define B 9 // evo: [0..9]\n// evo: require A + B == 9\n"
    first = Kernel("cpp", source)
    child = propose("crossover", Run(first, first.with_values({"A": 9, "B": 0})), 0, 1).kernel
    assert child is not None and child.space.legal(child.values)


def test_crossover_of_equal_parents_mutates() -> None:
    draft = propose("crossover", Run(KERNEL), 0, 0)
    assert draft.kernel is not None and draft.notes["widened"] == "further"


DONOR = Kernel(
    "cpp",
    '#define TILE 64 // evo: {32, 64, 128}\n#define MODE "column" // evo: {"column", "row"}\n'
    "#define DEPTH 2.0 // evo: {1.0, 2.0}\n#define OTHER 5 // evo: {5}\nint different;\n",
)


def test_graft_puts_the_second_parents_shared_tunables_into_the_firsts_text() -> None:
    draft = propose("graft", Run(KERNEL, DONOR), 0, 1)
    assert draft.kernel == KERNEL.with_values({"TILE": 64, "MODE": "column"})
    assert changed(draft) == {"TILE": [16, 64], "MODE": ["row", "column"]}


def test_graft_of_a_known_whole_takes_a_part() -> None:
    whole = KERNEL.with_values({"TILE": 64, "MODE": "column"})
    draft = propose("graft", Run(KERNEL, DONOR, whole), 0, 1)
    assert changed(draft) in ({"TILE": [16, 64]}, {"MODE": ["row", "column"]})


def test_graft_repairs_what_breaks_a_constraint_of_the_receiver() -> None:
    receiver = KERNEL.with_values({"TILE": 64, "UNROLL": 16})
    giver = Kernel("cpp", "#define TILE 8 // evo: {8}\n")
    child = propose("graft", Run(receiver, giver), 0, 1).kernel
    assert child is not None and child.space.legal(child.values)


@pytest.mark.parametrize("name", ["graft", "crossover"])
def test_parents_that_share_no_tunable_are_a_reason(name: str) -> None:
    stranger = Kernel("cpp", "#define X 1 // evo: {1}\n#define TILE 7 // evo: {7}\n")
    assert propose(name, Run(KERNEL, stranger), 0, 1) == Draft(None, "no_shared_tunables")


def test_sample_starts_from_a_seed_when_it_has_no_parent() -> None:
    draft = propose("sample", Run(KERNEL))
    assert draft.kernel is not None and draft.kernel.family == KERNEL.family
    with pytest.raises(OperatorError, match="no seed"):
        propose("sample", Run())


def test_seed_drafts_the_plain_kernels_in_their_order() -> None:
    seeds = [KERNEL, DONOR, Kernel("cpp", "int plain;\n")]
    run, made, drafted = Run(), operator("seed"), []
    for number in range(3):
        draft = made.propose(Proposal(number, "seed"), Context(run, random.Random(0), seeds))
        assert draft.kernel is not None and draft.notes == {"seed": number}
        drafted.append(draft.kernel)
        run.known.add(draft.kernel.id)
    assert drafted == seeds
    assert made.propose(Proposal(3, "seed"), Context(run, random.Random(0), seeds)) == Draft(None, "exhausted")


def test_set_values_needs_its_goal_and_keeps_what_the_goal_leaves_out() -> None:
    draft = propose("set_values", Run(KERNEL), 0, goal=SetValues({"DEPTH": 5}))
    assert draft.kernel == KERNEL.with_values({"DEPTH": 5})
    with pytest.raises(OperatorError, match="expected SetValues"):
        propose("set_values", Run(KERNEL), 0)


def test_set_values_repairs_only_when_told_to() -> None:
    goal = SetValues({"UNROLL": 16, "TILE": 8})
    assert propose("set_values", Run(KERNEL), 0, goal=goal).reason == "illegal_values"
    repaired = propose("set_values", Run(KERNEL), 0, goal=goal, repair=True)
    assert repaired.kernel is not None and repaired.notes["widened"] == "repaired"
    assert repaired.kernel.space.legal(repaired.kernel.values)


@pytest.mark.parametrize(("name", "settings"), [("mutate_many", {"more": 1.0}), ("sample", {"retries": 0}), ("sample", {"retires": 3})])
def test_settings_that_make_no_sense_are_refused(name: str, settings: dict[str, float]) -> None:
    with pytest.raises(OperatorError, match=name):
        operator(name, **settings)
