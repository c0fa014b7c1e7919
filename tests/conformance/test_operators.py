"""What every tunable operator must do. A new one is covered as soon as it is registered in `operators.base.BUILT_IN`."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive.base import Archive
from archive.candidate import Candidate, Draft, Goal, Proposal, SetValues, VisitCell
from archive.descriptors import Bins, Categorical, Descriptors
from archive.grid import GridArchive
from archive.kernel import Kernel
from archive.space import Space
from operators.base import Context, Operator, OperatorError, names, operator, operator_class
from operators.tunable import TunableOperator

OPERATORS = [name for name in names() if issubclass(operator_class(name), TunableOperator)]
every_operator = pytest.mark.parametrize("name", OPERATORS)

SMALL = """\
#define TILE 8       // evo: {8, 16, 32}
#define UNROLL 1     // evo: {1, 2, 3}
#define FAST false   // evo: {true, false}
// evo: require TILE % UNROLL == 0
"""
"""12 of 18 configurations are legal."""

TIED = """\
#define A 3 // evo: [0..9]
#define B 3 // evo: [0..9]
#define C 4 // evo: [0..9]
// evo: require A + B + C == 10 && A <= B && B <= C
"""
"""No two of its 8 legal configurations are neighbours."""


@dataclass
class Run:
    """A view of a run in which every drafted kernel is at once a finished candidate."""

    archive: Archive = field(default_factory=lambda: GridArchive(Descriptors([Categorical("fast", "tunable.FAST", (True, False))])))
    rows: Sequence[tuple[object, ...]] | None = None
    candidates: list[Candidate] = field(default_factory=list)
    budget_left: float = 1.0

    def __post_init__(self) -> None:
        self._ids: set[str] = set()
        self._space: Space | None = None

    @property
    def seeds(self) -> list[Candidate]:
        return self.candidates[:1]

    @property
    def failures(self) -> list[Candidate]:
        return []

    @property
    def evaluations(self) -> int:
        return len(self.candidates)

    def candidate(self, number: int) -> Candidate:
        if number >= len(self.candidates):
            raise KeyError(number)
        return self.candidates[number]

    def seen(self, kernel_id: str) -> bool:
        return kernel_id in self._ids

    def space(self, kernel: Kernel) -> Space:
        if self.rows is None:
            return kernel.space
        self._space = self._space or kernel.space.restricted(self.rows)  # type: ignore[arg-type]
        return self._space

    def add(self, kernel: Kernel) -> int:
        number = len(self.candidates)
        self.candidates.append(Candidate(Proposal(number, "seed"), kernel, None))
        self._ids.add(kernel.id)
        return number


def propose(made: Operator, run: Run, parents: tuple[int, ...], goal: Goal = None, seed: int = 0) -> Draft:
    return made.propose(Proposal(len(run.candidates), made.name, parents, goal), Context(run, random.Random(seed)))


def started(source: str, *others: dict[str, object], rows: Sequence[tuple[object, ...]] | None = None) -> Run:
    run = Run(rows=rows)
    kernel = Kernel("cpp", source)
    run.add(kernel)
    for values in others or ({},):
        run.add(kernel.with_values(values))  # type: ignore[arg-type]
    return run


@every_operator
def test_a_draft_is_legal_unseen_and_differs_from_its_first_parent_in_literals_alone(name: str) -> None:
    made, run = operator(name), started(SMALL, {"TILE": 32, "UNROLL": 2, "FAST": True})
    for seed in range(5):
        draft = propose(made, run, (0, 1), seed=seed)
        assert draft.kernel is not None and draft.reason == ""
        assert not run.seen(draft.kernel.id)
        assert draft.kernel.family == run.candidates[0].kernel.family  # type: ignore[union-attr]
        assert draft.kernel.space.legal(draft.kernel.values)
        run.add(draft.kernel)


@every_operator
def test_notes_say_exactly_what_changed_and_are_json(name: str) -> None:
    run = started(SMALL, {"TILE": 32, "UNROLL": 2, "FAST": True})
    draft = propose(operator(name), run, (0, 1), seed=3)
    assert draft.kernel is not None and run.candidates[0].kernel is not None
    old, new = run.candidates[0].kernel.values, draft.kernel.values
    assert draft.notes["changed"] == {one: [old[one], new[one]] for one in old if old[one] != new[one]} != {}
    assert json.loads(json.dumps(dict(draft.notes))) == dict(draft.notes)


@every_operator
def test_the_generator_and_the_view_decide_the_draft_alone(name: str) -> None:
    run = started(SMALL, {"TILE": 32, "FAST": True})
    used = operator(name)
    for seed in range(10):
        propose(used, run, (0, 1), seed=seed)
    for seed in range(10):
        fresh = propose(operator(name), run, (0, 1), seed=seed)
        assert propose(used, run, (0, 1), seed=seed).kernel == fresh.kernel


@every_operator
@pytest.mark.parametrize("source", [SMALL, TIED])
def test_every_configuration_is_drafted_once_and_then_the_space_is_exhausted(name: str, source: str) -> None:
    made, run = operator(name), started(source)
    assert explore(made, run) == {tuple(values.values()) for values in run.candidates[0].kernel.space}  # type: ignore[union-attr]


@every_operator
def test_a_restricted_space_is_explored_and_never_left(name: str) -> None:
    rows = [(8, 1, False), (16, 2, True), (32, 2, False), (32, 1, True)]
    assert explore(operator(name), started(SMALL, rows=rows)) == set(rows)


def explore(made: Operator, run: Run) -> set[tuple[object, ...]]:
    """Asks until there is no more; what was found, the seed included."""
    for turn in range(10_000):
        draft = propose(made, run, (turn % len(run.candidates), 0), seed=turn)
        if draft.kernel is None:
            break
        assert not run.seen(draft.kernel.id)
        run.add(draft.kernel)
    assert draft == Draft(None, "exhausted")
    assert propose(made, run, (0, 1), seed=1) == Draft(None, "exhausted")
    return {tuple(candidate.kernel.values.values()) for candidate in run.candidates if candidate.kernel is not None}


@every_operator
def test_an_operator_serves_one_run_after_another(name: str) -> None:
    made = operator(name)
    assert explore(made, started(SMALL)) == explore(made, started(SMALL))


@every_operator
def test_a_space_too_large_to_count_is_given_up_not_searched_for_ever(name: str) -> None:
    many = "".join(f"#define T{number} 1 // evo: [1..9]\n" for number in range(9))
    total = " + ".join(f"T{number}" for number in range(9))
    run = started(f"{many}// evo: require {total} < 60\n", {"T1": 2, "T2": 3, "T3": 4})
    run.seen = lambda kernel_id: True  # type: ignore[method-assign]
    assert propose(operator(name), run, (0, 1)) == Draft(None, "exhausted")


@every_operator
def test_set_values_overrides_the_choice_even_for_a_known_kernel(name: str) -> None:
    made, run = operator(name), started(SMALL, {"TILE": 32})
    goal = SetValues({"TILE": 32})
    for _ in range(2):
        draft = propose(made, run, (0, 1), goal)
        assert draft.kernel == run.candidates[1].kernel
        assert draft.notes["changed"] == {"TILE": [8, 32]}


@every_operator
@pytest.mark.parametrize(("values", "word"), [({"TILE": 9}, "TILE = 9"), ({"TILES": 8}, "TILES"), ({"UNROLL": 3}, "TILE % UNROLL")])
def test_set_values_that_are_illegal_draft_nothing_and_say_why(name: str, values: dict[str, int], word: str) -> None:
    draft = propose(operator(name), started(SMALL), (0, 1), SetValues(values))
    assert (draft.kernel, draft.reason) == (None, "illegal_values")
    assert word in str(draft.notes["message"])


@every_operator
def test_visit_cell_sets_the_tunables_that_the_cells_axes_read(name: str) -> None:
    axes = [
        Bins("tile", "tunable.TILE", (1, 12, 24, 64)),
        Categorical("vectors", "vector_bits", (128, 256)),
        Categorical("fast", "tunable.FAST", (True, False), out_of_range="drop"),
    ]
    for cell in [(2, 0, 0), (1, 1, 1), (0, 0, 0)]:
        run = started(SMALL, {"TILE": 16, "UNROLL": 2, "FAST": True})
        run.archive = GridArchive(Descriptors(axes))
        for seed in range(3):
            draft = propose(operator(name), run, (0, 1), VisitCell(cell), seed)
            assert draft.kernel is not None
            tile, fast = draft.kernel.values["TILE"], draft.kernel.values["FAST"]
            assert (axes[0].bin(tile), axes[2].bin(fast)) == (cell[0], cell[2])


@every_operator
def test_a_cell_that_tunables_cannot_reach_still_gets_a_kernel(name: str) -> None:
    run = started(SMALL, {"TILE": 16})
    run.archive = GridArchive(Descriptors([Bins("tile", "tunable.TILE", (64, 128, 256)), Bins("registers", "registers", (0, 8))]))
    assert propose(operator(name), run, (0, 1), VisitCell((1, 0))).kernel is not None


@every_operator
def test_parents_without_tunables_are_a_reason_not_an_exception(name: str) -> None:
    run = started("int main() {}\n")
    assert propose(operator(name), run, (0, 1)) == Draft(None, "no_parent_tunables")


@every_operator
def test_a_parent_with_malformed_tunables_is_a_reason_with_its_message(name: str) -> None:
    run = Run()
    run.add(Kernel("cpp", "#define N 8 // evo: {9}\n"))
    draft = propose(operator(name), run, (0, 0))
    assert (draft.kernel, draft.reason) == (None, "malformed_tunables")
    assert "not in its domain" in str(draft.notes["message"])


@every_operator
def test_unknown_or_missing_parents_are_errors(name: str) -> None:
    made, run = operator(name), started(SMALL)
    with pytest.raises(OperatorError, match="parent 7"):
        propose(made, run, (7, 7))
    if made.parents:
        with pytest.raises(OperatorError, match=f"`{name}` found 0 parents, expected {made.parents}"):
            propose(made, run, ())


@every_operator
def test_operators_say_what_they_are(name: str) -> None:
    made = operator(name)
    assert made.name == name and made.parents in (0, 1, 2) and made.weight >= 0 and not made.costs_money
    assert made.serves(None) and made.serves(SetValues({})) and made.serves(VisitCell((0,)))


@st.composite
def sources(draw: st.DrawFn) -> str:
    """Kernels of up to four tunables and a constraint that their current values meet."""
    lines, current = [], []
    for number in range(draw(st.integers(1, 4))):
        domain = draw(st.lists(st.integers(0, 9), min_size=1, max_size=5, unique=True))
        current.append(domain[0])
        lines.append(f"#define T{number} {domain[0]} // evo: {{{', '.join(map(str, domain))}}}\n")
    if draw(st.booleans()):
        total = " + ".join(f"T{number}" for number in range(len(current)))
        lines.append(f"// evo: require {total} {draw(st.sampled_from(['<=', '>=', '==']))} {sum(current)}\n")
    return "".join(lines)


@given(sources(), st.sampled_from(OPERATORS))
def test_any_small_space_is_explored_completely(source: str, name: str) -> None:
    run = started(source)
    assert len(explore(operator(name), run)) == run.candidates[0].kernel.space.size  # type: ignore[union-attr]
