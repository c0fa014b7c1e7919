"""Whether outputs are right: the rule of the evaluation protocol, in one streaming pass per output.

With e the error, y the float64 reference, `s = max |e| / (|y| + rms(y over its last axis) / 2)`, `r = rms(e) / rms(y)` and n the
longest accumulation:

- float32: s <= max(1e-5, 8 sqrt(n) 2^-24) on normal, uniform and x0.01 data; s <= clip(n 2^-24, 1e-5, 1e-3) on the others.
- tf32, float16, bfloat16 where the problem declares them: fixed limits on s and r.
- float64: the float32 limits times 2^-28 (2^-29, and a bit for the reference's own rounding).
- Integers exact. Finite masks are compared before values; an infinity must have its sign, a NaN be a NaN.

Where an output fails so, the case's slack (what the inputs' own rounding does to the reference) is subtracted from |e| and it is
judged once more: ill-conditioning is forgiven, lost precision is not. Where a 16-bit format is declared and r holds, what rounding the
inputs to it does to a row is subtracted, too, but not on normal, uniform and x0.01 data: no terms larger than their sum cancel there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archive.evaluation import Diagnostic
from fitness import diagnose
from fitness.argument import Argument
from fitness.inputs import Case
from fitness.native import NativeLibrary, library
from fitness.problem import COMPUTE_DTYPES, Problem, Sizes

__all__ = ["Limits", "Verdict", "agree", "examine", "judge", "limits"]

Array = NDArray[Any]

WELL_CONDITIONED = ("normal", "uniform", "x0.01")
LOW_PRECISION = {"tf32": (1e-2, 6e-4), "float16": (5e-3, 5e-4), "bfloat16": (4e-2, 3.5e-3)}
"""(s, r) by declared precision."""
DOUBLE = 2.0**-28
DECLARED_FACTOR = 2.0
"""Twelve draws may all miss what an honest rounding happens to do."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an output's error may reach."""

    s: float
    """Largest error of an element, relative to |y| + rms/2 of its row."""
    r: float | None = None
    """Root mean square of the error relative to that of the reference; None where s alone decides."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a look at a case's outputs found."""

    wrong: Diagnostic | None
    """None when every output is right."""
    error: float
    """Largest s of an element as a share of its limit, over the outputs that were looked at: 1 is as far off as is allowed, integers
    are 0 off."""


def limits(problem: Problem, sizes: Sizes, distribution: str, output: Argument) -> Limits:
    """Limits for one float output: those of the coarser of its own format and the declared compute dtype."""
    precision = problem.compute_dtype
    if output.dtype in COMPUTE_DTYPES and COMPUTE_DTYPES.index(output.dtype) > COMPUTE_DTYPES.index(precision):
        precision = output.dtype
    if precision in LOW_PRECISION:
        return Limits(*LOW_PRECISION[precision])
    n = problem.accumulation(sizes)
    unit = 2.0**-24
    s = max(1e-5, 8 * math.sqrt(n) * unit) if distribution in WELL_CONDITIONED else min(max(n * unit, 1e-5), 1e-3)
    return Limits(s * DOUBLE if precision == "float64" else s)


def judge(problem: Problem, case: Case, outputs: Sequence[Array]) -> Diagnostic | None:
    """None when every output of the case is right, else the finding about the first that is not; see `examine`."""
    return examine(problem, case, outputs).wrong


def examine(problem: Problem, case: Case, outputs: Sequence[Array]) -> Verdict:
    """Looks at the outputs in turn, up to the first that is wrong. The error comes with the verdict, at no cost of its own.

    Args:
        outputs: in ABI order; read only. Memory that another process could still write must be frozen by the caller.
    """
    if len(outputs) != len(problem.outputs):
        return Verdict(Diagnostic("verify", "wrong_layout", f"{len(outputs)} outputs; {len(problem.outputs)} are expected"), 0.0)
    native = library()
    largest = 0.0
    for position, (argument, got) in enumerate(zip(problem.outputs, outputs, strict=True)):
        wrong = _layout(argument, case.sizes, got)
        if wrong is None and argument.is_float:
            verdict = _floats(problem, case, position, got, native)
            wrong, largest = verdict.wrong, max(largest, verdict.error)
        elif wrong is None:
            wrong = _exact(case, position, argument, got, native)
        if wrong is not None:
            return Verdict(wrong, largest)
    return Verdict(None, largest)


