"""From a function to a problem folder: what is guessed, what is traced, and that the derived kernel is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from archive.kernel import Kernel
from evo.cli import main
from evo.errors import UserError
from evo.scaffold.folder import Scaffold, scaffold
from evo.scaffold.signature import Guess, Parameter, Result, guess
from evo.scaffold.subject import read_subject
from evo.scaffold.tracing import Untraceable, trace
from fitness.problem import Problem

FUNCTIONS = '''
import numpy as np

eps = 1e-5
UNUSED = open("/dev/null")


def _scaled(x, eps):
    return x * eps


def layer_norm(x, weight, bias, axis=-1):
    """Layer normalisation.

    With a backslash: \\\\alpha, and a "quote".
    """
    centred = x - x.mean(axis=axis, keepdims=True)
    return centred / np.sqrt(np.var(x, axis=axis, keepdims=True) + eps) * weight + bias


def softmax(x):
    e = np.exp(x - np.max(x, axis=-1, keepdims=True))
    return e / e.sum(-1)[:, None]


def activations(x, y):
    return np.where(x > y, np.tanh(x), np.clip(np.abs(y), 0.1, 2) ** 0.5), np.minimum(x, 1 / (1 + np.exp(-y)))


def column_norms(x):
    return np.sqrt(np.sum(x * x, axis=0))


def polynomial(x):
    return ((2.0 * x - 1.0) * x + 0.5) * x


def product(a, b):
    return a @ b


def running(x):
    return np.cumsum(x, axis=-1)


def branch(x):
    return x if (x > 0) else -x


def gathered(x, indices):
    return x[indices]


def spoils(x):
    x += 1
    return x
'''


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("functions") / "functions.py"
    path.write_text(FUNCTIONS)
    return path


@pytest.fixture
def made(file: Path, tmp_path: Path) -> Callable[..., tuple[Scaffold, Problem]]:
    def make(function: str, **settings: object) -> tuple[Scaffold, Problem]:
        done = scaffold(function, file, tmp_path / function, function=function, **settings)  # type: ignore[arg-type]
        return done, Problem.load(done.folder)

    return make


@pytest.mark.parametrize("function", ["layer_norm", "softmax", "activations", "column_norms", "polynomial"])
def test_a_traced_function_becomes_a_kernel_that_is_right_with_every_tunable(
    function: str, made: Callable[..., tuple[Scaffold, Problem]]
) -> None:
    from fitness.lint import lint
    from fitness.opening import open_evaluator
    from fitness.protocol import EvaluationSettings
    from fitness.sitting import Refused

    done, problem = made(function, measure=[{size: 40 + 7 * place for place, size in enumerate(("rows", "cols"))}])
    assert done.derived, done.why
    assert lint(problem).ok
    evaluator = open_evaluator(str(done.folder), "cpp", EvaluationSettings(repetitions=2))
    seed = evaluator.seeds()[0]
    fast = {"SIMD": 1, "EVO_FLAGS": "-O3 -ffast-math", **({"EXP": 1} if "EXP" in seed.values else {})}
    fast |= {"TILE": 256, "STREAM": 1} if "TILE" in seed.values else {}
    try:
        for kernel in (seed, seed.with_values(fast)):
            prepared = evaluator.prepare(kernel)
            assert prepared.failed is None, prepared.failed
            station = evaluator.station  # type: ignore[attr-defined]
            with station.sitting() as sitting:
                try:
                    evaluator._verify(sitting, sitting.seat("kernel", station.target.program(prepared.handle)))  # type: ignore[attr-defined]
                except Refused as refused:
                    pytest.fail(refused.diagnostic.message)
    finally:
        evaluator.close()


def test_problem_and_baseline_compute_what_the_function_does(file: Path, made: Callable[..., tuple[Scaffold, Problem]]) -> None:
    _, problem = made("layer_norm")
    rng = np.random.default_rng(0)
    x, weight, bias = (rng.standard_normal(shape).astype(np.float32) for shape in ((6, 50), 50, 50))
    wanted = read_subject(file, "layer_norm").function(x.astype(np.float64), weight, bias)
    np.testing.assert_allclose(problem.reference(x.astype(np.float64), weight, bias)[0], wanted)
    y = np.empty_like(x)
    problem.baseline("numpy")(x, weight, bias, y)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)
    assert {argument.name: argument.role for argument in problem.inputs} == {"x": "data", "weight": "weight", "bias": "weight"}
    assert [argument.dims for argument in problem.inputs] == [("rows", "cols"), ("cols",), ("cols",)]
    assert problem.accumulation({"rows": 3, "cols": 70}) == 70
    assert problem.bytes_moved({"rows": 3, "cols": 70}) == 4 * (2 * 210 + 140)


def test_only_what_the_function_needs_is_taken_and_settings_become_constants(made: Callable[..., tuple[Scaffold, Problem]]) -> None:
    done, problem = made("layer_norm")
    text = (done.folder / "problem.py").read_text()
    assert "EPS = 1e-5" in text and "UNUSED" not in text and "softmax" not in text
    assert 'alpha, and a "quote"' in problem.specification and "axis=-1" in problem.specification


@pytest.mark.parametrize(
    ("function", "why"),
    [("product", "matmul"), ("running", "cumsum"), ("gathered", "int64")],
)
def test_what_cannot_be_traced_becomes_a_skeleton_that_says_what_to_write(
    function: str, why: str, made: Callable[..., tuple[Scaffold, Problem]]
) -> None:
    shapes = {"product": {"a": ["m", "k"], "b": ["k", "n"]}}.get(function, {})
    done, problem = made(function, shapes=shapes)
    assert not done.derived and why in done.why
    seed = problem.seed_kernel("cpp")
    assert "SKELETON" in seed.source and why in seed.source and "EVO_FLAGS" in seed.values
    signature = {"product": "const float* a, const float* b, float* y, void* workspace, int64_t m, int64_t k, int64_t n"}
    assert signature.get(function, "void* workspace") in seed.source


def test_a_function_that_branches_on_values_is_not_traced(file: Path) -> None:
    subject = read_subject(file, "branch")
    elements = Guess(("n",), (Parameter("x", "float32", ("n",), "data"),), (Result("y", "float32", ("n",)),))
    with pytest.raises(Untraceable, match="branches"):
        trace(subject, elements)


def test_a_function_that_changes_its_arguments_is_refused(file: Path) -> None:
    with pytest.raises(UserError) as caught:
        guess(read_subject(file, "spoils"), {}, {})
    assert "changes its arguments" in str(caught.value.found)


def test_a_mistake_in_the_function_is_told_with_its_line_and_not_as_one_of_shapes(tmp_path: Path) -> None:
    path = tmp_path / "slips.py"
    path.write_text("import numpy as np\n\n\ndef slips(x):\n    return np.exp(x) + offset\n")
    with pytest.raises(UserError, match="cannot be run") as caught:
        guess(read_subject(path), {}, {})
    assert caught.value.line == 5 and "offset" in str(caught.value.found)


def test_an_unclear_choice_names_the_functions_there_are(file: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_subject(file)
    assert "layer_norm" in str(caught.value.found) and "--function" in str(caught.value.remedy)


def test_a_folder_in_use_is_left_alone(file: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        scaffold("polynomial", file, tmp_path, function="polynomial")
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def test_the_verb_lints_at_once_and_says_what_to_do_next(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["new", "poly", "--from", str(file), "--function", "polynomial", "--measure", "rows=32,cols=200", "--json"]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] and report["seed"] == "derived"
    assert (tmp_path / "poly" / "poly.yaml").is_file()
    kernel = Problem.load(tmp_path / "poly").seed_kernel("cpp")
    assert isinstance(kernel, Kernel) and kernel.space.size and kernel.space.size > 20
    assert main(["new", "poly2", "--from", str(file), "--function", "polynomial", "--measure", "rows=32"]) == 2
    assert "--measure" in capsys.readouterr().err
