"""In a container without bubblewrap and without user namespaces the evaluator says so, confines with what is left, and judges the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BWRAP = shutil.which("bwrap")

SCRIPT = """
import json, sys
from pathlib import Path
from archive.kernel import Kernel
from evo.doctor import examine
from fitness.measuring import MeasuringEvaluator
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings
from fitness.targets import open_target
folder = Path("tests/hostile/evaluator")
settings = EvaluationSettings(repetitions=4, call_timeout=1.0, memory=256 << 20)
evaluator = MeasuringEvaluator(Problem.load("tests/data/problems/tiny_norm"), open_target("cpp", settings), settings)
verdicts = {}
for name in ("honest_counts_its_calls", "zeros", "eats_memory", "writes_past_its_output", "honest_with_workspace"):
    verdicts[name] = evaluator.measure(evaluator.prepare(Kernel("cpp", (folder / f"{name}.cpp").read_text()))).outcome
certified = evaluator.certify(evaluator.prepare(evaluator.seeds()[0]))
evaluator.close()
print(json.dumps({"verdicts": verdicts, "certified": certified.ok, "doctor": examine().facts()}))
"""


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    if BWRAP is None:
        pytest.skip("needs bwrap to make a container without it")
    masked = tmp_path_factory.mktemp("bare") / "bwrap"
    masked.touch(mode=0o644)
    container = [BWRAP, "--bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-user", "--disable-userns"]
    container += ["--ro-bind", str(masked), str(Path(BWRAP).resolve())]
    tried = subprocess.run([*container, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no such container can be made here: {tried.stderr.strip()}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("EVO_SANDBOX", None)
    done = subprocess.run(
        [*container, sys.executable, "-c", SCRIPT], capture_output=True, text=True, cwd=ROOT, env=environment, timeout=150, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_verdicts_and_certificates_are_the_same(answer: dict[str, object]) -> None:
    assert answer["verdicts"] == {
        "honest_counts_its_calls": "ok",
        "zeros": "wrong",
        "eats_memory": "out_of_memory",
        "writes_past_its_output": "rejected",
        "honest_with_workspace": "ok",
    }
    assert answer["certified"] is True


def test_doctor_says_what_is_in_force_what_is_not_and_what_would_strengthen_it(answer: dict[str, object]) -> None:
    report = answer["doctor"]
    assert isinstance(report, dict)
    checks = {check["name"]: check for check in report["checks"] if check["section"] == "sandbox"}
    assert checks["strength"]["value"] in ("landlock", "rlimits") and checks["strength"]["state"] == "note"
    assert "bubblewrap: bwrap is not installed" in checks["strength"]["remedy"] and "namespaces: " in checks["strength"]["remedy"]
    assert "NOT" in checks["isolates"]["value"] and "processes" in checks["isolates"]["value"].partition("NOT")[2]
    assert checks["runners"]["state"] == "ok" and "start" in checks["runners"]["value"]
    assert "address space" in checks["memory"]["value"]
