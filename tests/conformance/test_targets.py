"""What every target must do. To add one: a `Case` in `CASES` with small kernels in its language.

Building targets implement `fitness.targets.base.Target`; the recorded one implements the evaluator's protocol and is held
to the same promises as far as they apply to it.
"""

from __future__ import annotations

import dataclasses
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from archive.evaluation import Diagnostic, Evaluation, Outcome
from archive.kernel import Kernel
from fitness.device import Device
from fitness.program import Program
from fitness.protocol import EvaluationSettings, Evaluator
from fitness.targets import open_target, target_names
from fitness.targets.base import Artifact, BuildFailure, Target, TargetError
from fitness.targets.registry import GPU
from fitness.targets.tabular import TabularEvaluator


@dataclass(frozen=True)
class Case:
    """Kernels in a target's language, each the same but for what its name says."""

    name: str
    plain: str
    """Has the tunables TILE (8 or 16, which changes the program) and DEAD (0 or 1, which does not)."""
    commented: str
    broken: str
    """Does not compile because of the name `undeclared_name` in line `broken_line`."""
    broken_line: int
    symbolless: str
    refused: str
    """The policy refuses it because of line `refused_line`."""
    refused_line: int


CPP = """#include <cstdint>
#define TILE 8  // evo: {8, 16}
#define DEAD 0  // evo: {0, 1}
extern "C" void kernel(const float* x, float* y, void*, int64_t n) {
    for (int64_t i = 0; i < n; ++i) y[i] = TILE * x[i];
}
"""
CASES = [
    Case(
        "cpp", CPP, CPP.replace("#include", "// another comment\n#include"), CPP.replace("TILE *", "undeclared_name *"), 5,
        CPP.replace("void kernel", "void colonel"), CPP.replace("#include", '#include "/etc/passwd"\n#include'), 1,
    )
]  # fmt: skip


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def case(request: pytest.FixtureRequest) -> Case:
    found = request.param
    assert isinstance(found, Case)
    return found


