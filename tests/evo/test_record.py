"""Recording a space: what is swept, what is written, and that it can be stopped at any moment."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from archive.evaluation import Diagnostic, Evaluation, Outcome
from archive.kernel import Kernel
from archive.space import Space
from evo.errors import UserError
from evo.record import Plan, Recorder, chosen
from fitness.protocol import Prepared
from fitness.targets.recordings import load_recording
from fitness.targets.tabular import TabularEvaluator

PLAN = Plan("space", "tabular")


@pytest.fixture
def space_file(tmp_path: Path) -> Path:
    lines = ["A,B,status,time_ms,cost_ms"]
    for a in (1, 2, 4, 8):
        for b in (0, 1, 2):
            failed = (a, b) == (4, 2)
            lines.append(f"{a},{b},{'compile' if failed else 'ok'},{'' if failed else 1 + a / 10 + b},{5 + a}")
    path = tmp_path / "space.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


class Counting(TabularEvaluator):
    """Looks up, counts what it is asked to measure, and can fail."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.measured: list[str] = []
        self.broken = 0
        self.artifacts: dict[str, str] = {}

    def prepare(self, kernel: Kernel) -> Prepared:
        prepared = super().prepare(kernel)
        artifact = self.artifacts.get(kernel.id, "")
        return Prepared(kernel, prepared.profile, artifact, prepared.handle, prepared.failed, prepared.cost)

    def measure(self, prepared: Prepared, bar: Any = None) -> Evaluation:
        self.measured.append(prepared.kernel.id)
        if self.broken:
            self.broken -= 1
            return Evaluation(prepared.kernel.id, Outcome.INFRASTRUCTURE_ERROR, (Diagnostic("time", "busy", "the machine is gone"),))
        return super().measure(prepared, bar)


