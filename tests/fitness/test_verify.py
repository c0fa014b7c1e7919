"""The verdict on outputs: limits by precision and distribution, finiteness before values, exact integers, exact layout."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from fitness.argument import Argument
from fitness.inputs import make_case
from fitness.native import library
from fitness.problem import Problem
from fitness.verify import agree, examine, judge, limits

SIZES = {"rows": 12, "cols": 300}
UNIT = 2.0**-24


def problem(reference=lambda x: x, *, storage="float32", output="float32", compute="float32", longest=1, deterministic=False) -> Problem:
    return Problem(
        name="made", folder=Path("/made"), specification="made", sizes=("rows", "cols"),
        inputs=(Argument("x", storage, ("rows", "cols"), "data"),), outputs=(Argument("y", output, ("rows", "cols"), "output"),),
        shapes=(SIZES,), small_shapes=(SIZES,), held_out_shapes=(), version="", compute_dtype=compute, deterministic=deterministic,
        hooks={"reference": reference, "accumulation": lambda rows, cols: longest},
    )  # fmt: skip


def right(case):
    return [expected.astype(argument.dtype) for argument, expected in zip(case.problem.outputs, case.expected, strict=True)]


@pytest.mark.parametrize(
    ("compute", "output", "n", "distribution", "s", "r"),
    [
        ("float32", "float32", 1, "normal", 1e-5, None),
        ("float32", "float32", 16384, "uniform", 8 * 128 * UNIT, None),
        ("float32", "float32", 16384, "x0.01", 8 * 128 * UNIT, None),
        ("float32", "float32", 1, "x100", 1e-5, None),
        ("float32", "float32", 1024, "sparse", 1024 * UNIT, None),
        ("float32", "float32", 10**6, "integer", 1e-3, None),
        ("tf32", "float32", 4096, "normal", 1e-2, 6e-4),
        ("float16", "float32", 4096, "x100", 5e-3, 5e-4),
        ("bfloat16", "float32", 4096, "sparse", 4e-2, 3.5e-3),
        ("float32", "float16", 4096, "normal", 5e-3, 5e-4),
        ("bfloat16", "float16", 4096, "normal", 4e-2, 3.5e-3),
        ("float64", "float32", 1, "normal", 1e-5, None),
        ("float64", "float64", 1, "normal", 1e-5 * 2.0**-28, None),
    ],
)
def test_limits_follow_the_coarser_of_output_format_and_declared_precision(compute, output, n, distribution, s, r):
    made = problem(output=output, compute=compute, longest=n)
    found = limits(made, SIZES, distribution, made.outputs[0])
    assert found.s == pytest.approx(s) and found.r == r


@pytest.mark.parametrize("share", [0.9, 1.1])
def test_the_error_may_reach_the_limit_and_no_more(share):
    made = problem(lambda x: x * 0 + 4 * np.sign(x))
    case = make_case(made, SIZES, "normal")
    outputs = right(case)
    outputs[0][3, 7] *= 1 + share * 1e-5 * 1.5  # |y| + rms/2 is 6 everywhere
    assert (judge(made, case, outputs) is None) == (share < 1)


@pytest.mark.parametrize("share", [0.0, 0.5, 3.0])
def test_the_error_is_told_as_a_share_of_the_tolerance_right_or_wrong(share):
    made = problem(lambda x: x * 0 + 4 * np.sign(x))
    case = make_case(made, SIZES, "normal")
    outputs = right(case)
    outputs[0][3, 7] *= 1 + share * 1e-5 * 1.5
    verdict = examine(made, case, outputs)
    assert verdict.error == pytest.approx(share, abs=0.02) and (verdict.wrong is None) == (share < 1)


def test_the_tolerance_follows_the_scale_of_each_row_not_of_the_whole_output():
    made = problem(lambda x: x * np.where(np.arange(12) == 5, 1e-6, 1)[:, None])
    case = make_case(made, SIZES, "normal")
    outputs = right(case)
    outputs[0][5] = 0
    assert judge(made, case, outputs) is not None


def test_ill_conditioning_is_forgiven_and_the_same_error_elsewhere_is_not():
    def steep(x):
        return np.sin(1e3 * x)

    made, flat = problem(steep), problem()
    case = make_case(made, SIZES, "normal")
    kernel = np.sin((np.float32(1e3) * case.inputs[0]).astype(np.float32))
    assert library().compare(kernel, case.expected[0], case.half_rms[0], None, 1e-5).beyond > 100, "its argument was rounded"
    assert judge(made, case, [kernel]) is None
    error = kernel - case.expected[0]
    plain = make_case(flat, SIZES, "normal")
    assert judge(flat, plain, [(plain.expected[0] + error).astype(np.float32)]) is not None


def test_the_mean_error_counts_where_a_lower_precision_is_declared():
    made = problem(compute="bfloat16")
    case = make_case(made, SIZES, "normal")
    biased = (case.expected[0] * (1 + 6e-3)).astype(np.float32)
    finding = judge(made, case, [biased])
    assert finding is not None and "rms error" in finding.message, "no element is over its limit, all together are"
    assert judge(made, case, [(case.expected[0] * (1 + 2e-3)).astype(np.float32)]) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_element_that_is_not_finite_is_wrong_whatever_the_limits(value):
    made = problem(compute="bfloat16")
    case = make_case(made, SIZES, "x100")
    outputs = right(case)
    outputs[0][11, 299] = value
    finding = judge(made, case, outputs)
    assert finding is not None and finding.reason == "non_finite" and finding.details["index"] == [11, 299]


def test_infinities_and_nans_that_are_expected_must_be_there():
    infinite, undefined = np.arange(300) % 7 == 0, np.arange(300) % 11 == 3
    made = problem(lambda x: np.where(infinite, np.inf, np.where(undefined, np.nan, x)))
    case = make_case(made, SIZES, "normal")
    outputs = right(case)
    assert judge(made, case, outputs) is None
    for wrong in (np.nan_to_num(outputs[0]), -outputs[0], np.where(np.isinf(outputs[0]), np.nan, outputs[0]).astype(np.float32)):
        assert judge(made, case, [wrong]) is not None


def test_an_output_left_as_it_was_poisoned_is_not_written():
    made = problem()
    case = make_case(made, SIZES, "normal")
    output = np.empty((12, 300), np.float32)
    library().poison(output)
    finding = judge(made, case, [output])
    assert finding is not None and finding.reason == "not_written" and "Nothing was written" in finding.message


@pytest.mark.parametrize("dtype", ["int8", "int32", "int64", "bool"])
def test_integers_are_exact(dtype):
    made = problem(lambda x: (x > 0) if dtype == "bool" else np.rint(10 * x).astype(np.int64) % 100, output=dtype)
    case = make_case(made, SIZES, "normal")
    outputs = right(case)
    assert judge(made, case, outputs) is None
    outputs[0][4, 4] = not outputs[0][4, 4] if dtype == "bool" else outputs[0][4, 4] + 1
    finding = judge(made, case, outputs)
    assert finding is not None and finding.details["index"] == [4, 4] and finding.details["count"] == 1


def test_a_boolean_that_holds_neither_0_nor_1_is_wrong():
    made = problem(lambda x: x > -1e9, output="bool")
    case = make_case(made, SIZES, "normal")
    output = np.full((12, 300), 0xA5, np.uint8).view(np.bool_)
    assert judge(made, case, [output]) is not None


@pytest.mark.parametrize(
    "bent",
    [
        lambda y: y.astype(np.float64),
        lambda y: y[:-1],
        lambda y: y.reshape(300, 12),
        lambda y: np.asfortranarray(y),
        lambda y: np.broadcast_to(y[:1], y.shape),
        lambda y: y.tolist(),
        lambda y: np.ma.masked_array(y),
    ],
)
def test_layout_and_type_are_exact(bent):
    made = problem()
    case = make_case(made, SIZES, "normal")
    finding = judge(made, case, [bent(right(case)[0])])
    assert finding is not None and finding.reason == "wrong_layout" and "float32[12, 300]" in finding.message


def test_outputs_must_be_as_many_as_declared():
    made = problem()
    case = make_case(made, SIZES, "normal")
    assert judge(made, case, []) is not None and judge(made, case, right(case) * 2) is not None


def test_double_precision_is_held_to_double_precision():
    made = problem(lambda x: np.exp(x), storage="float64", output="float64", compute="float64", longest=300)
    case = make_case(made, SIZES, "normal")
    assert judge(made, case, [np.exp(case.inputs[0])]) is None
    assert judge(made, case, [np.exp(case.inputs[0].astype(np.float32)).astype(np.float64)]) is not None


def test_large_outputs_are_judged_by_rounded_references():
    softmax = Problem.load("softmax")
    sizes = {"rows": 600, "cols": 700}
    case = make_case(softmax, sizes, "normal")
    output = np.empty((600, 700), np.float32)
    softmax.baseline("numpy")(case.inputs[0], output)
    assert case.expected[0].dtype == np.float32 and judge(softmax, case, [output]) is None
    output[599, 699] *= np.float32(1.01)
    finding = judge(softmax, case, [output])
    assert finding is not None and finding.details["index"] == [599, 699]


def test_a_repeated_call_may_differ_within_the_limits_unless_the_problem_is_deterministic():
    loose = problem()
    case = make_case(loose, SIZES, "normal")
    first = right(case)
    nearly, off = [np.nextafter(first[0], np.float32(9))], [first[0] + np.float32(1e-2)]
    assert agree(loose, case, first, [first[0].copy()]) is None
    assert agree(loose, case, first, nearly) is None
    finding = agree(loose, case, first, off)
    assert finding is not None and finding.reason == "not_repeatable"
    strict = dataclasses.replace(loose, deterministic=True)
    assert agree(strict, case, first, nearly) is not None