@pytest.fixture(scope="module")
def target(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Target:
    return open_target(case.name, EvaluationSettings(cache=tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def kernel(case: Case, target: Target) -> Kernel:
    return Kernel(target.language, case.plain)


def test_every_target_that_builds_is_held_to_this() -> None:
    """Those of GPUs need packages and a device that are not everywhere; they have their own tests in tests/gpu."""
    assert {case.name for case in CASES} | {"tabular", *GPU} == set(target_names())


def test_an_unknown_target_is_named_with_those_there_are() -> None:
    with pytest.raises(TargetError, match=r"found abacus; expected one of .*cpp"):
        open_target("abacus")


def test_it_says_what_it_is(case: Case, target: Target) -> None:
    assert target.name == case.name and target.language


def test_an_honest_kernel_is_built_and_can_be_loaded(target: Target, kernel: Kernel) -> None:
    assert target.policy(kernel) is None
    artifact = target.build(kernel)
    assert isinstance(artifact, Artifact) and artifact.path.is_file() and artifact.hash
    program = target.program(artifact)
    assert isinstance(program, Program) and program.path == artifact.path and program.entry == "kernel"


def test_building_again_finds_what_was_built(target: Target, kernel: Kernel) -> None:
    first, again = target.build(kernel), target.build(kernel)
    assert again.cached and again.seconds == 0.0
    assert (again.path, again.hash) == (first.path, first.hash)


def test_the_hash_sees_the_program_not_the_text(case: Case, target: Target, kernel: Kernel) -> None:
    plain = target.build(kernel).hash
    assert target.build(Kernel(target.language, case.commented)).hash == plain
    assert target.build(kernel.with_values({"DEAD": 1})).hash == plain
    assert target.build(kernel.with_values({"TILE": 16})).hash != plain


def test_a_broken_kernel_fails_with_the_line_and_the_compilers_words(case: Case, target: Target) -> None:
    with pytest.raises(BuildFailure) as caught:
        target.build(Kernel(target.language, case.broken))
    failure = caught.value
    assert failure.outcome is Outcome.BUILD_ERROR and failure.seconds > 0
    assert isinstance(failure.diagnostic, Diagnostic) and failure.diagnostic.stage == "build"
    assert failure.diagnostic.details["line"] == case.broken_line
    assert "undeclared_name" in failure.diagnostic.message


def test_a_kernel_without_its_entry_point_fails_with_advice(case: Case, target: Target) -> None:
    with pytest.raises(BuildFailure) as caught:
        target.build(Kernel(target.language, case.symbolless))
    assert caught.value.diagnostic.reason == "missing_symbol" and "kernel" in caught.value.diagnostic.message


def test_the_policy_names_the_line_and_what_to_do(case: Case, target: Target) -> None:
    finding = target.policy(Kernel(target.language, case.refused))
    assert finding is not None and finding.stage == "policy"
    assert finding.details["line"] == case.refused_line and f"line {case.refused_line}" in finding.message


def test_the_profile_has_the_same_keys_for_every_kernel(target: Target, kernel: Kernel) -> None:
    one, other = (target.describe(target.build(each), each) for each in (kernel, kernel.with_values({"TILE": 16})))
    assert set(one) == set(other)
    assert one["tunable.TILE"] == 8 and other["tunable.TILE"] == 16
    assert one["tile_elements"] == 8 and other["tile_elements"] == 16
    assert all(isinstance(value, bool | int | float | str) for value in one.values())


def test_describing_twice_gives_the_same(target: Target, kernel: Kernel) -> None:
    artifact = target.build(kernel)
    assert target.describe(artifact, kernel) == target.describe(artifact, kernel)


def test_it_may_be_used_by_several_threads(case: Case, target: Target) -> None:
    kernels = [Kernel(target.language, case.plain + "\n" * (index % 3)) for index in range(6)]
    with ThreadPoolExecutor(3) as pool:
        built = list(pool.map(target.build, kernels))
    assert len({each.hash for each in built}) == 1


def test_it_and_its_artifacts_travel_to_another_process(target: Target, kernel: Kernel) -> None:
    artifact = target.build(kernel)
    assert pickle.loads(pickle.dumps(artifact)) == artifact
    twin = pickle.loads(pickle.dumps(target))
    assert twin.build(kernel).hash == artifact.hash


def test_the_device_has_facts_that_do_not_change(target: Target) -> None:
    device = target.device()
    assert isinstance(device, Device) and device.name
    assert dataclasses.asdict(device) == dataclasses.asdict(target.device())


# -- recorded spaces ---------------------------------------------------------------------------------------------------

def test_a_recorded_space_needs_no_side_door(small_space: Path) -> None:
    evaluator = TabularEvaluator(str(small_space))
    assert isinstance(evaluator, Evaluator)
    (seed,) = evaluator.seeds()
    space = evaluator.space(seed)
    outcomes: dict[str, int] = {}
    best: Evaluation | None = None
    for values in space:
        evaluation = evaluator.measure(evaluator.prepare(seed.with_values(values)))
        outcomes[evaluation.outcome.value] = outcomes.get(evaluation.outcome.value, 0) + 1
        if evaluation.objective is not None and (best is None or best.objective is None or evaluation.objective > best.objective):
            best = evaluation
    assert sum(outcomes.values()) == space.size == 144
    assert set(outcomes) == {"ok", "build_error", "wrong"}
    assert best is not None
    assert [best.profile[f"tunable.{name}"] for name in ("TILE", "UNROLL", "VECTOR")] == [64, 4, 8]
    assert evaluator.measure(evaluator.prepare(seed)).profile["tile_elements"] == 8


def test_the_same_recording_gives_the_same_answers(small_space: Path) -> None:
    one, other = TabularEvaluator(str(small_space)), TabularEvaluator(str(small_space))
    (seed,) = one.seeds()
    assert other.seeds()[0] == seed and one.environment() == other.environment()
    assert one.measure(one.prepare(seed)).objective == other.measure(other.prepare(seed)).objective
    one.close()
    one.close()