def test_a_recording_of_a_recording_is_the_recording(space_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "again.csv.gz"
    state = Recorder(PLAN, Counting(str(space_file)), out).record()
    assert state.finished and state.done == state.total == 12 and state.failed == 1
    old, new = load_recording(space_file), load_recording(out)
    assert new.names == old.names
    before = {row.values: row for row in old.rows}
    for row in new.rows:
        known = before[row.values]
        assert (row.seconds is None) == (known.seconds is None)
        if row.seconds is not None and known.seconds is not None:
            assert row.seconds == pytest.approx(known.seconds, rel=1e-5) and row.cost == pytest.approx(known.cost, rel=1e-3)
    assert [row.values for row in new.rows] == [row.values for row in old.rows]
    told = json.loads((tmp_path / "again.json").read_text())
    assert told["configurations"] == 12 and told["failures"] == {"build_error": 1} and told["environment"]["target"] == "tabular"
    assert not out.with_name(out.name + ".partial").exists()


def test_it_stops_in_time_and_goes_on_without_repeating(space_file: Path, tmp_path: Path) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    evaluator = Counting(str(space_file))
    out = tmp_path / "r.csv"
    first = Recorder(PLAN, evaluator, out, clock=clock).record(seconds=6.0)
    assert not first.finished and 0 < first.done < 12 and not out.exists()
    with out.with_name("r.csv.partial").open("ab") as journal:
        journal.write(b'{"entry": {"key": [0, ')  # as kill -9 in the middle of a write leaves it
    last = Recorder(PLAN, evaluator, out).record()
    assert last.finished and len(evaluator.measured) == len(set(evaluator.measured)) == 12


def test_only_the_stated_part_is_swept_and_it_is_a_space_of_its_own(space_file: Path, tmp_path: Path) -> None:
    plan = Plan("space", "tabular", only={"A": (2, 8)})
    Recorder(plan, Counting(str(space_file)), tmp_path / "part.csv").record()
    assert {row.values[0] for row in load_recording(tmp_path / "part.csv").rows} == {2, 8}
    assert json.loads((tmp_path / "part.json").read_text())["plan"]["only"] == {"A": [2, 8]}


def test_a_sample_is_the_same_every_time_and_differs_by_seed() -> None:
    space = Space(["A", "B"], [tuple(range(10)), tuple(range(10))], ["A != B"])
    one, same, other = (chosen(space, Plan("p", "t", sample=20, seed=seed)) for seed in (1, 1, 2))
    assert one == same != other and len(set(one)) == 20
    assert one == sorted(one) and all(space.legal_key(key) for key in one)
    assert len(chosen(space, Plan("p", "t"))) == 90


def test_a_sample_has_the_seed_and_is_uniform_over_the_others() -> None:
    space = Space(["A", "B"], [tuple(range(10)), tuple(range(10))], ["A != B"])
    seed = space.key({"A": 3, "B": 4})
    drawn = [chosen(space, Plan("p", "t", sample=20, seed=number), seed) for number in range(200)]
    assert all(seed in keys and len(set(keys)) == 20 for keys in drawn)
    counts = Counter(key for keys in drawn for key in keys if key != seed)
    assert len(counts) == 89 and max(counts.values()) < 80 and min(counts.values()) > 15  # 42.7 expected, standard deviation 5.8
    elsewhere = Plan("p", "t", only={"A": (5,)}, sample=4)
    assert seed not in chosen(space, elsewhere, seed) and len(chosen(space, elsewhere, seed)) == 4


def test_a_recording_that_is_cut_short_is_a_smaller_sample_that_says_so(space_file: Path, tmp_path: Path) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 1.0
        return now[0]

    out = tmp_path / "short.csv.gz"
    state = Recorder(PLAN, Counting(str(space_file)), out, clock=clock).record(seconds=9.0, cut=True)
    assert state.finished and 1 < state.done < state.total == 12
    rows = load_recording(out).rows
    assert len(rows) == state.done and (1, 0) in {row.values for row in rows}  # the seed's is always measured first
    told = json.loads((tmp_path / "short.json").read_text())
    assert told["configurations"] == state.done and told["planned"] == 12
    assert f"first {state.done} in a random order" in told["what"]
    assert TabularEvaluator(str(out)).space(TabularEvaluator(str(out)).seeds()[0]).size == state.done


def test_told_to_stop_it_ends_after_the_measurement_that_is_being_made(space_file: Path, tmp_path: Path) -> None:
    evaluator = Counting(str(space_file))
    recorder = Recorder(PLAN, evaluator, tmp_path / "r.csv")
    state = recorder.record(lambda state: recorder.stop() if state.done == 3 else None)
    assert state.done == len(evaluator.measured) == 3 and not state.finished


def test_the_provenance_says_the_command_and_what_the_device_was_doing(space_file: Path, tmp_path: Path) -> None:
    facts = iter([{"clocks.sm": "345 MHz"}, {"clocks.sm": "1980 MHz"}])
    Recorder(PLAN, Counting(str(space_file)), tmp_path / "r.csv", facts=lambda: next(facts), command="evo record space").record()
    told = json.loads((tmp_path / "r.json").read_text())
    assert told["command"] == "evo record space"
    assert told["device_then"] == {"begin": {"clocks.sm": "345 MHz"}, "end": {"clocks.sm": "1980 MHz"}}


def test_builds_can_be_made_beforehand_and_their_time_still_counts(space_file: Path, tmp_path: Path) -> None:
    evaluator = Counting(str(space_file))
    out = tmp_path / "r.csv"
    built = Recorder(PLAN, evaluator, out, builders=2).record(build_only=True)
    assert built.done == 12 and not built.finished and not evaluator.measured
    journal = [json.loads(line) for line in out.with_name("r.csv.partial").read_text().splitlines()]
    assert sum("built" in row for row in journal) == 12
    assert Recorder(PLAN, evaluator, out).record().finished


def test_configurations_that_build_to_one_program_are_measured_once(space_file: Path, tmp_path: Path) -> None:
    evaluator = Counting(str(space_file))
    seed = evaluator.seeds()[0]
    for b in (0, 1, 2):
        evaluator.artifacts[seed.with_values({"A": 1, "B": b}).id] = "one program"
    Recorder(PLAN, evaluator, tmp_path / "r.csv").record()
    assert len(evaluator.measured) == 10
    rows = {row.values: row.seconds for row in load_recording(tmp_path / "r.csv").rows}
    assert rows[1, 0] == rows[1, 1] == rows[1, 2]
    assert json.loads((tmp_path / "r.json").read_text())["same_program_as_another"] == 2


def test_what_the_evaluator_could_not_do_is_tried_again_and_never_written(space_file: Path, tmp_path: Path) -> None:
    evaluator = Counting(str(space_file))
    evaluator.broken = 2
    assert Recorder(PLAN, evaluator, tmp_path / "r.csv").record().failed == 1
    evaluator.broken = 100
    with pytest.raises(UserError, match="keeps failing"):
        Recorder(PLAN, evaluator, tmp_path / "other.csv").record()
    assert not (tmp_path / "other.csv").exists()


def test_one_that_cannot_be_measured_is_left_for_another_time_or_out(space_file: Path, tmp_path: Path) -> None:
    evaluator = Counting(str(space_file))
    out = tmp_path / "r.csv"
    evaluator.broken = 3  # every attempt at the first one
    state = Recorder(PLAN, evaluator, out).record()
    assert (state.done, state.left_out, state.finished) == (11, 1, False) and not out.exists()
    evaluator.broken = 3
    state = Recorder(PLAN, evaluator, out).record(cut=True)
    assert (state.done, state.left_out, state.finished) == (11, 1, True)
    assert len(load_recording(out).rows) == 11


def test_another_plan_an_existing_file_and_unknown_names_are_refused(space_file: Path, tmp_path: Path) -> None:
    evaluator = Counting(str(space_file))
    out = tmp_path / "r.csv"
    Recorder(PLAN, evaluator, out).record(build_only=True)
    with pytest.raises(UserError, match="other work"):
        Recorder(Plan("space", "tabular", seed=1), evaluator, out).record()
    Recorder(PLAN, evaluator, out).record()
    with pytest.raises(UserError, match="exists already"):
        Recorder(PLAN, evaluator, out).record()
    with pytest.raises(UserError, match="no such tunable"):
        Recorder(Plan("space", "tabular", only={"C": (1,)}), evaluator, tmp_path / "x.csv")
    with pytest.raises(UserError, match="no such value"):
        Recorder(Plan("space", "tabular", only={"A": (3,)}), evaluator, tmp_path / "x.csv")


# ── the command ──


def test_the_command_records_a_measured_problem_that_can_then_be_searched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tiny_problem import tiny_problem

    from evo.cli import main

    out = tmp_path / "tiny.csv.gz"
    command = [
        "record",
        str(tiny_problem(tmp_path)),
        "-o",
        str(out),
        "--only",
        "LANES=1;4",
        "--only",
        "EVO_FLAGS=-O2",
        "--repetitions",
        "2",
    ]
    assert main([*command, "--shape", "n=2048", "--build-only", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["done"] == 2 and not out.exists()
    assert main([*command, "--shape", "n=2048"]) == 0
    assert "2 configurations, 0 failed" in capsys.readouterr().out
    recording = load_recording(out)
    assert {row.values for row in recording.rows} == {("-O2", 1), ("-O2", 4)} and all(row.cost > 0 for row in recording.rows)
    told = json.loads((tmp_path / "tiny.json").read_text())
    assert told["plan"]["shapes"] == ["n=2048"] and told["environment"]["device"]["name"] and "kernel(" in told["kernel"]
    assert main([*command, "--shape", "n=2048"]) == 2  # never overwritten


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "x.txt"], "NAME.csv.gz"),
        (["-o", "x.csv", "--shape", "m=4"], "n=N"),
        (["-o", "x.csv", "--shape", "n=many"], "n=N"),
        (["-o", "x.csv", "--only", "LANS=1"], "LANES"),
        (["-o", "x.csv", "--only", "LANES=3"], "1;2;4;8"),
    ],
)
def test_mistakes_on_the_command_line_are_explained(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiny_problem import tiny_problem

    from evo.cli import main

    monkeypatch.chdir(tmp_path)
    assert main(["record", str(tiny_problem(tmp_path)), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "x.csv.partial").exists()