def agree(problem: Problem, case: Case, first: Sequence[Array], second: Sequence[Array]) -> Diagnostic | None:
    """Whether two calls on the same case gave the same: within the limits of the case, bit by bit where the problem is `deterministic`.

    `first` must have been judged right.
    """
    native = library()
    for position, (argument, one, other) in enumerate(zip(problem.outputs, first, second, strict=True)):
        count, index = native.differing(one, other)
        if count == 0:
            continue
        if argument.is_float and not problem.deterministic:
            wrong = _floats(problem, case, position, other, native).wrong
            if wrong is None:
                continue
        where = tuple(map(int, np.unravel_index(index, one.shape)))
        rule = "bit for bit (the problem is deterministic)" if problem.deterministic else "within the limits"
        message = (
            f"Two calls on the same inputs differ in {count} of {one.size} elements of `{argument.name}`, first at {list(where)}: "
            f"{one[where]} and {other[where]}; they have to agree {rule}. Look for a race, uninitialised memory or state kept."
        )
        details = {"output": argument.name, "shape": case.label, "distribution": case.distribution, "index": list(where), "count": count}
        return Diagnostic("verify", "not_repeatable", message, details)
    return None


def _layout(argument: Argument, sizes: Sizes, got: Any) -> Diagnostic | None:
    shape = argument.shape(sizes)
    if type(got) is np.ndarray and got.shape == shape and got.dtype == np.dtype(argument.dtype) and got.flags.c_contiguous:
        return None
    found = f"{got.dtype}{list(got.shape)} with strides {list(got.strides)}" if isinstance(got, np.ndarray) else type(got).__name__
    message = f"Output `{argument.name}` is {found}; {argument.dtype}{list(shape)}, contiguous, is expected."
    return Diagnostic("verify", "wrong_layout", message, {"output": argument.name})


def _exact(case: Case, position: int, argument: Argument, got: Array, native: NativeLibrary) -> Diagnostic | None:
    count, first = native.differing(got, case.expected[position])
    return None if count == 0 else diagnose.wrong_integers(case, position, got, count, first)


def _floats(problem: Problem, case: Case, position: int, got: Array, native: NativeLibrary) -> Verdict:
    allowed = limits(problem, case.sizes, case.distribution, problem.outputs[position])
    expected = case.expected[position]
    values = got.astype(np.float32) if got.dtype == np.float16 else got
    comparison = native.compare(values, expected, case.half_rms[position], None, allowed.s)
    right = comparison.beyond == 0 and _r_holds(comparison.sum_e2, case, position, allowed)
    slack = None
    for each in ("slack", "wider_slack"):  # each costs references, and can only make the verdict milder
        if right or comparison.mismatched:
            break
        slack = getattr(case, each)[position]
        comparison = native.compare(values, expected, case.half_rms[position], slack, allowed.s)
        right = comparison.beyond == 0 and _r_holds(comparison.sum_e2, case, position, allowed)
    if slack is not None and comparison.beyond and _terms_may_cancel(case) and _r_holds(comparison.sum_e2, case, position, allowed):
        slack = np.maximum(slack, DECLARED_FACTOR * case.declared_shift[position])
        comparison = native.compare(values, expected, case.half_rms[position], slack, allowed.s)
        right = comparison.beyond == 0
    error = comparison.max_s / allowed.s
    if right:
        return Verdict(None, error)
    r = _r(comparison.sum_e2, case, position)
    found = diagnose.wrong_floats(case, position, got, comparison, slack=slack, s_limit=allowed.s, r=r, r_limit=allowed.r)
    return Verdict(found, error)


def _terms_may_cancel(case: Case) -> bool:
    """Where inputs may be rounded to a declared 16-bit format, large terms that cancel leave more of it in single elements than s allows:
    one honest matrix product in thirty failed on x100 data, by up to nine times the limit. What rounding them does is forgiven there,
    once r, which knows how precise all elements are together, holds without that."""
    return case.problem.compute_dtype in LOW_PRECISION and case.distribution not in WELL_CONDITIONED


def _r(sum_e2: float, case: Case, position: int) -> float:
    error = math.sqrt(sum_e2 / max(1, case.expected[position].size))
    return error / case.rms[position] if case.rms[position] > 0 else (0.0 if error == 0 else math.inf)


def _r_holds(sum_e2: float, case: Case, position: int, allowed: Limits) -> bool:
    return allowed.r is None or _r(sum_e2, case, position) <= allowed.r
