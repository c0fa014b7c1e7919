"""The lint refuses problems whose checks would let a wrong kernel pass, and says which."""

from __future__ import annotations

import numpy as np
import pytest

from fitness.lint import lint
from fitness.problem import Problem, ProblemError

HEAD = '''
"""A made problem."""
import numpy as np
sizes = ("n",)
inputs = {"x": {"dtype": "%(dtype)s", "shape": ("n", 50), "role": "data"}}
outputs = {"y": {"dtype": "%(dtype)s", "shape": ("n", 50)}}
shapes = [{"n": 1000}]
small_shapes = [{"n": 3}, {"n": 17}]
held_out_shapes = [{"n": 999}]
def accumulation(n): return 50
def bytes_moved(n): return 8 * n
def flops(n): return n
def reference(x): return %(reference)s
mutants = {%(mutants)s}
%(more)s
'''


def made(tmp_path, reference: str, *, baseline: str | None = None, mutants: str = "", dtype: str = "float32", more: str = "") -> Problem:
    (tmp_path / "problem.py").write_text(HEAD % {"reference": reference, "mutants": mutants, "dtype": dtype, "more": more})
    (tmp_path / "baseline.py").write_text(f"import numpy as np\ndef numpy(x, y):\n    y[...] = {baseline or reference}\n")
    return Problem.load(tmp_path)


def refused(problem: Problem) -> set[str]:
    report = lint(problem)
    bad = {row.name for row in report.rows if not row.ok}
    assert report.ok == (not bad) and len(report.reasons) == len(bad)
    return bad


@pytest.mark.parametrize("name", ["softmax", "transpose", "layernorm", "matmul"])
def test_a_shipped_problem_passes(name):
    report = lint(Problem.load(name))
    assert report.ok, report.table()
    assert len(report.rows) >= 8


def test_a_sound_problem_passes(tmp_path):
    assert refused(made(tmp_path, "np.tanh(x)", mutants="'identity': lambda x: x")) == set()


def test_an_output_that_ignores_its_input_is_refused(tmp_path):
    assert refused(made(tmp_path, "np.zeros_like(x)")) >= {"zeros", "constant", "1%_of_x_redrawn", "coarser_y"}


def test_an_output_that_is_its_input_is_refused(tmp_path):
    assert refused(made(tmp_path, "1 * x")) == {"copied_input"}


def test_an_output_that_most_inputs_do_not_reach_is_refused(tmp_path):
    assert "1%_of_x_redrawn" in refused(made(tmp_path, "np.sign(np.abs(x) + 1) * np.arange(50)"))


def test_values_that_any_format_holds_are_refused(tmp_path):
    assert refused(made(tmp_path, "np.sign(x)")) == {"coarser_y"}


def test_a_mutant_that_is_right_is_named(tmp_path):
    report = lint(made(tmp_path, "np.tanh(x)", mutants="'the_same': lambda x: np.tanh(x), 'wrong': lambda x: np.sin(x)"))
    assert [row.name for row in report.rows if not row.ok] == ["mutant the_same"]
    assert "`mutant the_same` is wrong and passes every distribution" in report.reasons[0]


def test_a_baseline_that_is_wrong_is_refused_with_its_finding(tmp_path):
    report = lint(made(tmp_path, "np.tanh(x)", baseline="np.tanh(x) * (np.abs(x) < 50)"))
    assert [row.name for row in report.rows if not row.ok] == ["baseline numpy"]
    assert "x100 data" in report.reasons[0]


def test_integer_outputs_have_no_coarser_format(tmp_path):
    report = lint(made(tmp_path, "x * 3", dtype="int32"))
    assert report.ok and not any(row.name.startswith("coarser") for row in report.rows)


@pytest.mark.parametrize("compute", ["tf32", "float16", "bfloat16"])
def test_a_declared_lower_precision_still_tells_the_next_coarser_one(tmp_path, compute):
    assert refused(made(tmp_path, "np.tanh(x)", more=f"compute_dtype = {compute!r}")) == set()


def test_a_right_seed_passes_and_a_wrong_one_does_not():
    softmax = Problem.load("softmax")

    def run(case):
        y = np.empty_like(case.inputs[0])
        softmax.baseline("numpy")(case.inputs[0], y)
        return [y]

    def overflowing(case):
        with np.errstate(all="ignore"):
            e = np.exp(case.inputs[0])
            return [e / e.sum(-1, keepdims=True)]

    assert lint(softmax, run).ok
    report = lint(softmax, overflowing)
    assert [row.name for row in report.rows if not row.ok] == ["seed"] and "x100" in report.reasons[0]


def test_a_mutant_that_raises_is_an_error_in_the_problem(tmp_path):
    with pytest.raises(ProblemError) as caught:
        lint(made(tmp_path, "np.tanh(x)", mutants="'broken': lambda x: x[99]"))
    assert caught.value.key == "mutants.broken"


def test_a_baseline_that_raises_is_an_error_in_the_problem(tmp_path):
    with pytest.raises(ProblemError, match="baseline"):
        lint(made(tmp_path, "np.tanh(x)", baseline="x @ x"))


def test_the_table_shows_every_check(tmp_path):
    report = lint(made(tmp_path, "np.sign(x)"))
    lines = report.table().splitlines()
    assert len(lines) == len(report.rows) + 1
    assert any(line.startswith("coarser_y") and "NOT" in line and "passes everywhere" in line for line in lines)
