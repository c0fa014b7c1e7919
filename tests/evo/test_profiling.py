"""Counters on request: what refuses them, and where they are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from instant_evaluator import Instant, InstantEvaluator
from instant_runs import finished, make_run, open_again

from archive.kernel import Kernel
from evo.cli import main
from evo.errors import UserError
from evo.profiling import count, keep, refuse_early
from evo.reading import RunReader, open_run
from fitness.protocol import Evaluator, Prepared


class Counting(InstantEvaluator):
    """Reads counters, or says why not."""

    def __init__(self, found: dict[str, float], why_not: str = "") -> None:
        super().__init__(Instant())
        self.found, self.why_not = found, why_not

    def counters(self, prepared: Prepared) -> tuple[dict[str, float], str]:
        assert prepared.failed is None
        return self.found, self.why_not


@pytest.fixture
def run(tmp_path: Path) -> Path:
    make_run(tmp_path / "run", budget={"evaluations": 30}).search(picture=False)
    return tmp_path / "run"


def best(run: Path) -> tuple[int, Kernel]:
    with open_run(run) as reader:
        number = reader.number_of("best")
        kernel = reader.candidate(number).kernel
    assert kernel is not None
    return number, kernel


def on(reader: RunReader, target: str) -> RunReader:
    """The same run, as if it were on another target."""
    reader.record = replace(reader.record, target=target)
    return reader


def test_counters_join_the_profile_and_nothing_else_changes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    number, kernel = best(run)
    before = {c.number: c for c in finished(run)}
    counted = count(Counting({"dram_share": 0.91, "l2_hit_rate": 0.25}), kernel, number, "n=1")
    assert (counted.candidate, counted.kernel) == (number, kernel.id)
    keep(counted, run)
    after = {c.number: c for c in finished(run)}
    evaluation, old = after[number].evaluation, before[number].evaluation
    assert evaluation is not None and old is not None
    assert evaluation.profile == {**old.profile, "counter.dram_share": 0.91, "counter.l2_hit_rate": 0.25}
    assert {n: (c.cell, c.status, c.objective) for n, c in after.items()} == {n: (c.cell, c.status, c.objective) for n, c in before.items()}
    assert main(["show", str(run), str(number)]) == 0
    assert "counter.dram_share" in capsys.readouterr().out


def test_a_run_with_counters_is_resumed_as_before(run: Path) -> None:
    number, kernel = best(run)
    keep(count(Counting({"dram_share": 0.5}), kernel, number), run)
    summary = open_again(run).search(picture=False)
    assert summary.best == number


def test_a_model_is_told_the_counters(run: Path) -> None:
    from operators.llm.telling import UNTOLD

    number, kernel = best(run)
    keep(count(Counting({"dram_share": 0.5}), kernel, number), run)
    profile = next(c.evaluation.profile for c in finished(run) if c.number == number and c.evaluation is not None)
    assert "counter.dram_share" in profile and "counter.dram_share" not in UNTOLD


def test_a_profiler_that_counted_nothing_is_an_error_with_its_reason(run: Path) -> None:
    number, kernel = best(run)
    with pytest.raises(UserError, match="No counters") as error:
        count(Counting({}, "ERR_NVGPUCTRPERM"), kernel, number)
    assert "ERR_NVGPUCTRPERM" in str(error.value)


def test_an_evaluator_without_counters_is_named(run: Path) -> None:
    number, kernel = best(run)
    evaluator: Evaluator = InstantEvaluator(Instant())
    with pytest.raises(UserError, match="no hardware counters"):
        count(evaluator, kernel, number)


def test_another_target_is_told_what_is_known_instead(run: Path) -> None:
    number, _ = best(run)
    with open_run(run) as reader, pytest.raises(UserError, match="Nsight Compute") as error:
        refuse_early(on(reader, "cpp"), number)
    assert "cpp" in str(error.value) and "What is known" in str(error.value)


def test_a_missing_profiler_and_a_failed_candidate_are_named(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    number, _ = best(run)
    monkeypatch.setattr("fitness.gpu.tools.find_tool", lambda _name: None)
    with open_run(run) as reader:
        with pytest.raises(UserError, match="not installed"):
            refuse_early(on(reader, "triton"), number)
        failed = next((c.number for c in finished(run) if c.evaluation is not None and not c.evaluation.ok), None)
        assert failed is not None
        with pytest.raises(UserError, match="nothing to profile"):
            refuse_early(on(reader, "triton"), failed)


def test_on_the_command_line_it_is_one_error(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["profile", str(run)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: Hardware counters are read by Nsight Compute") and "tabular" in said
