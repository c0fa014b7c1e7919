"""Whether outputs on the device are right: the rule of `fitness.verify`, in one pass of a device kernel per output."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from archive.evaluation import Diagnostic
from fitness.gpu.cases import GpuCase
from fitness.gpu.slots import _INTEGER_WORDS, _NAN_WORDS, GpuSlot, word_view
from fitness.problem import Problem
from fitness.verify import Limits, limits

__all__ = ["judge", "measured", "verdicts"]

BLOCK = 4096
PROGRAMS = 1056
"""Of the kernels that loop: enough for every multiprocessor of a large device."""
NARROW = (1 << 31) - (1 << 24)
"""Elements that 32-bit indices reach, with room for one step of the loop."""


def verdicts(problem: Problem, cases: Sequence[GpuCase], slots: Sequence[GpuSlot]) -> tuple[list[bool], list[bool]]:
    """(whether inputs and guards are as they were, whether outputs are right without slack), a case each: one wait for the device."""
    import torch

    from fitness.gpu import kernels

    n = len(cases)
    touched = _counters(n)
    regions = torch.cat([slot.regions for slot in slots])
    kernels.guarded[(len(regions),)](regions, touched, PER_SLOT=len(regions) // n, BLOCK=4096)
    right_ones = [torch.ones(n, dtype=torch.bool, device="cuda")]
    for number, (case, slot) in enumerate(zip(cases, slots, strict=True)):
        for mine, given in zip(slot.inputs, case.inputs, strict=True):
            _differ(mine, given, touched[number])
    for position, argument in enumerate(problem.outputs):
        sample = cases[0].expected[position]
        if argument.is_float and (sample.dtype == torch.float64 or sample.numel() > NARROW):
            right_ones.append(torch.stack([_one_right(problem, case, position, slot) for case, slot in zip(cases, slots, strict=True)]))
            continue
        if not argument.is_float:
            unequal = _counters(n)
            for number, (case, slot) in enumerate(zip(cases, slots, strict=True)):
                _differ(slot.outputs[position], case.expected[position], unequal[number])
            right_ones.append(unequal[:, 0] == 0)
            continue
        found = torch.zeros((n, 2), dtype=torch.float64, device="cuda")
        rule: Limits | None = None
        for number, (case, slot) in enumerate(zip(cases, slots, strict=True)):
            rule = limits(problem, case.sizes, case.distribution, argument)
            expected, half = case.expected[position], case.half_rms[position]
            count = expected.numel()
            programs = max(1, min(PROGRAMS, -(-count // BLOCK)))
            cols, got = count // max(1, half.numel()), slot.outputs[position]
            kernels.accept[(programs,)](got, expected, half, found[number], count, cols, rule.s, BLOCK=BLOCK, num_warps=8)
        good = found[:, 1] == 0
        if rule is not None and rule.r is not None:  # one for all distributions: it comes from the declared precision
            rms = torch.stack([case.rms[position] for case in cases])
            good &= (found[:, 0] / max(1, cases[0].expected[position].numel())).sqrt() <= rule.r * rms
        right_ones.append(good)
    both = torch.stack([touched[:, 0] == 0, torch.stack(right_ones).all(dim=0)]).tolist()
    return both[0], both[1]


def _counters(n: int) -> Any:
    """(n, 4) zeros, of which the first of each row counts: rows are aligned alike, so the kernels are compiled once."""
    import torch

    return torch.zeros((n, 4), dtype=torch.int32, device="cuda")


def _one_right(problem: Problem, case: GpuCase, position: int, slot: GpuSlot) -> Any:
    allowed = limits(problem, case.sizes, case.distribution, problem.outputs[position])
    return _holds(case, position, _measure(case, position, slot.outputs[position], allowed, slack=None), allowed)


def _differ(left: Any, right: Any, found: Any) -> None:
    """Counts unequal words of two tensors of one type into found[0]."""
    from fitness.gpu import kernels

    one, other = _widest(left), _widest(right)
    if one.numel() > NARROW:
        found[0] += (one != other).sum().int()
    elif one.numel():
        kernels.differ[(min(PROGRAMS, -(-one.numel() // BLOCK)),)](one, other, found, one.numel(), BLOCK=BLOCK, num_warps=8)


def _widest(tensor: Any) -> Any:
    """The same memory, flat, as 32-bit integers where its length allows."""
    import torch

    flat = word_view(tensor).reshape(-1)
    return flat.view(torch.int32) if flat.numel() * flat.element_size() % 4 == 0 and flat.data_ptr() % 4 == 0 else flat


def _holds(case: GpuCase, position: int, measured: Any, allowed: Limits) -> Any:
    ok = measured[2] == 0
    if allowed.r is not None:
        error = (measured[1] / case.expected[position].numel()).sqrt()
        ok = ok & (error <= allowed.r * case.rms[position])
    return ok


def measured(case: GpuCase, position: int, got: Any, allowed: Limits) -> Any:
    """A device scalar: the largest error of an output relative to |y| + rms / 2 of its row, without slack."""
    return _measure(case, position, got, allowed, None)[0]


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
        right = False
        for slack in ("slack", "wider_slack") if float(measured[3]) == 0 else ():  # each costs references
            measured = _measure(case, position, got, allowed, getattr(case, slack)[position])
            right = bool(_holds(case, position, measured, allowed))
            if right:
                break
        if right:
            continue
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
