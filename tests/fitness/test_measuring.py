"""The cascade on real kernels of a tiny problem: what ends it, what is believed, what is blamed on whom."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from archive.evaluation import Evaluation, Outcome, Samples
from archive.kernel import Kernel
from fitness import custody
from fitness.canary import Reading
from fitness.certify import CertificationError
from fitness.inputs import make_case
from fitness.measuring import MeasuringEvaluator
from fitness.problem import Problem, shape_label
from fitness.protocol import Bar, EvaluationSettings, Prepared
from fitness.racing import SCREEN_ROUNDS
from fitness.referee import Referee
from fitness.targets import open_target
from fitness.timing import FREE, LONGER, SURE_ROUNDS
from fitness.verdicts import lost, off_clock
from fitness.verify import agree

TINY = Path(__file__).resolve().parent.parent / "data" / "problems" / "tiny_norm"
SETTINGS = EvaluationSettings(repetitions=6, call_timeout=1.0, memory=256 << 20, certify_processes=3, certify_spacing=0.0)
SLEEPY = "    for (volatile int64_t i = 0; i < {turns}; i = i + 1) {{}}\n"


def opened(folder: Path = TINY, settings: EvaluationSettings = SETTINGS) -> MeasuringEvaluator:
    return MeasuringEvaluator(Problem.load(folder), open_target("cpp", settings), settings)


@pytest.fixture(scope="module")
def shared() -> Iterator[MeasuringEvaluator]:
    evaluator = opened()
    yield evaluator
    evaluator.close()


@pytest.fixture
def evaluator(shared: MeasuringEvaluator) -> MeasuringEvaluator:
    return shared


@pytest.fixture
def variant(tmp_path: Path) -> Iterator[Callable[..., MeasuringEvaluator]]:
    """An evaluator of the tiny problem with some text of one of its files replaced."""
    made: list[MeasuringEvaluator] = []

    def make(file: str, old: str, new: str, settings: EvaluationSettings = SETTINGS) -> MeasuringEvaluator:
        folder = tmp_path / "tiny_norm"
        if not folder.exists():
            shutil.copytree(TINY, folder)
        text = (folder / file).read_text()
        assert old in text
        (folder / file).write_text(text.replace(old, new))
        made.append(opened(folder, settings))
        return made[-1]

    yield make
    for evaluator in made:
        evaluator.close()


def changed(evaluator: MeasuringEvaluator, old: str, new: str) -> Prepared:
    """The seed with some text replaced, built."""
    source = evaluator.seeds()[0].source
    assert old in source
    prepared = evaluator.prepare(Kernel("cpp", source.replace(old, new)))
    assert prepared.failed is None
    return prepared


def slowed(evaluator: MeasuringEvaluator, turns: int = 200_000) -> Prepared:
    return changed(evaluator, "    for (int64_t r = 0;", SLEEPY.format(turns=turns) + "    for (int64_t r = 0;")


def wrong_after(evaluator: MeasuringEvaluator, calls: int) -> Prepared:
    tired = f"    static int calls;\n    if (++calls > {calls}) y[0] = 7.0f;\n}}\n"
    return changed(evaluator, "        positive[r] = count;\n    }\n}\n", "        positive[r] = count;\n    }\n" + tired)


def seed(evaluator: MeasuringEvaluator) -> Prepared:
    return evaluator.prepare(evaluator.seeds()[0])


def fast_bar() -> Bar:
    samples = tuple(Samples(label, np.full(6, 1e-7), np.full(6, 1e-3)) for label in ("rows=64,cols=128", "rows=16,cols=509"))
    return Bar("elite", float(np.log(1e4)), (float(np.log(0.99e4)), float(np.log(1.01e4))), samples)


# -- measuring ---------------------------------------------------------------------------------------------------------------------


def test_an_honest_kernel_is_timed_beside_the_baseline_and_its_costs_are_told(evaluator: MeasuringEvaluator) -> None:
    evaluation = evaluator.measure(seed(evaluator))
    assert evaluation.ok and evaluation.objective is not None and evaluation.interval is not None
    assert evaluation.interval[0] <= evaluation.objective <= evaluation.interval[1]
    assert [s.shape for s in evaluation.samples] == ["rows=64,cols=128", "rows=16,cols=509"]
    assert all(4 <= len(s.seconds) == len(s.baseline) <= SETTINGS.repetitions for s in evaluation.samples)
    parts = ("build", "describe", "fork", "fill", "check", "wait", "kernel", "canary", "statistics", "measure", "cpu", "calls", "rounds")
    assert set(parts) <= set(evaluation.cost)
    assert evaluation.environment == evaluator.environment().id and evaluation.artifact


def test_the_largest_error_of_all_checked_calls_is_told_as_a_share_of_the_tolerance(evaluator: MeasuringEvaluator) -> None:
    plain = seed(evaluator)
    rough = changed(evaluator, "x[r * cols + c] * scale;", "x[r * cols + c] * (scale * 1.000006f);")
    errors = [float(evaluator.measure(prepared).profile["error"]) for prepared in (plain, rough)]
    assert 0.0 <= errors[0] < 0.1 and 0.3 < errors[1] <= 1.0
    duel = evaluator.duel(plain, rough)
    assert float(duel.challenger.profile["error"]) < 0.1 < float(duel.incumbent.profile["error"]) <= 1.0


def test_a_kernel_clearly_slower_than_its_cells_elite_is_timed_twice_and_no_more(evaluator: MeasuringEvaluator) -> None:
    evaluation = evaluator.measure(seed(evaluator), fast_bar())
    assert evaluation.ok and [(d.stage, d.reason) for d in evaluation.diagnostics] == [("screen", "clearly_worse")]
    assert all(len(s.seconds) == 2 for s in evaluation.samples)


def test_a_kernel_as_good_as_its_cells_elite_is_timed_to_the_end(evaluator: MeasuringEvaluator) -> None:
    elite = evaluator.measure(seed(evaluator))
    assert elite.objective is not None
    bar = Bar("elite", elite.objective - 1, (elite.objective - 1.1, elite.objective - 0.9), elite.samples)
    again = evaluator.measure(seed(evaluator), bar)
    assert again.ok and not any(finding.stage == "screen" for finding in again.diagnostics)
    assert all(len(samples.seconds) > SCREEN_ROUNDS for samples in again.samples)


def test_a_time_that_the_machine_cannot_reach_is_quarantined(variant: Callable[..., MeasuringEvaluator]) -> None:
    lying = variant("problem.py", "return 8 * rows * cols + 4 * rows", "return 8 * rows * cols * 100000")
    evaluation = lying.measure(seed(lying))
    assert evaluation.outcome is Outcome.REJECTED and evaluation.diagnostics[0].reason == "impossible_time"
    assert evaluation.objective is None
    certificate = lying.certify(seed(lying))
    assert not certificate.ok and certificate.diagnostics[0].reason == "impossible_time"


def test_a_drifting_machine_is_measured_again(evaluator: MeasuringEvaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert evaluator.measure(seed(evaluator)).ok
    after = iter([Reading(1.0, 1.2), Reading(1.01, 1.0)])
    measured: list[float] = []
    measure = MeasuringEvaluator._measure

    def counted(self: MeasuringEvaluator, prepared: Prepared, bar: Bar | None) -> object:
        evaluation = measure(self, prepared, bar)
        if evaluation.ok:  # a busy machine can have it refused, and measured once more, on circumstantial grounds
            measured.append(float(evaluation.profile["canary_drift"]))
        return evaluation

    monkeypatch.setattr(MeasuringEvaluator, "_canary_before", lambda self: Reading(1.0, 1.0))
    monkeypatch.setattr(evaluator.station.canary, "read", lambda: next(after))
    monkeypatch.setattr(MeasuringEvaluator, "_measure", counted)
    evaluation = evaluator.measure(seed(evaluator))
    assert measured == pytest.approx([0.2, 0.01])
    assert evaluation.ok and float(evaluation.profile["canary_drift"]) == pytest.approx(0.01)


def test_rounds_that_lost_the_core_are_repeated_and_counted(evaluator: MeasuringEvaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Preemption itself is real in `test_referee`; here every call of a stretch is reported as disturbed."""
    disturbed = iter([True] * 12)
    call = custody.Custody.call

    def reported(self: custody.Custody, *arguments: object) -> object:
        made = call(self, *arguments)  # type: ignore[arg-type]
        return replace(made, preempted=made.preempted or next(disturbed, False)) if made.wall_seconds > 0 else made

    prepared = seed(evaluator)
    sizes = evaluator.problem.shapes[0]
    with evaluator.station.sitting() as sitting:
        lane = sitting.seat("kernel", evaluator.target.program(evaluator._artifact(prepared)))
        monkeypatch.setattr(custody.Custody, "call", reported)
        cases = evaluator.station.timed_cases(sizes)
        first, _ = sitting.round(cases)
        assert sitting.cost["retries"] >= 2 and sitting.cost["preempted"] >= 1 and len(lane.seen) >= 3
        assert first.number in lane.seen


