"""Ablations: what is taken back, what it costs, and how it is shown."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from instant_evaluator import Instant, InstantEvaluator
from instant_runs import make_run, open_again

from archive.candidate import Candidate
from archive.kernel import Kernel
from evo.ablation import Ablation, Reversal, ablate, keep, plan
from evo.cli import main
from evo.errors import UserError
from evo.plots.ablation import draw_ablation
from evo.reading import open_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_run(tmp_path / "run", budget={"evaluations": 120}).search(picture=False)
    return tmp_path / "run"


def best_of(run: Path) -> Candidate:
    with open_run(run) as reader:
        return reader.candidate(reader.number_of("best"))


def test_each_reversal_costs_what_the_evaluator_says(run: Path) -> None:
    with open_run(run) as reader:
        planned = plan(reader, reader.number_of("best"))
    with open_again(run).evaluator() as evaluator:
        done = ablate(evaluator, planned)
    assert planned.plain.values == {"TILE": 1, "UNROLL": 1, "VECTOR": 0, "DEAD": 0}
    assert {one.tunable for one in done.reversals} == set(planned.differences)
    costs = {one.tunable: one.factor for one in done.reversals if one.outcome == "measured"}
    if "VECTOR" in costs and planned.kernel.values["VECTOR"] == 2:
        assert costs["VECTOR"] == pytest.approx(math.exp(0.8), rel=1e-6)
    factors = [one.factor for one in done.reversals if one.factor is not None]
    assert factors == sorted(factors, reverse=True)
    assert done.whole.factor is not None and done.whole.factor > max(factors)


def test_dead_differences_and_illegal_reversals_are_named_not_measured(run: Path) -> None:
    with open_run(run) as reader:
        planned = plan(reader, reader.number_of("best"))
    text = planned.plain.source.replace("TILE * UNROLL <= 128", "UNROLL >= 3 or TILE == 1")
    plain = Kernel("python", text)
    kernel = plain.with_values({"TILE": 16, "UNROLL": 4, "VECTOR": 2, "DEAD": 1})
    evaluator = InstantEvaluator(Instant())
    done = {one.tunable: one for one in ablate(evaluator, replace(planned, kernel=kernel, plain=plain)).reversals}
    assert done["DEAD"].outcome == "same program" and done["DEAD"].factor is None
    assert done["UNROLL"].outcome == "illegal"
    assert done["TILE"].outcome == "measured" and done["VECTOR"].outcome == "measured"


def test_the_seed_itself_has_nothing_to_take_back(run: Path) -> None:
    with open_run(run) as reader, pytest.raises(UserError, match="nothing to take back"):
        plan(reader, 0)


def test_table_and_chart_lie_in_the_runs_folder(tmp_path: Path, small_space: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"problem: {small_space}\ntarget: tabular\nbudget: {{evaluations: 100}}\nexecutor: inline\n")
    assert main(["run", str(config), "-o", str(tmp_path / "run"), "--no-plot"]) == 0
    capsys.readouterr()
    assert main(["ablate", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    number = best_of(tmp_path / "run").number
    assert "times slower" in out and "all of them" in out
    stored = json.loads((tmp_path / "run" / f"ablation-{number}.json").read_text())
    assert stored["candidate"] == number and stored["reversals"]
    assert (tmp_path / "run" / f"ablation-{number}.png").stat().st_size > 10_000


def test_the_chart_shows_gains_harms_and_what_could_not_be_measured(tmp_path: Path) -> None:
    reversals = (
        Reversal("VECTOR", 16, 1, "measured", 3.1, 2.9, 3.3), Reversal("STREAM", 1, 0, "measured", 1.4, 1.35, 1.45),
        Reversal("PREFETCH", 2, 0, "measured", 0.97, 0.95, 0.99), Reversal("UNROLL", 4, 1, "same program"),
        Reversal("TILE", 64, 0, "illegal"),
    )  # fmt: skip
    done = Ablation(12, "abc", 0, Reversal("all of them", "", "", "measured", 6.0, 5.5, 6.5), reversals)
    data, picture = keep(done, tmp_path)
    assert json.loads(data.read_text())["whole"]["factor"] == 6.0
    assert picture.stat().st_size > 10_000
    assert next(iter(draw_ablation(done).axes[0].get_yticklabels())).get_text() == "all of them"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_real_kernel_owes_its_speed_to_what_was_changed(tmp_path: Path) -> None:
    function = tmp_path / "halves.py"
    function.write_text("import numpy as np\n\n\ndef halves(x):\n    return np.exp(x) * 0.5\n")
    assert main(["new", "halves", "--from", str(function), "--measure", "rows=64,cols=512", "-o", str(tmp_path / "halves")]) == 0
    settings = ["--set", "budget.evaluations=1", "--set", "evaluation.certify_processes=1"]
    config = str(tmp_path / "halves" / "halves.yaml")
    assert main(["run", config, "-o", str(tmp_path / "run"), "--no-plot", *settings]) == 0
    with open_run(tmp_path / "run") as reader:
        plain = reader.candidate(0).kernel
    assert plain is not None
    from evo.ablation import Plan

    fast = plain.with_values({"EXP": 1, "SIMD": 1, "EVO_FLAGS": "-O3 -fno-math-errno -fno-trapping-math"})
    with open_again_real(tmp_path / "run") as evaluator:
        done = ablate(evaluator, Plan(1, fast, 0, plain))
    costs = {one.tunable: one for one in done.reversals}
    assert costs["EXP"].outcome == "measured" and costs["EXP"].factor is not None and costs["EXP"].factor > 1.1
    assert done.whole.factor is not None and done.whole.factor > 1.1


def open_again_real(path: Path):  # type: ignore[no-untyped-def]
    from evo.run import Run

    return Run.open(path).evaluator()
