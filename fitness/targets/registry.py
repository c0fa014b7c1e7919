"""Targets by name."""

from __future__ import annotations

from collections.abc import Callable

from fitness.protocol import EvaluationSettings
from fitness.targets.base import Target, TargetError

__all__ = ["GPU", "open_target", "target_names"]


def _cpp(settings: EvaluationSettings) -> Target:
    from fitness.targets.cpp import CppTarget

    return CppTarget(settings)


def _triton(settings: EvaluationSettings) -> Target:
    from fitness.targets.triton import TritonTarget

    return TritonTarget(settings)


def _cuda(settings: EvaluationSettings) -> Target:
    from fitness.targets.cuda import CudaTarget

    return CudaTarget(settings)


_TARGETS: dict[str, Callable[[EvaluationSettings], Target]] = {"cpp": _cpp, "triton": _triton, "cuda": _cuda}
GPU = ("triton", "cuda")
"""Targets whose kernels run on a GPU."""


def target_names() -> tuple[str, ...]:
    """Every target that kernels can be built for, and `tabular`, which looks them up instead."""
    return (*_TARGETS, "tabular")


def open_target(name: str, settings: EvaluationSettings | None = None) -> Target:
    """The target of that name, ready to build. Raises `TargetError` (unknown name, no compiler)."""
    if name not in _TARGETS:
        raise TargetError(
            "There is no such target.",
            key="target",
            found=name,
            expected=f"one of {', '.join(sorted(_TARGETS))}, or tabular for a recorded space",
            remedy="Correct the name.",
        )
    return _TARGETS[name](settings or EvaluationSettings())