def test_two_answers_that_differ_within_the_limits_agree_only_where_bits_are_not_promised() -> None:
    problem = Problem.load(TINY)
    case = make_case(problem, problem.small_shapes[0], "normal")
    first = [case.expected[0].astype(np.float32), case.expected[1].copy()]
    other = [np.nextafter(first[0], np.float32(np.inf)), first[1].copy()]
    found = agree(problem, case, first, other)
    assert found is not None and found.reason == "not_repeatable" and "bit for bit" in found.message
    assert agree(replace(problem, deterministic=False), case, first, other) is None
    assert agree(problem, case, first, [first[0].copy(), first[1].copy()]) is None


# -- who is to blame ----------------------------------------------------------------------------------------------------------------


def test_a_cache_emptied_between_build_and_measurement_costs_a_build_and_nothing_else(tmp_path: Path) -> None:
    evaluator = opened(settings=replace(SETTINGS, cache=tmp_path / "cache"))
    try:
        prepared = seed(evaluator)
        shutil.rmtree(tmp_path / "cache" / "build")
        assert evaluator.measure(prepared).ok
        certified = seed(evaluator)
        shutil.rmtree(tmp_path / "cache" / "build")
        assert evaluator.certify(certified).ok
    finally:
        evaluator.close()


def test_what_the_evaluator_does_wrong_is_its_own_failure(evaluator: MeasuringEvaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = seed(evaluator)

    def broken(self: Referee, *_: object) -> None:
        raise MemoryError("no memory for a runner")

    with monkeypatch.context() as patch:
        patch.setattr(Referee, "load", broken)
        failed = evaluator.measure(prepared)
    assert failed.outcome is Outcome.INFRASTRUCTURE_ERROR and not failed.outcome.reusable
    assert "the evaluator failed, not the kernel" in failed.diagnostics[0].message and failed.objective is None
    assert evaluator.measure(prepared).ok, "the next measurement starts afresh"


def test_a_runner_lost_before_its_program_was_loaded_fails_no_certificate(
    evaluator: MeasuringEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, losses, load = seed(evaluator), iter([True, True]), Referee.load

    def sometimes(self: Referee, *arguments: object) -> object:
        if next(losses, False):
            raise lost()
        return load(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Referee, "load", sometimes)
    assert evaluator.certify(prepared).ok

    def always(self: Referee, *_: object) -> object:
        raise lost()

    monkeypatch.setattr(Referee, "load", always)
    with pytest.raises(CertificationError, match="the evaluator failed, not the kernel"):
        evaluator.certify(prepared)
    assert evaluator.measure(prepared).outcome is Outcome.INFRASTRUCTURE_ERROR


def test_a_baseline_that_died_is_started_again(evaluator: MeasuringEvaluator) -> None:
    assert evaluator.measure(seed(evaluator)).ok
    baseline = evaluator.station._baseline
    assert baseline is not None
    baseline.runner._custody.process.signal(signal.SIGKILL)
    assert evaluator.measure(seed(evaluator)).ok


def test_a_problem_whose_baseline_never_works_blames_no_kernel(variant: Callable[..., MeasuringEvaluator]) -> None:
    broken = variant("baseline.py", "np.divide(x,", "np.divided(x,")
    evaluation = broken.measure(seed(broken))
    assert evaluation.outcome is Outcome.INFRASTRUCTURE_ERROR and "baseline" in evaluation.diagnostics[0].message


def test_an_account_of_time_condemns_a_kernel_only_when_a_second_runner_shows_it_too(
    evaluator: MeasuringEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared, other, call = seed(evaluator), slowed(evaluator), custody.Custody.call
    stolen = iter([True])

    def robbed(self: custody.Custody, *arguments: object) -> object:
        made = call(self, *arguments)  # type: ignore[arg-type]
        if next(stolen, False):
            raise off_clock("verify", "while it was frozen", 2_000_000, 100_000, 1)
        return made

    assert evaluator.measure(prepared).ok
    monkeypatch.setattr(custody.Custody, "call", robbed)
    evaluation = evaluator.measure(prepared)
    assert evaluation.ok and evaluation.cost["calls"] > 40
    stolen = iter([True])
    assert evaluator.duel(prepared, other).challenger.ok
    stolen = iter([True])
    assert evaluator.certify(prepared).ok
    stolen = iter([True] * 1000)
    condemned = evaluator.measure(prepared)
    assert condemned.outcome is Outcome.REJECTED and condemned.diagnostics[0].reason == "off_clock_work"
    assert not evaluator.certify(prepared).ok


def with_workspace(evaluator: MeasuringEvaluator, bytes_wanted: int) -> Prepared:
    entry = 'extern "C" void kernel'
    return changed(evaluator, entry, f'extern "C" size_t workspace(int64_t, int64_t) {{ return {bytes_wanted}; }}\n{entry}')


def test_kernels_with_ever_other_workspaces_cost_neither_descriptors_nor_memory(evaluator: MeasuringEvaluator) -> None:
    assert evaluator.measure(with_workspace(evaluator, 4096)).ok
    before = len(os.listdir("/proc/self/fd"))
    for bytes_wanted in (8192, 12288, 100_000, 1 << 20):
        assert evaluator.measure(with_workspace(evaluator, bytes_wanted)).ok
    assert len(os.listdir("/proc/self/fd")) <= before + 4


def test_a_kernel_that_asks_for_the_whole_limit_as_workspace_on_every_shape_is_refused(evaluator: MeasuringEvaluator) -> None:
    """The limit is on what it holds at once, not on what it asks for in one breath."""
    refused = evaluator.measure(with_workspace(evaluator, SETTINGS.memory - 4096))
    assert refused.outcome is Outcome.OUT_OF_MEMORY and "over all shapes" in refused.diagnostics[0].message


# -- duels ---------------------------------------------------------------------------------------------------------------------------


def test_a_duel_finds_the_faster_of_two(evaluator: MeasuringEvaluator) -> None:
    fast, slow = seed(evaluator), slowed(evaluator)
    duel = evaluator.duel(fast, slow)
    assert duel.advantage > 0 and duel.interval[0] > 0
    assert duel.challenger.kernel_id == fast.kernel.id and duel.incumbent.kernel_id == slow.kernel.id
    assert duel.challenger.samples and duel.incumbent.samples and "measure" in duel.challenger.cost
    assert evaluator.duel(slow, fast).advantage < 0


def test_a_duel_of_equals_goes_on_beyond_the_cap_of_one_timing_and_a_plain_one_ends_early() -> None:
    """The baseline is needed for one timing's worth of rounds only; what decides between two kernels is their own pairs."""
    evaluator = opened(settings=replace(SETTINGS, repetitions=8, precision=0.0))
    try:
        shapes = len(evaluator.problem.shapes)
        one, twin = seed(evaluator), changed(evaluator, "    for (int64_t r = 0;", "    // twin\n    for (int64_t r = 0;")
        longest = max(evaluator.duel(one, twin).challenger.cost["rounds"] for _ in range(3))
        assert SURE_ROUNDS * shapes < longest <= -(-LONGER * 8 // SURE_ROUNDS) * SURE_ROUNDS * shapes, "whole exchanges of slots"
        plain = evaluator.duel(one, slowed(evaluator, 2_000_000))
        assert plain.advantage > 0 and plain.challenger.cost["rounds"] <= SURE_ROUNDS * shapes
        assert all(len(samples.seconds) == len(samples.baseline) == 8 for samples in plain.challenger.samples)
    finally:
        evaluator.close()


@pytest.fixture
def imprecise(monkeypatch: pytest.MonkeyPatch) -> Iterator[MeasuringEvaluator]:
    """Four rounds at its cap, an interval that is never narrow enough, and one measurement only, however the machine drifts."""
    monkeypatch.setattr("fitness.measuring.CANARY_DRIFT", 1e9)
    evaluator = opened(settings=replace(SETTINGS, repetitions=4, precision=0.0))
    yield evaluator
    evaluator.close()


def rounds(evaluation: Evaluation) -> set[int]:
    assert evaluation.ok, evaluation.diagnostics
    return {len(times) for samples in evaluation.samples for times in (samples.seconds, samples.baseline)}


def test_while_nobody_waits_for_the_device_a_kernel_is_repeated_beyond_the_cap_in_new_runners(imprecise: MeasuringEvaluator) -> None:
    assert rounds(imprecise.measure(seed(imprecise))) == {4}
    imprecise.idle = lambda: True
    evaluation = imprecise.measure(seed(imprecise))
    assert rounds(evaluation) == {FREE * 4}
    assert evaluation.interval is not None and 0.0 <= float(evaluation.profile["error"]) < 0.1


def test_repetition_beyond_the_cap_ends_with_the_round_in_which_somebody_begins_to_wait(imprecise: MeasuringEvaluator) -> None:
    answers = iter([True] * 6 + [False] * 1000)
    imprecise.idle = lambda: next(answers)
    assert rounds(imprecise.measure(seed(imprecise))) == {4 + 6}


def test_no_free_repetitions_go_to_a_kernel_that_is_clearly_slower_than_its_cells_elite(imprecise: MeasuringEvaluator) -> None:
    imprecise.idle = lambda: True
    bar = fast_bar()
    unscreened = replace(bar, interval=(-10.0, bar.interval[1]))
    assert rounds(imprecise.measure(seed(imprecise), unscreened)) == {4}


def test_lanes_that_exchange_have_each_other_s_slots_and_fresh_runners(evaluator: MeasuringEvaluator) -> None:
    program = evaluator.target.program(evaluator._artifact(seed(evaluator)))
    sizes = evaluator.problem.shapes[0]
    with evaluator.station.sitting() as sitting:
        for name in ("one", "other"):
            sitting.seat(name, program)
        fresh = evaluator.station.timed_cases(sizes)
        sitting.round(fresh)
        before = {name: (sitting.lane(name).runner, sitting.lane(name).slots[shape_label(sizes)]) for name in ("one", "other")}
        sitting.exchange("one", "other")
        sitting.round(fresh)
        after = {name: (sitting.lane(name).runner, sitting.lane(name).slots[shape_label(sizes)]) for name in ("one", "other")}
    assert after["one"][1] == before["other"][1] and after["other"][1] == before["one"][1]
    assert not {after["one"][0], after["other"][0]} & {before["one"][0], before["other"][0]}


def test_a_duel_survives_the_loss_of_the_baseline(evaluator: MeasuringEvaluator) -> None:
    one, other = seed(evaluator), slowed(evaluator)
    assert evaluator.duel(one, other).challenger.ok
    baseline = evaluator.station._baseline
    assert baseline is not None
    os.kill(baseline.runner.pid, signal.SIGKILL)
    assert evaluator.duel(one, other).advantage > 0


@pytest.mark.parametrize("failing", ["challenger", "incumbent"])
def test_a_kernel_that_fails_in_a_duel_loses_it_and_is_recorded_as_what_it_is(evaluator: MeasuringEvaluator, failing: str) -> None:
    good, bad = slowed(evaluator), wrong_after(evaluator, 0)
    duel = evaluator.duel(bad, good) if failing == "challenger" else evaluator.duel(good, bad)
    lost_by, won_by = (duel.challenger, duel.incumbent) if failing == "challenger" else (duel.incumbent, duel.challenger)
    assert duel.advantage == (-np.inf if failing == "challenger" else np.inf)
    assert lost_by.outcome is Outcome.WRONG and lost_by.kernel_id == bad.kernel.id
    assert won_by.ok and won_by.kernel_id == good.kernel.id


def test_a_duel_that_the_evaluator_could_not_hold_is_won_by_nobody(
    evaluator: MeasuringEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = seed(evaluator), slowed(evaluator)

    def always(self: Referee, *_: object) -> object:
        raise lost()

    monkeypatch.setattr(Referee, "load", always)
    duel = evaluator.duel(one, other)
    assert Outcome.INFRASTRUCTURE_ERROR in (duel.challenger.outcome, duel.incumbent.outcome)


# -- certification --------------------------------------------------------------------------------------------------------------------


def test_a_certificate_tells_the_speedup_over_every_baseline_and_the_seed(evaluator: MeasuringEvaluator) -> None:
    certificate = evaluator.certify(seed(evaluator), slowed(evaluator, 2_000_000))
    assert certificate.ok and certificate.strongest == "numpy" and set(certificate.against) == {"numpy", "seed"}
    assert certificate.against["seed"].value > 2
    assert all(e.low <= e.value <= e.high for e in certificate.against.values())
    assert [s.shape for s in certificate.shapes] == ["rows=50,cols=150", "rows=11,cols=777"]
    assert all(set(s.baselines) == {"numpy", "seed"} and s.seconds > 0 for s in certificate.shapes)
    assert certificate.processes == SETTINGS.certify_processes and certificate.seconds > 0


def test_a_cache_that_is_emptied_while_a_winner_is_certified_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = opened(settings=replace(SETTINGS, cache=tmp_path / "cache"))
    prepared, emptied = seed(evaluator), []

    def empty(_kernel: Kernel) -> None:
        shutil.rmtree(tmp_path / "cache")
        emptied.append(True)

    monkeypatch.setattr(evaluator.target, "instrumented", empty)  # asked for once everything is built
    certificate = evaluator.certify(prepared, prepared)
    evaluator.close()
    assert emptied and certificate.ok and set(certificate.against) == {"numpy", "seed"}
    assert certificate.shares, "the ceilings' programs were kept too"


def test_a_winner_that_is_wrong_on_held_out_shapes_gets_no_certificate(evaluator: MeasuringEvaluator) -> None:
    cheat = changed(evaluator, "        positive[r] = count;", "        positive[r] = cols == 777 ? 0 : count;")
    assert evaluator.measure(cheat).ok
    certificate = evaluator.certify(cheat, seed(evaluator))
    assert not certificate.ok and certificate.diagnostics[0].reason == "wrong_values"
    assert "777" in certificate.diagnostics[0].message and not certificate.against


def test_a_seed_that_fails_is_left_out_and_costs_the_winner_nothing(evaluator: MeasuringEvaluator) -> None:
    certificate = evaluator.certify(seed(evaluator), wrong_after(evaluator, 0))
    assert certificate.ok and set(certificate.against) == {"numpy"}
    assert "seed failed in certification" in certificate.diagnostics[0].message


def test_a_slow_seed_is_called_once_per_process(evaluator: MeasuringEvaluator) -> None:
    certificate = evaluator.certify(seed(evaluator), slowed(evaluator, 40_000_000))
    assert certificate.ok and certificate.against["seed"].value > 100
    assert certificate.seconds < 20


def test_a_baseline_that_fails_is_left_out_and_nothing_to_compare_with_is_no_certificate(
    variant: Callable[..., MeasuringEvaluator],
) -> None:
    broken = variant("baseline.py", "np.divide(x,", "np.divided(x,")
    certificate = broken.certify(seed(broken), seed(broken))
    assert certificate.ok and set(certificate.against) == {"seed"} and certificate.strongest == "seed"
    alone = broken.certify(seed(broken))
    assert not alone.ok and alone.diagnostics[0].reason == "no_baseline"


def test_undefined_behaviour_that_happens_to_work_is_found_by_certification(evaluator: MeasuringEvaluator) -> None:
    lucky = changed(
        evaluator,
        "        positive[r] = count;",
        "        volatile int32_t large = 2147483647;\n"
        "        volatile int32_t wrapped = large + 1;\n        positive[r] = count + wrapped * 0;",
    )
    assert evaluator.measure(lucky).ok
    certificate = evaluator.certify(lucky, seed(evaluator))
    assert not certificate.ok and certificate.diagnostics[0].reason == "undefined_behaviour"
    assert "shape" in certificate.diagnostics[0].message
