"""From a stranger's function to an installed, faster replacement; and what the exported package promises."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import venv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from archive.candidate import AddStatus
from evo.cli import main
from evo.errors import UserError
from evo.export.envelope import envelope_of
from fitness.problem import Problem

FUNCTION = '''
import numpy as np


def gelu(x, bias):
    """Gaussian error linear units of a matrix with a bias, by the tanh formula."""
    z = x + bias
    return 0.5 * z * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (z + 0.044715 * z * z * z)))
'''


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a problem was made of a function, searched a little, and exported as `fast_gelu`."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "gelu.py").write_text(FUNCTION)
    before = Path.cwd()
    os.chdir(folder)
    try:
        measure = ["--measure", "rows=64,cols=512", "--measure", "rows=512,cols=64"]
        assert main(["new", "gelu", "--from", "gelu.py", *measure]) == 0
        settings = ["budget.evaluations=12", "evaluation.certify_processes=2", "evaluation.certify_spacing=0", "evaluation.repetitions=4"]
        assert main(["run", "gelu/gelu.yaml", "-o", "run", "--no-plot", *(word for each in settings for word in ("--set", each))]) == 0
        assert main(["export", "run", "-o", "fast_gelu", "--specialists", "2"]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(scope="module")
def installed(bench: Path) -> Path:
    """The Python of an environment that the package was pip-installed into, from its folder alone, without a network."""
    home = bench / "env"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    command = [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", bench / "fast_gelu"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return python


def run_python(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """NumPy comes from this test's environment, the package from the other one's."""
    path = os.pathsep.join([str(Path(np.__file__).parent.parent)])
    return subprocess.run(
        [python, *arguments], capture_output=True, text=True, check=False, cwd="/", env={**os.environ, "PYTHONPATH": path}
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_installed_replacement_is_right_and_faster(installed: Path, bench: Path) -> None:
    program = """
import sys; sys.path.insert(0, FOLDER)
import gelu as original, fast_gelu, numpy as np, time
x, bias = np.random.default_rng(0).standard_normal((500, 60)).astype(np.float32), np.zeros(60, np.float32)
assert "env" in fast_gelu.__file__ and fast_gelu.explain(x, bias).startswith("kernel"), fast_gelu.explain(x, bias)
wanted, got = original.gelu(x.astype(np.float64), bias), fast_gelu.gelu(x, bias)
assert got.dtype == np.float32 and np.abs(got - wanted).max() < 1e-5
def least(call):
    times = []
    for _ in range(60):
        start = time.perf_counter(); call(x, bias); times.append(time.perf_counter() - start)
    return min(times)
print(least(original.gelu) / least(fast_gelu.gelu))
"""
    done = run_python(installed, "-c", program.replace("FOLDER", repr(str(bench))))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 1.0


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_packages_own_test_passes_where_it_is_installed(installed: Path, bench: Path) -> None:
    done = run_python(installed, str(bench / "fast_gelu" / "tests" / "test_fast_gelu.py"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("passed") == 5


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_was_not_verified_falls_back(installed: Path) -> None:
    program = """
