"""Where kernels are built and measured. `open_executor` makes the one that a config names."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evo.config import Config
    from evo.executors.base import Executor
    from fitness.protocol import Evaluator

__all__ = ["devices_of", "open_executor"]


def open_executor(config: Config, factory: Callable[..., Evaluator], arguments: tuple[Any, ...], *, log: IO[Any] | None) -> Executor:
    """The executor that `config` names, not started yet; an evaluator that returns at once is called in this thread instead.

    Args:
        factory: makes the evaluator when called with `arguments`; both picklable.
        log: receives what worker processes print.

    Raises what the evaluator raises about the user's files and tools.
    """
    evaluator = factory(*arguments)
    if evaluator.inline or config.executor.name == "inline":
        from evo.executors.inline import InlineExecutor

        return InlineExecutor(evaluator)
    from evo.executors.local import LocalExecutor

    devices = devices_of(config.target.name, config.executor.devices)
    return LocalExecutor(evaluator, factory, arguments, builders=config.executor.builders, devices=devices, log=log)


def devices_of(target: str, wanted: int) -> list[str]:
    """What CUDA_VISIBLE_DEVICES says to each worker. Raises `TargetError` for more devices than there are."""
    from fitness.gpu.device import count_gpus
    from fitness.targets.base import TargetError
    from fitness.targets.registry import GPU

    if wanted == 1:
        return [""]
    there = count_gpus() if target in GPU else 1
    if wanted > there:
        raise TargetError(
            f"target {target} has not so many devices here",
            key="executor.devices", found=str(wanted), expected=f"at most {there}", remedy="Set it to what there is.",
        )  # fmt: skip
    listed = [each for each in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each]
    return listed[:wanted] if len(listed) >= wanted else [str(number) for number in range(wanted)]
