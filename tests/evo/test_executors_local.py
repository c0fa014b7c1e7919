"""The local executor's worker process: death, hanging, its own exit, what the user is told."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from instant_evaluator import SEED, Instant, InstantEvaluator, refuse

from archive.kernel import Kernel
from evo.errors import UserError
from evo.executors.base import ExecutorError
from evo.executors.local import LocalExecutor

KERNEL = Kernel("python", SEED)
T = TypeVar("T")


def use(work: Callable[[LocalExecutor], Coroutine[Any, Any, T]], behaviour: Instant | None = None, **options: Any) -> T:
    behaviour = behaviour or Instant()

    async def whole() -> T:
        executor = LocalExecutor(InstantEvaluator(behaviour), InstantEvaluator, (behaviour,), **options)
        try:
            await executor.start()
            return await work(executor)
        finally:
            await executor.close()

    return asyncio.run(whole())


def gone(pid: int, seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_a_worker_that_dies_raises_with_its_signal_and_is_replaced(tmp_path: Path) -> None:
    trouble = tmp_path / "trouble"

    async def work(executor: LocalExecutor) -> None:
        prepared = await executor.prepare(KERNEL)
        first = executor.worker_pid
        trouble.write_text("die\n")
        with pytest.raises(ExecutorError, match="SIGKILL"):
            await executor.measure(prepared)
        assert (await executor.measure(prepared)).ok
        assert executor.worker_pid != first

    use(work, Instant(trouble=trouble))


def test_a_worker_that_is_killed_while_idle_is_replaced(tmp_path: Path) -> None:
    async def work(executor: LocalExecutor) -> None:
        prepared = await executor.prepare(KERNEL)
        assert executor.worker_pid is not None
        os.kill(executor.worker_pid, signal.SIGKILL)
        with pytest.raises(ExecutorError):
            await executor.measure(prepared)
        assert (await executor.measure(prepared)).ok

    use(work)


def test_a_worker_that_hangs_is_given_up_after_the_patience_and_leaves_no_process(tmp_path: Path) -> None:
    trouble = tmp_path / "trouble"

    async def work(executor: LocalExecutor) -> None:
        prepared = await executor.prepare(KERNEL)
        first = executor.worker_pid
        assert first is not None
        trouble.write_text("hang\n")
        began = time.monotonic()
        with pytest.raises(ExecutorError, match="did not answer"):
            await executor.measure(prepared)
        assert time.monotonic() - began < 15
        assert gone(first)
        assert (await executor.measure(prepared)).ok

    use(work, Instant(trouble=trouble), patience=5.0)


def test_the_worker_knows_while_it_measures_whether_another_kernel_waits() -> None:
    async def work(executor: LocalExecutor) -> list[str]:
        prepared = await executor.prepare(KERNEL)
        alone = await executor.measure(prepared)
        first = asyncio.ensure_future(executor.measure(prepared))
        await asyncio.sleep(0.1)  # well within the first measurement
        second = asyncio.ensure_future(executor.measure(prepared))
        return [str(each.profile["idle"]) for each in (alone, await first, await second)]

    assert use(work, Instant(measure_seconds=0.5, tells_idle=True)) == ["True", "False", "True"]


def test_closing_ends_a_measurement_under_way(tmp_path: Path) -> None:
    trouble = tmp_path / "trouble"

    async def work(executor: LocalExecutor) -> None:
        prepared = await executor.prepare(KERNEL)
        trouble.write_text("hang\n")
        task = asyncio.ensure_future(executor.measure(prepared))
        await asyncio.sleep(0.2)
        pid = executor.worker_pid
        assert pid is not None
        began = time.monotonic()
        await executor.close()
        with pytest.raises(ExecutorError):
            await task
        assert time.monotonic() - began < 8
        assert gone(pid)

    use(work, Instant(trouble=trouble))


def test_the_worker_ignores_ctrl_c() -> None:
    async def work(executor: LocalExecutor) -> None:
        prepared = await executor.prepare(KERNEL)
        pid = executor.worker_pid
        assert pid is not None
        os.kill(pid, signal.SIGINT)
        assert (await executor.measure(prepared)).ok
        assert executor.worker_pid == pid
        assert os.getpgid(pid) == pid  # a terminal's Ctrl-C does not even reach it

    use(work)


def test_the_worker_dies_with_its_parent() -> None:
    program = (
        f"import sys; sys.path[:0] = {[p for p in sys.path if p]!r}\n"
        "import asyncio, time\n"
        "from instant_evaluator import Instant, InstantEvaluator\n"
        "from evo.executors.local import LocalExecutor\n"
        "async def main():\n"
        "    executor = LocalExecutor(InstantEvaluator(), InstantEvaluator, ())\n"
        "    await executor.start()\n"
        "    print(executor.worker_pid, flush=True)\n"
        "    time.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert not gone(worker, seconds=0.1)
    parent.kill()
    parent.communicate()
    assert gone(worker)


@pytest.fixture
def refusing() -> Callable[[str], None]:
    """Starts an executor whose worker cannot open its evaluator."""

    async def start(kind: str) -> None:
        executor = LocalExecutor(InstantEvaluator(), refuse, (kind,))
        try:
            await executor.start()
        finally:
            await executor.close()

    return lambda kind: asyncio.run(start(kind))


def test_what_the_user_can_put_right_arrives_whole_from_the_worker(refusing: Callable[[str], None]) -> None:
    with pytest.raises(UserError) as caught:
        refusing("user")
    error = caught.value
    assert (error.what, error.key, error.found, error.remedy) == (
        "There is no sandbox.",
        "evaluation.sandbox",
        "none",
        "Install bubblewrap.",
    )


def test_a_defect_in_opening_arrives_as_the_executors_error_with_its_text(refusing: Callable[[str], None]) -> None:
    with pytest.raises(ExecutorError, match="no such device"):
        refusing("defect")


def test_what_the_worker_prints_goes_to_the_log_and_does_not_disturb_it(tmp_path: Path) -> None:
    async def work(executor: LocalExecutor) -> None:
        prepared = await executor.prepare(KERNEL)
        assert (await executor.measure(prepared)).ok

    with (tmp_path / "log").open("ab") as log:
        use(work, Instant(chatter="hello from the worker"), log=log)
    assert "hello from the worker" in (tmp_path / "log").read_text()


def test_a_compile_does_not_hold_up_the_loop() -> None:
    async def work(executor: LocalExecutor) -> None:
        began = time.monotonic()
        task = asyncio.ensure_future(executor.prepare(KERNEL))
        await asyncio.sleep(0.01)
        assert time.monotonic() - began < 0.25
        assert not task.done()
        await task

    use(work, Instant(build_seconds=0.5))


class Holding(InstantEvaluator):
    """Says that timing has the last core to itself."""

    held_cores = frozenset({max(os.sched_getaffinity(0))})


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs a second core")
def test_search_and_compilers_keep_off_the_core_that_times() -> None:
    allowed = os.sched_getaffinity(0)

    async def work() -> tuple[set[int], set[int], set[int]]:
        executor = LocalExecutor(Holding(), Holding)
        await executor.start()
        try:
            builder = await asyncio.get_running_loop().run_in_executor(executor._builds, os.sched_getaffinity, 0)
            assert executor.worker_pid is not None
            return os.sched_getaffinity(0), builder, os.sched_getaffinity(executor.worker_pid)
        finally:
            await executor.close()

    search, builder, worker = asyncio.run(work())
    assert search == builder == allowed - Holding.held_cores
    assert worker == allowed == os.sched_getaffinity(0)


def test_every_device_measures_at_once_and_is_told_which_it_is(tmp_path: Path) -> None:
    journal = tmp_path / "journal"

    async def work(executor: LocalExecutor) -> tuple[float, float]:
        prepared = await executor.prepare(KERNEL)
        workers = [worker for worker in executor._workers if worker is not None]
        told = [(Path("/proc") / str(w.process.pid) / "environ").read_bytes().split(b"\0") for w in workers]
        assert [b"CUDA_VISIBLE_DEVICES=%d" % number in variables for number, variables in enumerate(told)] == [True, True]
        times = []
        for count in (2, 4):
            start = time.monotonic()
            assert all(evaluation.ok for evaluation in await asyncio.gather(*(executor.measure(prepared) for _ in range(count))))
            times.append(time.monotonic() - start)
        return times[0], times[1]

    two, four = use(work, Instant(measure_seconds=1.0, journal=journal), devices=("0", "1"))
    assert two < 1.9, "one after the other takes 2 s"
    assert 2.0 <= four < 3.8


def test_a_device_whose_worker_dies_costs_the_others_nothing() -> None:
    async def work(executor: LocalExecutor) -> None:
        prepared = await executor.prepare(KERNEL)
        measuring = asyncio.gather(*(executor.measure(prepared) for _ in range(4)), return_exceptions=True)
        await asyncio.sleep(0.5)
        assert executor.worker_pid is not None
        os.kill(executor.worker_pid, signal.SIGKILL)
        found = await measuring
        assert sum(isinstance(each, ExecutorError) for each in found) == 1
        assert all(each.ok for each in found if not isinstance(each, BaseException))

    use(work, Instant(measure_seconds=1.0), devices=("0", "1"))
