"""Findings about wrong outputs, written for the person or model that will repair the kernel.

What compilers say is worded in `fitness.targets.compiler_messages`, how a runner died in `fitness.verdicts`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archive.evaluation import Diagnostic
from fitness.inputs import Case
from fitness.native import Comparison
from fitness.patterns import Pattern, kind_of_values, region, unwritten

__all__ = ["wrong_floats", "wrong_integers"]

Array = NDArray[Any]


def wrong_integers(case: Case, position: int, got: Array, count: int, first: int) -> Diagnostic:
    """The finding for an integer output of which `count` elements differ, the first at flat index `first`."""
    wrong = np.asarray(got != case.expected[position])
    wrong.reshape(-1)[first] = True  # booleans that hold neither 0 nor 1 differ only in their bits
    patterns = [region(wrong)]
    kind = kind_of_values(got, case.expected[position], wrong, case.inputs)
    facts = {"count": count, "total": got.size}
    return _finding(case, position, got, first, "wrong_values", [kind, *patterns], facts, "Integer outputs have to be exact.")


def wrong_floats(
    case: Case,
    position: int,
    got: Array,
    comparison: Comparison,
    *,
    slack: NDArray[np.float64] | None,
    s_limit: float,
    r: float,
    r_limit: float | None,
) -> Diagnostic:
    """The finding for a float output that failed `comparison`, which was made with `slack` (rows,)."""
    expected = case.expected[position]
    wrong = _wrong(case, position, got, s_limit, slack)
    poison = unwritten(got)
    facts: dict[str, object] = {"count": comparison.beyond, "total": got.size, "s_limit": s_limit}
    if math.isfinite(comparison.max_s):
        facts["s"] = comparison.max_s
    if poison.any():
        return _unwritten(case, position, got, poison, facts)
    if comparison.mismatched:
        mask = np.isfinite(got) != np.isfinite(expected)
        held = got.reshape(-1)[comparison.first_mismatched]
        kind = "NaN" if np.isnan(held) else "infinite" if np.isinf(held) else "finite"
        nans, infinities = int(np.isnan(got).sum()), int(np.isinf(got).sum())
        what = f"{comparison.mismatched} elements are not finite where they should be, or the reverse ({nans} NaN, {infinities} infinite)."
        hint = "Look for an overflow of exp, a division by zero or the square root of a negative number."
        patterns = [Pattern(f"{kind.lower()}_values", what), region(mask) if mask.any() else None]
        return _finding(case, position, got, comparison.first_mismatched, "non_finite", patterns, facts, hint)
    if comparison.beyond == 0:
        facts |= {"r": r, "r_limit": r_limit}
        wrong = np.ones(got.shape, np.bool_)
        rule = f"No single element is over its limit, but their rms error relative to the output's is {r:.2e}; {r_limit:.1e} is allowed."
        index = max(comparison.worst, 0)
        return _finding(case, position, got, index, "wrong_values", [kind_of_values(got, expected, wrong, case.inputs)], facts, rule)
    rule = f"The largest error is {comparison.max_s:.2e} of (|expected| + rms of its row / 2); {s_limit:.2e} is allowed."
    kinds = [kind_of_values(got, expected, wrong, case.inputs), region(wrong)]
    index = comparison.worst if comparison.worst >= 0 else comparison.first
    return _finding(case, position, got, index, "wrong_values", kinds, facts | {"first": comparison.first}, rule)


def _wrong(case: Case, position: int, got: Array, limit: float, slack: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    """Mask of elements over the limit; never empty, though float64 here may round a borderline element to the other side."""
    expected = case.expected[position].astype(np.float64)
    half = case.half_rms[position]
    with np.errstate(all="ignore"):
        error = np.abs(got.astype(np.float64) - expected).reshape(half.size, -1)
        if slack is not None:
            error -= slack[:, None]
        wrong = ~(error <= limit * (np.abs(expected).reshape(half.size, -1) + half[:, None]))
    same = (np.isnan(got) & np.isnan(expected)) | (got == expected)
    mask = np.asarray(wrong.reshape(got.shape) & ~same)
    if not mask.any():
        mask.reshape(-1)[int(np.nanargmax(error))] = True
    return mask


def _unwritten(case: Case, position: int, got: Array, poison: NDArray[np.bool_], facts: dict[str, object]) -> Diagnostic:
    count = int(poison.sum())
    first = int(np.flatnonzero(poison)[0])
    name = case.problem.outputs[position].name
    if count == got.size:
        pattern = Pattern("nothing_written", f"Nothing was written to `{name}`: all of it still holds the poison it was filled with.")
    else:
        where = region(poison).text.replace("are wrong", "were never written").replace("is wrong", "was never written")
        pattern = Pattern("partly_written", f"{count} of {got.size} elements still hold the poison the output was filled with. {where}")
    hint = "Every element has to be written in every call; check the loop bounds for shapes that no tile divides."
    return _finding(case, position, got, first, "not_written", [pattern, region(poison)], facts | {"unwritten": count}, hint)


def _finding(
    case: Case, position: int, got: Array, index: int, reason: str, patterns: list[Pattern | None], facts: dict[str, Any], rule: str
) -> Diagnostic:
    name = case.problem.outputs[position].name
    where = [int(i) for i in np.unravel_index(index, got.shape)]
    held, wanted = got.reshape(-1)[index].item(), case.expected[position].reshape(-1)[index].item()
    found = [pattern for pattern in patterns if pattern is not None]
    texts = list(dict.fromkeys(pattern.text for pattern in found if reason != "not_written" or pattern is found[0]))
    message = (
        f"Output `{name}` is wrong on shape {case.label}, {case.distribution} data: "
        f"{name}{where} is {_shown(held)}, expected {_shown(wanted)}. {' '.join(texts)} {rule}"
    )
    details = {
        "output": name,
        "shape": case.label,
        "distribution": case.distribution,
        "index": where,
        "expected": _plain(wanted),
        "got": _plain(held),
        "patterns": [pattern.name for pattern in found],
        **facts,
    }
    return Diagnostic("verify", reason, " ".join(message.split()), details)


def _shown(value: object) -> str:
    return f"{value:.9g}" if isinstance(value, float) else str(value)


def _plain(value: object) -> object:
    """JSON has no NaN and no infinity."""
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)
