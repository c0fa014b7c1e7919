"""Whether outputs on the device are right: the rule of `fitness.verify`, in one pass of a device kernel per output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from archive.evaluation import Diagnostic
from fitness.gpu.cases import GpuCase
from fitness.gpu.slots import _INTEGER_WORDS, _NAN_WORDS, word_view
from fitness.problem import Problem
from fitness.verify import Limits, limits

__all__ = ["judge", "right"]

BLOCK = 4096


def right(problem: Problem, case: GpuCase, outputs: Sequence[Any]) -> Any:
    """A device scalar: whether every output is right, without slack. Does not wait for the device."""
    import torch

    verdicts = []
    for position, got in enumerate(outputs):
        argument = problem.outputs[position]
        if not argument.is_float:
            verdicts.append((word_view(got) == word_view(case.expected[position])).all())
            continue
        allowed = limits(problem, case.sizes, case.distribution, argument)
        measured = _measure(case, position, got, allowed, slack=None)
        verdicts.append(_holds(case, position, measured, allowed))
    return torch.stack(verdicts).all()


def _holds(case: GpuCase, position: int, measured: Any, allowed: Limits) -> Any:
    ok = measured[2] == 0
    if allowed.r is not None:
        error = (measured[1] / case.expected[position].numel()).sqrt()
        ok = ok & (error <= allowed.r * case.rms[position])
    return ok


def _measure(case: GpuCase, position: int, got: Any, allowed: Limits, slack: Any) -> Any:
    """(4,) float64 on the device: largest s, sum of squared errors, elements over the limit, elements of unequal finiteness."""
    import torch

    expected, half = case.expected[position], case.half_rms[position]
    count = expected.numel()
    cols = count // max(1, half.numel())
    if expected.dtype == torch.float64 or not got.is_cuda:
        flat = got.double().reshape(-1), expected.double().reshape(-1), half.double().repeat_interleave(cols)
        return _measure_double(*flat, allowed, slack, cols)
    from fitness.gpu import kernels

    blocks = -(-count // BLOCK)
    partial = torch.empty((blocks, 4), device="cuda", dtype=torch.float32)
    given = half if slack is None else slack.float()
    kernels.compare[(blocks,)](got, expected, half, given, partial, count, cols, allowed.s, HAS_SLACK=slack is not None, BLOCK=BLOCK)
    sums = partial[:, 1:].double().sum(dim=0)
    return torch.cat([partial[:, 0].max().double().reshape(1), sums])


def _measure_double(got: Any, expected: Any, half: Any, allowed: Limits, slack: Any, cols: int) -> Any:
    import torch

    both = torch.isfinite(got) & torch.isfinite(expected)
    bad = ~both & ~((got == expected) | (got.isnan() & expected.isnan()))
    error = torch.where(both, (got - expected).abs(), 0.0)
    if slack is not None:
        error = (error - slack.repeat_interleave(cols)).clamp(min=0.0)
    s = torch.where(error > 0, error / (expected.abs() + half), 0.0)
    return torch.stack([s.max(), error.square().sum(), ((s > allowed.s) | bad).sum().double(), bad.sum().double()])


def judge(problem: Problem, case: GpuCase, outputs: Sequence[Any], *, widened: float = 1.0) -> Diagnostic | None:
    """None when every output is right (with slack where it fails without), else the finding about the first that is not.

    widened: factor on the limits, for arithmetic that is known to be coarser than a device's.
    """
    for position, got in enumerate(outputs):
        argument = problem.outputs[position]
        if not argument.is_float:
            if not bool((word_view(got) == word_view(case.expected[position])).all()):
                return _finding(problem, case, position, got, None, "Integer outputs have to be exact.")
            continue
        given = limits(problem, case.sizes, case.distribution, argument)
        allowed = Limits(given.s * widened, None if given.r is None else given.r * widened)
        measured = _measure(case, position, got, allowed, None)
        if bool(_holds(case, position, measured, allowed)):
            continue
        if float(measured[3]) == 0:
            forgiven = _measure(case, position, got, allowed, case.slack[position])
            if bool(_holds(case, position, forgiven, allowed)):
                continue
            measured = forgiven
        largest, sum_e2, _beyond, _bad = measured.tolist()
        rms = float(case.rms[position])
        r = math.sqrt(sum_e2 / max(1, got.numel())) / rms if rms else 0.0
        rule = f"The largest error is {largest:.2e} of (|expected| + rms of its row / 2); {allowed.s:.2e} is allowed."
        if allowed.r is not None:
            rule += f" The rms error is {r:.2e} of the output's; {allowed.r:.1e} is allowed."
        return _finding(problem, case, position, got, allowed, rule)
    return None


def _finding(problem: Problem, case: GpuCase, position: int, got: Any, allowed: Limits | None, rule: str) -> Diagnostic:
    """Says where the output is wrong, and what of it was never written."""
    import torch

    argument, expected = problem.outputs[position], case.expected[position]
    words = _NAN_WORDS.get(argument.dtype, _INTEGER_WORDS[got.element_size()])
    unwritten = word_view(got) == words
    if allowed is None:
        wrong = got != expected
    else:
        half = case.half_rms[position].reshape(*expected.shape[:-1], 1) if expected.ndim else case.half_rms[position].reshape(())
        same = (got.float() == expected.float()) | (got.isnan() & expected.isnan())
        wrong = ~((got.float() - expected.float()).abs() <= allowed.s * (expected.float().abs() + half)) & ~same
    count, total, missing = int(wrong.sum()), got.numel(), int((unwritten & wrong).sum())
    flat = wrong.reshape(-1)
    index = int(torch.nonzero(flat)[0]) if count else int((got.double() - expected.double()).abs().reshape(-1).argmax())
    where, rest = [], index
    for extent in reversed(got.shape):
        where.append(rest % extent)
        rest //= extent
    where.reverse()
    held, wanted = got.reshape(-1)[index].item(), expected.reshape(-1)[index].item()
    parts = [
        f"Output `{argument.name}` is wrong on shape {case.label}, {case.distribution} data: {count} of {total} elements, first "
        f"{argument.name}{where}, which is {held:.6g}, expected {wanted:.6g}."
    ]
    reason = "wrong_values"
    if missing:
        reason = "not_written"
        parts.append(f"{missing} of them still hold the poison the output was filled with: every element has to be written in every call.")
    elif allowed is not None and not math.isfinite(held):
        reason = "non_finite"
        parts.append("Look for an overflow of exp, a division by zero or the square root of a negative number.")
    details = {
        "output": argument.name, "shape": case.label, "distribution": case.distribution, "index": where, "count": count, "total": total,
        "got": held if math.isfinite(held) else str(held), "expected": wanted if math.isfinite(wanted) else str(wanted),
        "unwritten": missing,
    }  # fmt: skip
    return Diagnostic("verify", reason, " ".join([*parts, rule]), details)
