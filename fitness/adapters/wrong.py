"""Kernels that are wrong for every problem: what the lint of a foreign problem tries, computed with the problem's own reference."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fitness.adapters.foreign import AS_DRAWN
from fitness.problem import Problem, shape_label

__all__ = ["Wrong", "coarse_kernels", "finds", "wrong_kernels"]

SHARE = 0.01
"""Of an input that a wrong kernel ignores."""

Wrong = Callable[[Any], list[Any]]


def _rounded(case: Any) -> list[Any]:
    import torch

    return [each.to(getattr(torch, a.dtype), copy=True) for a, each in zip(case.problem.outputs, case.expected, strict=True)]


def finds(problem: Problem, case: Any, wrong: Wrong) -> bool:
    from fitness.gpu import compare

    return compare.judge(problem, case, wrong(case)) is not None


def wrong_kernels(problem: Problem) -> Iterator[tuple[str, Wrong, str]]:
    import torch

    yield "a kernel that writes zeros", lambda case: [torch.zeros_like(each) for each in _rounded(case)], "the outputs are always 0"
    if any(argument.elements(problem.shapes[0]) > 1 for argument in problem.outputs):
        yield "a kernel that writes one constant", _constant, "the outputs are the same everywhere"
    if any(a.shape(problem.shapes[0]) == problem.outputs[0].shape(problem.shapes[0]) for a in problem.inputs):
        yield "a kernel that copies an input", _copied, "on these data there is nothing to compute"
    yield "the answer to other data", _stale, "the outputs do not depend on the inputs"
    assert problem.foreign is not None
    one, other = (problem.foreign.drawn(shape_label(problem.shapes[0]), "cpu", seed) for seed in (1, 2))
    for position, argument in enumerate(problem.inputs):
        if torch.equal(one[position], other[position]):
            continue  # the same in every draw: there are no other data of it
        yield (
            f"a kernel that ignores 1 % of {argument.name} ({list(argument.shape(problem.shapes[0]))})",
            lambda case, position=position: _redrawn(case, position, SHARE),  # type: ignore[misc]
            _why_ignored(problem, position),
        )


def _constant(case: Any) -> list[Any]:
    import torch

    return [torch.full_like(each, each.double().mean().item() if each.is_floating_point() else each.double().mean().round().item())
            if each.numel() else each for each in _rounded(case)]  # fmt: skip


def _copied(case: Any) -> list[Any]:
    outputs = _rounded(case)
    for output in outputs:
        source = next((each for each in case.inputs if each.shape == output.shape), None)
        if source is not None:
            output.copy_(source)
    return outputs


def _other(case: Any) -> list[Any]:
    """Other data of the same shape and distribution."""
    foreign = case.problem.foreign
    return list(foreign.varied(case.label, case.distribution, "cpu", int.from_bytes(os.urandom(6), "little")))


def _answer(case: Any, inputs: Sequence[Any]) -> list[Any]:
    import torch

    results = case.problem.foreign.reference(*[each.double() if each.is_floating_point() else each for each in inputs])
    return [each.to(getattr(torch, a.dtype)) for a, each in zip(case.problem.outputs, results, strict=True)]


def _stale(case: Any) -> list[Any]:
    return _answer(case, _other(case))


def _redrawn(case: Any, position: int, share: float) -> list[Any]:
    """Right for inputs of which a share (one element at least) was drawn again."""
    import torch

    changed, fresh = case.inputs[position].clone(), _other(case)[position]
    count = max(1, round(share * changed.numel()))
    places = torch.randperm(changed.numel())[:count]
    changed.view(-1)[places] = fresh.reshape(-1)[places]
    return _answer(case, [changed if number == position else each for number, each in enumerate(case.inputs)])


def _why_ignored(problem: Problem, position: int) -> str:
    """Whether the outputs depend on that input at all; found out when it matters."""
    return _Late(problem, position)  # type: ignore[return-value]


class _Late:
    """A reason that costs something to find out."""

    def __init__(self, problem: Problem, position: int) -> None:
        self._problem, self._position = problem, position

    def __str__(self) -> str:
        from fitness.gpu.cases import make_case

        case = make_case(self._problem, self._problem.shapes[0], AS_DRAWN, device="cpu")
        if finds(self._problem, case, lambda case: _redrawn(case, self._position, 1.0)):
            return "a part of that input hardly shows in the outputs"
        return "the outputs do not depend on that input"


def coarse_kernels(problem: Problem) -> Iterator[tuple[str, Wrong]]:
    import torch

    if problem.compute_dtype == "float32" and any(argument.is_float for argument in problem.inputs):
        yield (
            "a kernel that rounds its inputs to bfloat16",
            lambda case: _answer(case, [x.to(torch.bfloat16).to(x.dtype) if x.is_floating_point() else x for x in case.inputs]),
        )
