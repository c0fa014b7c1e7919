"""The referee: its clock, its verdicts, its runners' manners. Attacks have their own suite (tests/hostile)."""

from __future__ import annotations

import contextlib
import os
import platform
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import hostile_arena as arena
import numpy as np
import pytest

from archive.evaluation import Outcome
from fitness.problem import Problem
from fitness.program import Program
from fitness.referee import Referee, RefereeError, RunnerFailure
from fitness.sandbox import available
from fitness.slots import Slot

BEST = next(level for level, why in available().items() if why is None)


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return arena.toy_problem(tmp_path_factory.mktemp("problem"))


@pytest.fixture(scope="module")
def referee() -> Iterator[Referee]:
    with Referee(load_timeout=5.0) as made:
        yield made


def _native(tmp_path: Path, body: str, before: str = "") -> Program:
    source = tmp_path / "kernel.cpp"
    includes = "".join(f"#include <{name}>\n" for name in ("cstdint", "cstddef", "ctime", "cstring"))
    signature = 'extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n)'
    source.write_text(f"{includes}{before}\n{signature} {{ {body} }}\n")
    return Program("native", arena.build(source))


HONEST = "for (int64_t i = 0; i < n; i++) y[i] = 2.0f * x[i] + 1.0f;"


def _slot(problem: Problem, n: int = 1000, workspace: int = 0) -> Slot:
    slot = Slot(problem, {"n": n}, workspace=workspace)
    slot.fill([np.arange(n, dtype=np.float32)])
    return slot


def test_the_clock_shows_what_a_call_takes(referee: Referee, problem: Problem, tmp_path: Path) -> None:
    runner = referee.load(_native(tmp_path, "timespec t{0, 20000000}; nanosleep(&t, nullptr);" + HONEST), problem)
    call = runner.call(_slot(problem), 5.0)
    assert 0.019 < call.seconds < 0.2
    assert call.seconds < call.wall_seconds
    assert call.cpu_seconds < 0.015
    runner.close()


def test_an_empty_call_costs_next_to_nothing_once_the_protocol_is_subtracted(referee: Referee, problem: Problem, tmp_path: Path) -> None:
    runner = referee.load(_native(tmp_path, "y[0] = x[0];"), problem)
    slot = _slot(problem, 1)
    seconds = sorted(runner.call(slot, 5.0).seconds for _ in range(41))
    assert seconds[0] > 0
    assert seconds[20] < 100e-6
    runner.close()


def test_between_calls_the_runner_is_stopped(referee: Referee, problem: Problem, tmp_path: Path) -> None:
    runner = referee.load(_native(tmp_path, HONEST), problem)
    slot = _slot(problem)
    for _ in range(5):
        runner.call(slot, 5.0)
        deadline = time.monotonic() + 1.0
        while (state := _state(runner.pid)) != "T" and time.monotonic() < deadline:
            time.sleep(0.001)
        assert state == "T"
    runner.close()


def test_two_runners_interleave_and_the_one_not_called_uses_no_cpu(referee: Referee, problem: Problem, tmp_path: Path) -> None:
    first, second = (referee.load(_native(tmp_path, HONEST), problem) for _ in range(2))
    slots = [Slot(problem, {"n": 50_000}) for _ in range(2)]
    for number in range(10):
        x = np.random.default_rng().standard_normal(50_000, dtype=np.float32)
        order = (first, second) if number % 2 else (second, first)
        for runner, slot in zip(order, slots, strict=True):
            slot.fill([x])
            slot.poison()
            runner.call(slot, 5.0)
            assert np.array_equal(slot.outputs[0], 2 * x + 1)
    first.close()
    second.close()


def test_a_baseline_is_a_python_function_on_views_of_the_same_memory(referee: Referee, problem: Problem) -> None:
    runner = referee.load(Program("python", problem.baselines["numpy"], "numpy"), problem)
    slot = _slot(problem)
    runner.call(slot, 10.0)
    assert np.array_equal(slot.outputs[0], 2 * np.arange(1000, dtype=np.float32) + 1)
    runner.close()


def test_an_exception_of_a_python_program_is_a_crash_that_quotes_it(referee: Referee, problem: Problem, tmp_path: Path) -> None:
    (tmp_path / "b.py").write_text("def numpy(x, y):\n    y[:] = x[: len(x) // 2]\n")
    runner = referee.load(Program("python", tmp_path / "b.py", "numpy"), problem)
    with pytest.raises(RunnerFailure, match="could not broadcast") as caught:
        runner.call(_slot(problem), 10.0)
    assert (caught.value.outcome, caught.value.diagnostic.reason) == (Outcome.CRASH, "exception")
    runner.close()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="how glibc keeps memory")
