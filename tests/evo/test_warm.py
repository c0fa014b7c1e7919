"""Starting from another run's elites: their sources are taken over, never their figures."""

from __future__ import annotations

from pathlib import Path

import pytest
from instant_evaluator import SMALL_SEED, Instant
from instant_runs import config, finished, make_run, open_again

from evo.cli import main
from evo.errors import UserError
from evo.run import Run
from evo.warm import MOST, elites_of


@pytest.fixture
def source(tmp_path: Path) -> Path:
    make_run(tmp_path / "source").search(picture=False)
    return tmp_path / "source"


def warm(path: Path, source: Path, **changes: object) -> Run:
    from instant_evaluator import InstantEvaluator

    seeds = elites_of([source], "tabular")
    return Run.create(config(**changes), path, evaluator_factory=InstantEvaluator, evaluator_arguments=(Instant(),), seeds=seeds)


def test_the_elites_are_seeds_that_are_measured_again(tmp_path: Path, source: Path) -> None:
    summary = warm(tmp_path / "warm", source, budget={"evaluations": 20}).search(picture=False)
    seeds = [c for c in finished(tmp_path / "warm") if c.proposal.operator == "seed"]
    assert len(seeds) > 3
    assert seeds[0].notes == {} and all(str(c.notes["origin"]).startswith("seeds/") for c in seeds[1:])
    assert all(c.evaluation is not None and c.evaluation.outcome.value == "ok" for c in seeds)
    best = max(c.objective for c in finished(source) if c.objective is not None)
    assert summary.speedup is not None and summary.speedup >= 0.999 * 2.718281828**best


def test_a_warm_run_that_is_resumed_still_knows_its_seeds(tmp_path: Path, source: Path) -> None:
    run = warm(tmp_path / "warm", source, budget={"evaluations": 40})

    def stop(progress: object) -> None:
        if getattr(progress, "evaluations", 0) >= 3:
            run.stop()

    assert run.search(stop, picture=False).stopped_by == "interrupted"
    assert open_again(tmp_path / "warm").search(picture=False).evaluations == 40
    whole = warm(tmp_path / "whole", source, budget={"evaluations": 40})
    whole.search(picture=False)
    assert [c.kernel for c in finished(tmp_path / "warm")] == [c.kernel for c in finished(tmp_path / "whole")]


def test_the_best_come_first_and_not_more_than_the_limit(source: Path) -> None:
    found = elites_of([source, source], "tabular")
    assert 2 < len(found) <= MOST
    assert len({kernel.id for kernel in found.values()}) == len(found)
    by_kernel = {c.kernel.id: c.objective for c in finished(source) if c.kernel is not None and c.objective is not None}
    objectives = [by_kernel[kernel.id] for kernel in found.values()]
    assert objectives == sorted(objectives, reverse=True)


def test_kernels_that_the_other_space_does_not_hold_are_refused_outcomes_not_errors(tmp_path: Path, source: Path) -> None:
    seeds = elites_of([source], "tabular")
    from instant_evaluator import InstantEvaluator

    arguments = (Instant(sources=(SMALL_SEED,)),)
    run = Run.create(
        config(budget={"evaluations": 10}),
        tmp_path / "other",
        evaluator_factory=InstantEvaluator,
        evaluator_arguments=arguments,
        seeds=seeds,
    )
    assert run.search(picture=False).best is not None


def test_runs_for_another_target_or_without_elites_are_told(tmp_path: Path, source: Path) -> None:
    with pytest.raises(UserError, match="another target"):
        elites_of([source], "cpp")


def test_the_command_line_takes_several_runs(tmp_path: Path, small_space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text(f"problem: {small_space}\ntarget: tabular\nbudget: {{evaluations: 25}}\nexecutor: inline\n")
    assert main(["run", "c.yaml", "-o", "one", "--no-plot"]) == 0
    assert main(["run", "c.yaml", "-o", "two", "--no-plot", "--set", "seed=3"]) == 0
    warmed = ["run", "c.yaml", "-o", "warm", "--no-plot", "--set", "budget.evaluations=40", "--warm-from", "one", "--warm-from", "two"]
    assert main(warmed) == 0
    assert {path.name.split("-")[1] for path in Path("warm/seeds").iterdir()} == {"one", "two"}
