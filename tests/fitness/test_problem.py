"""Problem folders: what is read, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fitness.argument import ExpressionError, evaluate
from fitness.problem import Problem, ProblemError, default_roots, shape_label

GOOD = '''
"""Adds two vectors and appends a zero."""
sizes = ("n",)
inputs = {"x": {"dtype": "float32", "shape": ("n",), "role": "data"},
          "i": {"dtype": "int32", "shape": ("n",), "role": "index", "below": "2*n"}}
outputs = {"y": {"dtype": "float32", "shape": ("n+1",)}}
shapes = [{"n": 1000}]
small_shapes = [{"n": 3}, {"n": 17}]
held_out_shapes = [{"n": 999}]
def accumulation(n): return 1
def bytes_moved(n): return 12 * n
def flops(n): return n
def reference(x, i):
    import numpy as np
    return np.append(x + i, 0)
'''
BASELINE = "def numpy(x, i, y):\n    y[:-1] = x + i\n    y[-1] = 0\n"


def folder(tmp_path: Path, text: str = GOOD, baseline: str | None = BASELINE) -> Path:
    place = tmp_path / "adding"
    place.mkdir(exist_ok=True)
    (place / "problem.py").write_text(text)
    if baseline is not None:
        (place / "baseline.py").write_text(baseline)
    return place


def test_a_good_folder_is_read_completely(tmp_path):
    problem = Problem.load(folder(tmp_path))
    assert (problem.name, problem.specification) == ("adding", "Adds two vectors and appends a zero.")
    assert problem.outputs[0].shape({"n": 5}) == (6,)
    assert problem.footprint({"n": 5}) == 4 * (5 + 5 + 6)
    assert problem.inputs[1].below == "2*n"
    assert problem.compute_dtype == "float32" and problem.deterministic is False and problem.mutants == {}
    assert list(problem.baselines) == ["numpy"]
    (y,) = problem.reference(np.ones(3), np.arange(3))
    assert y.tolist() == [1, 2, 3, 0]
    assert not list(problem.folder.glob("__pycache__")), "reading a problem writes nothing beside it"


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ('"""Adds two vectors and appends a zero."""', "", "__doc__", "docstring"),
        ('sizes = ("n",)', 'sizes = ("n")', "sizes", "comma"),
        ('sizes = ("n",)', 'sizes = ("n", "n")', "sizes", "distinct"),
        ("def flops(n): return n", "", "flops", "Define `flops`"),
        ("def flops(n): return n", "def flops(n): return n / 2", "flops", "an int"),
        ("def flops(n): return n", "def flops(m): return m", "flops", "function of n"),
        ("held_out_shapes = [", "held_out_shape = [", "held_out_shape", "Did you mean `held_out_shapes`"),
        ("def accumulation(n)", "tolerance = 1\ndef accumulation(n)", "tolerance", "unknown key"),
        ("def accumulation(n)", "def make_input(rng, sizes): pass\ndef accumulation(n)", "make_input", "Did you mean `make_inputs`"),
        ('"role": "data"', '"role": "datum"', "inputs.x.role", "data (values"),
        (', "role": "data"', "", "inputs.x", "exactly the keys"),
        (', "below": "2*n"', "", "inputs.i", "'below'"),
        ('"dtype": "int32"', '"dtype": "float32"', "inputs.i.dtype", "integer type"),
        ('"shape": ("n+1",)', '"shape": ("n+m",)', "outputs.y", "unknown name m"),
        ('"shape": ("n+1",)', '"shape": ("n**2",)', "outputs.y", "Pow"),
        ('"shape": ("n+1",)', '"shape": ("n-3",)', "small_shapes[0]", "at least 1"),
        ('"dtype": "float32", "shape": ("n+1",)', '"dtype": "float8", "shape": ("n+1",)', "outputs.y.dtype", "compute_dtype"),
        ('"shape": ("n+1",)', '"shape": ("n+1",), "role": "data"', "outputs.y", "exactly the keys"),
        ('outputs = {"y"', 'outputs = {"x"', "outputs", "alias"),
        ('shapes = [{"n": 1000}]', 'shapes = [{"m": 1000}]', "shapes[0]", "exactly the sizes n"),
        ('shapes = [{"n": 1000}]', 'shapes = [{"n": 0}]', "shapes[0]", "at least 1"),
        ('shapes = [{"n": 1000}]', "shapes = []", "shapes", "at least one"),
        ('[{"n": 3}, {"n": 17}]', '[{"n": 3}, {"n": 3}]', "small_shapes[1]", "distinct"),
        ('[{"n": 3}, {"n": 17}]', '[{"n": 3000000}]', "small_shapes", "at most"),
        ('held_out_shapes = [{"n": 999}]', 'held_out_shapes = [{"n": 1000}]', "held_out_shapes", "never saw"),
        ("def flops", "compute_dtype = 'int8'\ndef flops", "compute_dtype", "bfloat16"),
        ("def flops", "deterministic = 1\ndef flops", "deterministic", "True or False"),
        ("def flops", "mutants = {'a': 1}\ndef flops", "mutants", "functions"),
        ("def flops(n)", "def flops(n", "", "problem.py:12: found SyntaxError"),
        ("def flops", "1 / 0\ndef flops", "", "problem.py:12: found ZeroDivisionError"),
    ],
)
def test_a_wrong_key_is_named_with_file_found_expected_and_remedy(tmp_path, old, new, key, says):
    assert old in GOOD
    with pytest.raises(ProblemError) as caught:
        Problem.load(folder(tmp_path, GOOD.replace(old, new, 1)))
    assert caught.value.key == key
    assert caught.value.file.endswith("problem.py")
    assert says in str(caught.value)
    assert all((caught.value.found, caught.value.expected, caught.value.remedy))


@pytest.mark.parametrize(("baseline", "says"), [(None, "no such file"), ("x = 1\n", "def numpy"), ("def numpy(:\n", "baseline.py:1")])
def test_a_problem_needs_a_numpy_baseline(tmp_path, baseline, says):
    with pytest.raises(ProblemError, match=r"baseline\.py") as caught:
        Problem.load(folder(tmp_path, baseline=baseline))
    assert says in str(caught.value)


def test_a_baseline_that_imports_torch_is_listed_without_being_run(tmp_path):
    place = folder(tmp_path, baseline=f"{BASELINE}\ndef torch(x, i, y):\n    import no_such_module\n\ndef _helper(): pass\n")
    assert list(Problem.load(place).baselines) == ["numpy", "torch"]


def test_the_version_follows_the_content_of_both_files(tmp_path):
    place = folder(tmp_path)
    first = Problem.load(place).version
    assert Problem.load(place).version == first
    (place / "baseline.py").write_text(BASELINE + "# faster\n")
    second = Problem.load(place).version
    (place / "problem.py").write_text(GOOD + "\n")
    assert len({first, second, Problem.load(place).version}) == 3


def test_a_problem_is_found_by_name_by_folder_and_by_file(tmp_path):
    place = folder(tmp_path)
    for given in (place, str(place), place / "problem.py"):
        assert Problem.load(given).folder == place
    assert Problem.load("adding", roots=[tmp_path]).folder == place
    assert Problem.names([tmp_path, tmp_path / "absent"]) == ("adding",)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    folder(tmp_path)
    with pytest.raises(ProblemError, match="known problems: adding"):
        Problem.load("substracting", roots=[tmp_path])


def test_the_installed_problems_are_found_from_any_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {"softmax", "transpose", "layernorm", "matmul"} <= set(Problem.names())
    assert Problem.load("softmax").sizes == ("rows", "cols")
    assert default_roots()[0] == tmp_path / "experiments" / "problems"


def test_a_problem_of_the_working_folder_goes_before_an_installed_one(tmp_path, monkeypatch):
    own = tmp_path / "experiments" / "problems" / "softmax"
    own.mkdir(parents=True)
    (own / "problem.py").write_text(GOOD)
    (own / "baseline.py").write_text(BASELINE)
    monkeypatch.chdir(tmp_path)
    assert Problem.load("softmax").folder == own


@pytest.mark.parametrize("name", ["softmax", "transpose", "layernorm", "matmul"])
def test_a_shipped_problem_has_shapes_of_one_class_and_honest_counts(name):
    problem = Problem.load(name)
    for sizes in (*problem.shapes, *problem.held_out_shapes):
        assert problem.bytes_moved(sizes) == problem.footprint(sizes)
        assert problem.footprint(sizes) <= 48 << 20
    assert any(1 in sizes.values() for sizes in problem.small_shapes)
    held_out = [extent for sizes in problem.held_out_shapes for extent in sizes.values()]
    assert any(extent % 16 for extent in held_out)


def test_a_missing_seed_says_which_file_to_write(tmp_path):
    pytest.importorskip("archive.kernel")
    with pytest.raises(ProblemError, match=r"seed\.cpp"):
        Problem.load(folder(tmp_path)).seed_kernel("cpp")
    with pytest.raises(ProblemError, match="target 'abacus'"):
        Problem.load(folder(tmp_path)).seed_kernel("abacus")


def test_a_seed_is_the_kernel_of_its_file(tmp_path):
    pytest.importorskip("archive.kernel")
    place = folder(tmp_path)
    (place / "seed.cpp").write_text('extern "C" void kernel() {}\n')
    kernel = Problem.load(place).seed_kernel("cpp")
    assert (kernel.language, kernel.source) == ("cpp", 'extern "C" void kernel() {}\n')


def test_a_label_keeps_the_order_of_the_sizes():
    assert shape_label({"rows": 4096, "cols": 1024}) == "rows=4096,cols=1024"


@pytest.mark.parametrize(
    ("text", "value"), [("n", 7), ("n+1", 8), ("2*(n-1)", 12), ("n//2", 3), ("n%4", 3), ("max(n, 10)", 10), ("-n+9", 2)]
)
def test_a_dimension_is_arithmetic_over_sizes(text, value):
    assert evaluate(text, {"n": 7}) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "n.real",
        "n if n else 1",
        "'n'",
        "n/2",
        "n[0]",
        "lambda: 1",
        "abs(n)",
        "1.5",
        "n//0",
        "m",
        "",
    ],
)
def test_a_dimension_is_nothing_else(text):
    with pytest.raises(ExpressionError):
        evaluate(text, {"n": 7})