def test_temporaries_of_a_baseline_are_not_taken_from_the_system_anew_in_every_call(
    referee: Referee, problem: Problem, tmp_path: Path
) -> None:
    path = tmp_path / "wasteful.py"
    path.write_text(
        "import numpy as np\nimport resource\n\n\ndef wasteful(x, y):\n"
        "    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n    [np.ones(1 << 18) for _ in range(6)]\n"
        "    y[:] = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before\n"
    )
    slot = _slot(problem)
    runner = referee.load(Program("python", path=path, entry="wasteful"), problem)
    runner.attach(slot)
    faults = []
    for _ in range(3):
        runner.call(slot, 5.0)
        faults.append(float(slot.outputs[0].reshape(-1)[0]))
    runner.close()
    assert faults[0] > 500 and faults[2] < 100, faults


def test_workspace_is_null_unless_asked_for_and_poisoned_when_it_is(referee: Referee, problem: Problem, tmp_path: Path) -> None:
    none = referee.load(_native(tmp_path, "y[0] = workspace == nullptr ? 1.0f : 2.0f;"), problem)
    assert none.workspace_bytes({"n": 10}) == 0
    slot = _slot(problem, 10)
    none.call(slot, 5.0)
    assert slot.outputs[0][0] == 1.0
    none.close()
    asking = "memcpy(y, workspace, 4 * n); memset(workspace, 0, 8 * n);"
    some = referee.load(_native(tmp_path, asking, 'extern "C" size_t workspace(int64_t n) { return 8 * n; }'), problem)
    assert some.workspace_bytes({"n": 10}) == 80
    slot = Slot(problem, {"n": 10}, workspace=some.workspace_bytes({"n": 10}))
    for _ in range(2):
        slot.fill([np.zeros(10, np.float32)])
        slot.poison()
        some.call(slot, 5.0)
        assert np.isnan(slot.outputs[0]).all()
    some.close()


def test_a_runner_never_sees_inputs_before_its_clock_runs(referee: Referee, problem: Problem, tmp_path: Path) -> None:
    """A slot that is filled before it is attached is emptied for the while; one that is filled ahead of another's call is refused."""
    runner = referee.load(_native(tmp_path, HONEST), problem)
    first, second = Slot(problem, {"n": 100}), Slot(problem, {"n": 100})
    runner.attach(first)
    first.fill([np.ones(100, np.float32)])
    with pytest.raises(ValueError, match="filled ahead"):
        runner.attach(second)
    runner.call(first, 5.0)
    second.fill([np.full(100, 3.0, np.float32)])
    runner.call(second, 5.0)
    assert (second.outputs[0] == 7.0).all()
    runner.close()


def test_a_crash_names_the_signal_and_the_argument_nearby(referee: Referee, problem: Problem, tmp_path: Path) -> None:
    runner = referee.load(_native(tmp_path, "const_cast<float*>(x)[5] = 1.0f;"), problem)
    with pytest.raises(RunnerFailure) as caught:
        runner.call(_slot(problem), 5.0, stage="time")
    diagnostic = caught.value.diagnostic
    assert (diagnostic.stage, diagnostic.reason, diagnostic.details["signal"]) == ("time", "illegal_access", "SIGSEGV")
    assert "20 bytes into the input `x`, which is read-only" in diagnostic.message
    runner.close()


def test_a_failed_runner_is_dead_at_once_and_closing_it_twice_is_harmless(referee: Referee, problem: Problem, tmp_path: Path) -> None:
    runner = referee.load(_native(tmp_path, "for (volatile int i = 0;; i = i + 1) {}"), problem)
    pid = runner.pid
    with pytest.raises(RunnerFailure, match="call_timeout"):
        runner.call(_slot(problem), 0.2)
    assert _state(pid) in ("", "Z")
    runner.close()
    runner.close()


def test_nothing_is_left_behind(problem: Problem, tmp_path: Path) -> None:
    processes, descriptors, affinity = arena.descendants(), arena.descriptors(), os.sched_getaffinity(0)
    referee = Referee()
    runners = [referee.load(_native(tmp_path, HONEST), problem) for _ in range(3)]
    slot = _slot(problem)
    runners[0].call(slot, 5.0)
    slot.close()
    referee.close()
    referee.close()
    assert os.sched_getaffinity(0) == affinity
    assert arena.descriptors() <= descriptors
    assert _gone(arena.descendants() - processes)


def test_a_killed_zygote_is_replaced(problem: Problem, tmp_path: Path) -> None:
    program = _native(tmp_path, HONEST)
    with Referee() as referee:
        before = arena.descendants()
        referee.load(program, problem).close()
        started = {pid for pid in arena.descendants() - before if _command(pid) != "evo-runner"}
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert _gone(started)
        runner = referee.load(program, problem)
        slot = _slot(problem)
        runner.call(slot, 5.0)
        assert slot.outputs[0][1] == 3.0


