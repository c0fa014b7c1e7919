"""What a reader is told about wrong outputs: where, what, and the pattern behind it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fitness.inputs import make_case
from fitness.native import library
from fitness.problem import Problem
from fitness.rounding import round_mantissa
from fitness.verify import judge

SIZES = {"rows": 40, "cols": 96}


def told(name: str, damage, sizes=None, distribution: str = "normal"):
    problem = Problem.load(name)
    case = make_case(problem, sizes or SIZES, distribution)
    right = [expected.astype(output.dtype) for output, expected in zip(problem.outputs, case.expected, strict=True)]
    y = right[0].copy()
    changed = damage(y, case)
    finding = judge(problem, case, [y if changed is None else np.ascontiguousarray(changed, dtype=np.float32)])
    assert finding is not None and finding.stage == "verify"
    json.dumps(finding.details, allow_nan=False)
    assert finding.details["shape"] == case.label and case.label in finding.message
    assert finding.details["distribution"] == distribution and distribution in finding.message
    return finding


def put(place, value):
    def damage(y, case):
        y[place] = value

    return damage


def poisoned(place):
    def damage(y, case):
        poison = np.empty_like(y)
        library().poison(poison)
        y[place] = poison[place]

    return damage


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        ("zeros", lambda y, c: 0 * y),
        ("constant", lambda y, c: 0 * y + 0.25),
        ("copied_input", lambda y, c: c.inputs[0]),
        ("constant_factor", lambda y, c: 2 * y),
        ("constant_offset", lambda y, c: y + 3),
        ("factor_per_row", lambda y, c: y * (1 + 0.1 * np.arange(40))[:, None]),
        ("wrong_row", lambda y, c: np.roll(y, 1, axis=0)),
        ("shifted", lambda y, c: np.roll(y, -1, axis=1)),
        ("reversed", lambda y, c: y[::-1, ::-1]),
        ("coarse_values", lambda y, c: round_mantissa(y, 7)),
        ("imprecise", lambda y, c: y * (1 + 1e-4 * np.sin(np.arange(96)))),
    ],
)
def test_what_the_elements_hold_is_recognised(pattern, damage):
    assert pattern in told("layernorm", damage).details["patterns"]


def test_a_transposed_result_is_recognised():
    assert "transposed" in told("matmul", lambda y, c: y.T, {"m": 48, "n": 48, "k": 20}).details["patterns"]


@pytest.mark.parametrize(
    ("pattern", "place", "says"),
    [
        ("one_element", (3, 5), "Exactly one element"),
        ("tail_of_rows", np.s_[:, 64:], "from column 64 to the end (32 of 96"),
        ("last_rows", np.s_[32:], "last 8 of 40 rows"),
        ("last_tile", np.s_[32:, 80:], "rows from 32, columns from 80"),
        ("block", np.s_[8:16, 16:32], "rows 8 to 15, columns 16 to 31"),
        ("whole_rows", np.s_[1::3], "13 of 40 rows"),
        ("everything", np.s_[:], "All 3840 elements"),
        ("some_rows", ([3, 3, 7, 9], [1, 50, 60, 2]), "3 of 40 rows"),
    ],
)
def test_where_the_elements_lie_is_recognised(pattern, place, says):
    finding = told("layernorm", put(place, 1234.5))
    assert pattern in finding.details["patterns"] and says in finding.message


def test_a_regular_stride_is_recognised():
    finding = told("layernorm", lambda y, c: np.where(np.arange(y.size).reshape(y.shape) % 7 == 3, 50, y))
    assert "every_nth" in finding.details["patterns"] and "Every 7th element" in finding.message


def test_the_worst_element_is_named_with_both_values():
    finding = told("layernorm", put((7, 11), 1e6))
    assert finding.reason == "wrong_values"
    assert finding.details["index"] == [7, 11] and finding.details["got"] == 1e6 and finding.details["count"] == 1
    assert f"y[7, 11] is 1000000, expected {finding.details['expected']:.9g}" in finding.message


@pytest.mark.parametrize(("value", "pattern"), [(np.nan, "nan_values"), (np.inf, "infinite_values")])
def test_values_that_are_not_finite_are_counted_and_placed(value, pattern):
    finding = told("softmax", put(np.s_[:, 90:], value))
    assert finding.reason == "non_finite" and {pattern, "tail_of_rows"} <= set(finding.details["patterns"])
    assert "240 elements" in finding.message and finding.details["index"] == [0, 90] and finding.details["got"] == str(value)


@pytest.mark.parametrize(
    ("place", "pattern", "says"),
    [
        (np.s_[:], "nothing_written", "Nothing was written to `y`"),
        (np.s_[:, 80:], "tail_of_rows", "from column 80 to the end"),
        (np.s_[39:], "last_rows", "were never written"),
        ((3, 4), "one_element", "Exactly one element was never written"),
    ],
)
def test_what_was_never_written_is_told_from_a_wrong_value(place, pattern, says):
    finding = told("softmax", poisoned(place))
    assert finding.reason == "not_written" and pattern in finding.details["patterns"] and says in finding.message


def test_a_nan_that_the_kernel_computed_is_not_taken_for_an_unwritten_element():
    with np.errstate(all="ignore"):
        computed = np.float32(np.inf) - np.float32(np.inf)
    assert told("softmax", put((0, 0), computed)).reason == "non_finite"


def test_a_finding_on_a_full_shape_is_complete_too():
    finding = told("transpose", put(np.s_[1000:, 2000:], 0), {"rows": 2500, "cols": 1030})
    assert {"zeros", "last_tile"} <= set(finding.details["patterns"])
