"""Trying again when the evaluator fails, not the kernel: a bounded number of times, and never held against the kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from archive.evaluation import Diagnostic, Evaluation, Outcome
from evo.executors.base import ExecutorError
from fitness.protocol import Duel, Prepared

__all__ = ["ATTEMPTS", "Persistent", "insist"]

ATTEMPTS = 3
PAUSE = 0.2
"""Seconds before the second attempt, doubled before each further one; whatever is short (memory, a device) may come back."""

T = TypeVar("T", Prepared, Evaluation, Duel)


class Persistent(Exception):
    """Every attempt failed. Carries what the last one said."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


async def insist(stage: str, call: Callable[[], Awaitable[T]], *, pause: bool) -> T:
    """The answer of `call`, tried up to `ATTEMPTS` times while it raises `ExecutorError` or answers `infrastructure_error`.

    Args:
        stage: of the cascade, for the diagnostic.
        pause: whether to wait between attempts (needs an event loop).

    Raises:
        Persistent: no attempt succeeded.
    """
    trouble: Diagnostic | None = None
    for attempt in range(ATTEMPTS):
        if attempt and pause:
            await asyncio.sleep(PAUSE * 2 ** (attempt - 1))
        try:
            answer = await call()
        except ExecutorError as error:
            first = str(error).partition("\n")[0]
            trouble = Diagnostic(
                stage, "evaluator_error", f"the evaluator failed, not the kernel: {first}", {"traceback": str(error)[-4000:]}
            )
            continue
        trouble = _trouble(stage, answer)
        if trouble is None:
            return answer
    assert trouble is not None
    raise Persistent(trouble)


def _trouble(stage: str, answer: Prepared | Evaluation | Duel) -> Diagnostic | None:
    """What an answer says of the evaluator's own failure; None when it is about the kernel."""
    if isinstance(answer, Evaluation):
        evaluations: tuple[Evaluation, ...] = (answer,)
    elif isinstance(answer, Prepared):
        evaluations = () if answer.failed is None else (answer.failed,)
    else:
        evaluations = (answer.challenger, answer.incumbent)
    for evaluation in evaluations:
        if evaluation.outcome is Outcome.INFRASTRUCTURE_ERROR:
            return (
                evaluation.diagnostics[0]
                if evaluation.diagnostics
                else Diagnostic(stage, "evaluator_error", "the evaluator failed, not the kernel")
            )
    return None