def test_a_referee_killed_in_the_middle_of_a_call_leaves_no_process(problem: Problem, tmp_path: Path) -> None:
    library = _native(tmp_path, "for (volatile int i = 0;; i = i + 1) {}").path
    script = f"""
import sys
sys.path[:0] = {[str(Path(arena.__file__).parent), str(arena.KERNELS.parent.parent.parent)]!r}
import hostile_arena as arena, numpy as np
from pathlib import Path
from fitness.program import Program
from fitness.problem import Problem
from fitness.referee import Referee
from fitness.slots import Slot
problem = Problem.load({str(problem.folder)!r})
runner = Referee().load(Program("native", Path({str(library)!r})), problem)
slot = Slot(problem, {{"n": 100}})
runner.attach(slot)
print(*sorted(arena.descendants()), flush=True)
runner.call(slot, 60.0)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    children = {int(word) for word in process.stdout.readline().split()}
    assert len(children) >= 2
    time.sleep(0.2)
    process.kill()
    process.wait()
    process.stdout.close()
    assert _gone(children), {pid: _command(pid) for pid in children}


def test_a_core_that_is_not_ours_is_refused() -> None:
    with pytest.raises(RefereeError, match="core: found 4095"):
        Referee(core=4095)


@pytest.mark.skipif(os.cpu_count() == 1, reason="needs a neighbour")
def test_a_call_that_lost_the_core_to_somebody_else_says_so(problem: Problem, tmp_path: Path) -> None:
    work = "volatile float s = 0; for (int64_t i = 0; i < 60000000; i++) s = s + 1.0f; y[0] = s;"
    with Referee() as referee:
        runner = referee.load(_native(tmp_path, work), problem)
        slot = _slot(problem)
        # An equal contender on the measuring core: same policy, at least our priority.
        spin = f"""
import os
os.sched_setaffinity(0, {{{referee.core}}})
try:
    os.nice(-20)
except OSError:
    pass
print(flush=True)
while True:
    pass
"""
        neighbour = subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE)
        try:
            assert neighbour.stdout is not None and select.select([neighbour.stdout], [], [], 20)[0]
            calls = [runner.call(slot, 20.0) for _ in range(3)]
        finally:
            neighbour.kill()
            neighbour.wait()
            neighbour.stdout.close() if neighbour.stdout else None
        assert any(call.preempted and call.waited_seconds > 1e-3 for call in calls)
        runner.close()


def _state(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text[text.rindex(")") + 2]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _gone(pids: set[int], patience: float = 3.0) -> bool:
    deadline = time.monotonic() + patience
    while any(_state(pid) not in ("", "Z") for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_the_next_runner_of_a_slot_finds_nothing_of_an_earlier_one(referee: Referee, problem: Problem, tmp_path: Path) -> None:
    failing = referee.load(_native(tmp_path, "__builtin_trap();"), problem)
    slots = [Slot(problem, {"n": 100}) for _ in range(2)]
    for slot in slots:
        failing.attach(slot)
    slots[0].fill([np.ones(100, np.float32)])
    with pytest.raises(RunnerFailure):
        failing.call(slots[0], 5.0)
    failing.close()
    runner = referee.load(_native(tmp_path, HONEST), problem)
    for slot in slots:
        runner.attach(slot)
        assert not slot.inputs[0].any()
    runner.close()


def test_without_a_listener_a_forbidden_call_is_still_refused_before_and_after_loading(problem: Problem, tmp_path: Path) -> None:
    """As on kernels or in containers that do not grant seccomp's user notifications."""
    look = 'static void look() { open("/etc/hostname", O_RDONLY); }'
    programs = {
        "call": _native(tmp_path, "socket(AF_INET, SOCK_STREAM, 0);" + HONEST, "#include <sys/socket.h>\n"),
        "open": _native(tmp_path, "look();" + HONEST, "#include <fcntl.h>\n" + look),
        "fine": _native(tmp_path, HONEST, "#include <fcntl.h>\n" + look + "\n__attribute__((constructor)) static void load() { look(); }"),
    }
    with Referee(pool=1) as referee:
        nursery = referee._nursery("native")
        for seat in nursery._seats:
            seat.close()
        nursery._seats.clear()
        nursery.listener = False
        for name, program in programs.items():
            runner = referee.load(program, problem)
            if name == "fine":
                runner.call(_slot(problem), 5.0)
                runner.close()
                continue
            with pytest.raises(RunnerFailure) as caught:
                runner.call(_slot(problem), 5.0)
            assert (caught.value.outcome, caught.value.diagnostic.reason) == (Outcome.REJECTED, "forbidden_syscall"), name
            runner.close()


def test_hundreds_of_runners_come_and_go(problem: Problem, tmp_path: Path) -> None:
    program = _native(tmp_path, HONEST)
    with Referee() as referee:
        referee.load(program, problem).close()
        descriptors = arena.descriptors()
        for _ in range(400):
            referee.load(program, problem).close()
        assert arena.descriptors() <= descriptors