import fast_gelu, numpy as np
x, bias = np.ones((3, 50), np.float32), np.zeros(50, np.float32)
assert fast_gelu.explain(x, bias).startswith("kernel")
wide = np.ones((2, 40_000), np.float32)
assert "outside" in fast_gelu.explain(wide, np.zeros(40_000, np.float32))
assert np.allclose(fast_gelu.gelu(wide, np.zeros(40_000, np.float32)), 0.841192, atol=1e-4)
double = fast_gelu.gelu(x.astype(np.float64), bias.astype(np.float64))
assert double.dtype == np.float64 and "float64" in fast_gelu.explain(x.astype(np.float64), bias)
out = fast_gelu.aligned_empty((3, 50), np.float32)
assert fast_gelu.gelu(x, bias, out=out) is out
assert np.array_equal(fast_gelu.gelu(x[::2, ::-1], bias), fast_gelu.gelu(np.ascontiguousarray(x[::2, ::-1]), bias))
try: fast_gelu.gelu(x, np.zeros(60, np.float32))
except ValueError as error: assert "cols" in str(error)
else: raise AssertionError("contradicting shapes were taken")
"""
    done = run_python(installed, "-c", program)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_c_programs_can_be_built_against_it(bench: Path, tmp_path: Path) -> None:
    package = bench / "fast_gelu"
    assert subprocess.run(["sh", "build.sh"], cwd=package, check=False).returncode == 0
    (tmp_path / "main.c").write_text(
        '#include "fast_gelu.h"\n#include <stdio.h>\nint main(void) {\n    static float x[128], bias[32], y[128];\n    x[0] = 1;\n'
        '    int first = gelu(x, bias, y, 4, 32);\n    printf("%d %.4f ", first, y[0]);\n'
        '    printf("%d\\n", gelu(x, bias, y, 1 << 20, 32));\n    return 0;\n}\n'
    )
    folder = package / "fast_gelu"
    links = [f"-I{folder}/csrc", f"-L{folder}", "-lfast_gelu", f"-Wl,-rpath,{folder}"]
    subprocess.run(["gcc", tmp_path / "main.c", *links, "-o", tmp_path / "main"], check=True)
    assert subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout == "0 0.8412 1\n"
    for library in folder.glob("*.so"):
        library.unlink()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_provenance_tells_ancestry_environment_certificate_and_how_to_reproduce_it(bench: Path) -> None:
    facts = json.loads((bench / "fast_gelu" / "provenance.json").read_text())
    kernel = facts["kernels"][0]
    assert kernel["certificate"]["ok"] and kernel["certificate"]["against"]["numpy"]["value"] > 0
    assert kernel["ancestry"][-1]["operator"] == "seed"
    assert facts["environments"][kernel["environment"]]["device"]
    assert not any("-ffast-math" in word for command in facts["build"]["commands"] if "-shared" in command for word in command)
    command = [sys.executable, "-m", "evo", *facts["reproduce"].split()[1:], "-o", str(bench / "again"), "--no-plot", "--json"]
    done = subprocess.run(command, cwd=bench / "fast_gelu", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = json.loads(done.stdout)
    assert again["kernel_id"] == kernel["kernel"] and again["certificate"]["ok"] and again["evaluations"] == 1


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_specialists_share_a_dispatcher_that_takes_the_nearest_shape(bench: Path) -> None:
    from evo.config import load_config
    from evo.export.choice import Specialist, specialists
    from evo.export.package import export
    from evo.reading import open_run
    from evo.run import Run

    Run.open(bench / "run").certify([0])
    with open_run(bench / "run") as reader:
        (winner,) = specialists(reader, [reader.number_of("best")])
        plain = next(c.kernel for c in reader.lineage.candidates() if c.kernel is not None and c.kernel != winner.kernel)
        wide, tall = "rows=64,cols=512", "rows=512,cols=64"
        two = [replace(winner, homes=(wide,)), Specialist(0, plain, winner.certificate, (tall,))]
        made = export(reader, load_config(bench / "run" / "config.yaml"), two, bench / "pair")
    assert made.tests.count("passed") == 5
    subprocess.run([sys.executable, "evo_build.py"], cwd=bench / "pair", check=True)
    program = """
import pair, numpy as np
def kernel(rows, cols): return pair.explain(np.ones((rows, cols), np.float32), np.ones(cols, np.float32))
print(kernel(60, 500), kernel(500, 60), kernel(2, 259), kernel(512, 16))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=bench / "pair", capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "kernel 0 kernel 1 kernel 0 kernel 1"


def test_the_envelope_is_what_was_verified_and_no_more(repository: Path) -> None:
    problem = Problem.load(repository / "experiments" / "problems" / "softmax")
    envelope = envelope_of(problem)
    assert envelope.covers(problem, {"rows": 1, "cols": 16384}) and envelope.covers(problem, {"rows": 2048, "cols": 2048})
    assert not envelope.covers(problem, {"rows": 16384, "cols": 16384}), "each extent was seen, but never so much at once"
    assert not envelope.covers(problem, {"rows": 1, "cols": 16385})
    assert math.prod((2048, 2048, 8)) <= envelope.footprint


def test_a_run_without_a_certificate_is_not_exported(tmp_path: Path, small_space: Path) -> None:
    from evo.export.choice import specialists
    from evo.reading import open_run

    config = tmp_path / "c.yaml"
    config.write_text(f"problem: {small_space}\ntarget: tabular\nbudget: {{evaluations: 8}}\nexecutor: inline\n")
    assert main(["run", str(config), "--no-plot", "-o", str(tmp_path / "run")]) == 0
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "out")]) == 2  # no C++
    with open_run(tmp_path / "run") as reader:
        other = next(c.number for c in reader.lineage.candidates() if c.status is AddStatus.NEW and c.number != reader.number_of("best"))
        with pytest.raises(UserError, match="not certified"):
            specialists(reader, [other])
    assert not (tmp_path / "out").exists()
