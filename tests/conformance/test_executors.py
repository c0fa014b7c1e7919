"""What every executor has to do, whatever it runs on. To add one: add a line to `EXECUTORS`."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from instant_evaluator import SEED, Instant, InstantEvaluator, speed

from archive.evaluation import Outcome
from archive.kernel import Kernel
from evo.executors.base import Executor, ExecutorError
from evo.executors.inline import InlineExecutor
from evo.executors.local import LocalExecutor
from fitness.protocol import Bar

T = TypeVar("T")
Make = Callable[[Instant], Executor]

EXECUTORS: dict[str, Make] = {
    "inline": lambda behaviour: InlineExecutor(InstantEvaluator(behaviour)),
    "local": lambda behaviour: LocalExecutor(InstantEvaluator(behaviour), InstantEvaluator, (behaviour,), builders=2),
}


@pytest.fixture(params=EXECUTORS)
def make(request: pytest.FixtureRequest) -> Make:
    return EXECUTORS[request.param]


def use(executor: Executor, work: Callable[[Executor], Coroutine[Any, Any, T]]) -> T:
    """Starts the executor, works with it, closes it."""

    async def whole() -> T:
        try:
            await executor.start()
            return await work(executor)
        finally:
            await executor.close()

    return asyncio.run(whole())


KERNEL = Kernel("python", SEED)


def test_it_knows_seeds_spaces_and_environment(make: Make) -> None:
    async def work(executor: Executor) -> None:
        assert [seed.source for seed in executor.seeds()] == [SEED]
        assert executor.space(KERNEL).names == KERNEL.space.names
        assert (await executor.environment()).id == "instant"
        assert executor.deterministic is True
        assert executor.window >= 1

    use(make(Instant()), work)


def test_it_prepares_and_measures(make: Make) -> None:
    async def work(executor: Executor) -> None:
        child = KERNEL.with_values({"TILE": 8, "VECTOR": 2})
        prepared = await executor.prepare(child)
        assert prepared.failed is None and prepared.artifact and prepared.profile["vector"] == 2
        evaluation = await executor.measure(prepared)
        assert (evaluation.kernel_id, evaluation.outcome, evaluation.objective) == (child.id, Outcome.OK, speed(child))
        with_bar = await executor.measure(prepared, Bar(KERNEL.id, 0.0, (0.0, 0.0), ()))
        assert with_bar.objective == evaluation.objective

    use(make(Instant()), work)


def test_a_bad_kernel_is_an_outcome_not_an_error(make: Make) -> None:
    async def work(executor: Executor) -> None:
        failed = (await executor.prepare(KERNEL.with_values({"UNROLL": 7}))).failed
        assert failed is not None and failed.outcome is Outcome.BUILD_ERROR
        wrong = await executor.measure(await executor.prepare(KERNEL.with_values({"UNROLL": 5})))
        assert wrong.outcome is Outcome.WRONG and wrong.diagnostics[0].reason == "wrong_values"

    use(make(Instant()), work)


def test_it_fights_duels_and_certifies(make: Make) -> None:
    async def work(executor: Executor) -> None:
        slow, fast = [await executor.prepare(kernel) for kernel in (KERNEL, KERNEL.with_values({"TILE": 16}))]
        assert (await executor.duel(fast, slow)).advantage > 0 > (await executor.duel(slow, fast)).advantage
        certificate = await executor.certify(fast, slow)
        assert certificate.ok and certificate.against["seed"].value > 1
        assert "seed" not in (await executor.certify(fast)).against

    use(make(Instant(deterministic=False)), work)


def test_noisy_samples_arrive_whole(make: Make) -> None:
    async def work(executor: Executor) -> None:
        evaluation = await executor.measure(await executor.prepare(KERNEL))
        (samples,) = evaluation.samples
        assert samples.seconds.shape == samples.baseline.shape == (8,)
        assert evaluation.interval is not None and evaluation.interval[0] < evaluation.interval[1]
        assert executor.deterministic is False

    use(make(Instant(deterministic=False)), work)


def test_a_failing_evaluator_raises_and_the_next_call_works(make: Make, tmp_path: Path) -> None:
    trouble = tmp_path / "trouble"

    async def work(executor: Executor) -> None:
        prepared = await executor.prepare(KERNEL)
        trouble.write_text("raise\n")
        with pytest.raises(ExecutorError, match="the device fell off"):
            await executor.measure(prepared)
        assert (await executor.measure(prepared)).ok

    use(make(Instant(trouble=trouble)), work)


def test_an_evaluation_that_says_nothing_is_passed_on_as_it_is(make: Make, tmp_path: Path) -> None:
    trouble = tmp_path / "trouble"
    trouble.write_text("busy\n")

    async def work(executor: Executor) -> None:
        assert (await executor.measure(await executor.prepare(KERNEL))).outcome is Outcome.INFRASTRUCTURE_ERROR

    use(make(Instant(trouble=trouble)), work)


def test_many_calls_at_once_are_all_answered_each_with_its_own(make: Make) -> None:
    async def work(executor: Executor) -> None:
        kernels = [KERNEL.with_values({"TILE": tile, "VECTOR": vector}) for tile in (1, 2, 4, 8) for vector in (0, 1, 2)]

        async def trip(kernel: Kernel) -> tuple[str, float | None]:
            evaluation = await executor.measure(await executor.prepare(kernel))
            return evaluation.kernel_id, evaluation.objective

        answers = await asyncio.gather(*map(trip, kernels))
        assert answers == [(kernel.id, speed(kernel)) for kernel in kernels]

    use(make(Instant()), work)


def test_closing_closes_the_evaluator_twice_is_fine_and_later_calls_raise(make: Make) -> None:
    before = threading.active_count()

    async def whole() -> None:
        executor = make(Instant())
        await executor.start()
        evaluator: InstantEvaluator = executor.evaluator  # type: ignore[attr-defined]
        prepared = await executor.prepare(KERNEL)
        await executor.close()
        await executor.close()
        assert evaluator.closed
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: executor.prepare(KERNEL),
            lambda: executor.measure(prepared),
            lambda: executor.duel(prepared, prepared),
            lambda: executor.certify(prepared),
            executor.start,
        ]
        for call in calls:
            with pytest.raises(ExecutorError):
                await call()

    asyncio.run(whole())
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_an_inline_executor_never_suspends() -> None:
    async def work(executor: Executor) -> float | None:
        await executor.start()
        return (await executor.measure(await executor.prepare(KERNEL))).objective

    coroutine = work(EXECUTORS["inline"](Instant()))
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    assert ended.value.value == speed(KERNEL)
