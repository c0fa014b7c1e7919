"""Coroutines run to their end from code that has no event loop, or another one."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from evo.executors.base import Executor

__all__ = ["drive", "outside_a_loop"]

T = TypeVar("T")


def drive(executor: Executor, work: Coroutine[Any, Any, T], *, loop: bool = False) -> T:
    """Runs a coroutine to its end: step by step where the executor is inline, so that nothing in it suspends, else in an event loop."""
    if loop or not executor.inline:
        return asyncio.run(work)
    try:
        work.send(None)
    except StopIteration as end:
        value: T = end.value
        return value
    work.close()
    raise RuntimeError("an inline executor suspended")


def outside_a_loop(work: Callable[[], T]) -> T:
    """Runs `work` here, or in a thread of its own where this one has an event loop already (a notebook)."""
    try:
        asyncio.get_running_loop()
        occupied = True
    except RuntimeError:
        occupied = False
    if not occupied:
        return work()
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="evo-run") as pool:
        return pool.submit(work).result()
