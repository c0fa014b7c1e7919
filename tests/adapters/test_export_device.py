"""Kernels for GPUs and candidates of others, exported: plain files, a self-contained module, an operator that falls back."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from instant_evaluator import Instant, InstantEvaluator

from archive.evaluation import Environment, Evaluation, Outcome, Samples
from archive.kernel import Kernel
from evo.cli import main
from evo.config import parse_config
from evo.run import Run
from fitness.problem import Problem
from fitness.protocol import Bar, Certificate, Estimate, Prepared

INSTALLED = importlib.util.find_spec("torch") is not None and importlib.util.find_spec("triton") is not None
pytestmark = pytest.mark.skipif(not INSTALLED, reason="torch and triton are not installed")
DATA = Path(__file__).resolve().parents[1] / "data" / "foreign"


class InTriton(InstantEvaluator):
    """One figure for every kernel: what is exported is the text, whatever it is worth."""

    def environment(self) -> Environment:
        return Environment("instant", {"device": {"name": "a device"}})

    def seeds(self) -> Sequence[Kernel]:
        return [Kernel("triton", source) for source in self.behaviour.sources]

    def prepare(self, kernel: Kernel) -> Prepared:
        return Prepared(kernel, {"vector": 0, "tile": 1}, kernel.id)

    def measure(self, prepared: Prepared, bar: Bar | None = None) -> Evaluation:
        samples = (Samples("one", np.full(4, 1.0), np.full(4, 1.5)),)
        facts = {"profile": prepared.profile, "artifact": prepared.artifact, "environment": "instant"}
        return Evaluation(prepared.kernel.id, Outcome.OK, objective=0.4, samples=samples, **facts)  # type: ignore[arg-type]

    def certify(self, prepared: Prepared, seed: Prepared | None = None) -> Certificate:
        return Certificate(prepared.kernel.id, True, {"eager": Estimate(1.5, 1.4, 1.6)}, "eager", 0.5, processes=1, environment="instant")


def exported(tmp_path: Path, problem: str) -> Path:
    """A package of the winner of a short run."""
    source = Problem.load(problem).seed_kernel("triton").source
    values = {
        "name": "device", "problem": problem, "target": "triton", "deterministic": True, "budget": {"evaluations": 1},
        "archive": {"descriptors": [{"name": "vector", "field": "vector", "kind": "categorical", "values": [0, 1]}]}, "strategy": "random",
    }  # fmt: skip
    run = Run.create(
        parse_config(values), tmp_path / "run", evaluator_factory=InTriton, evaluator_arguments=(Instant(sources=(source,)),)
    )
    run.search(lambda progress: None, picture=False)
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "fast_one")]) == 0
    return tmp_path / "fast_one"


def asked(package: Path, script: str, **variables: str) -> str:
    """What a script says that imports the package in a process of its own."""
    environment = {"PYTHONPATH": f"{package}:{':'.join(sys.path)}", "PATH": "/usr/bin:/bin", "HOME": str(package), **variables}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_triton_kernel_is_exported_whole(tmp_path: Path) -> None:
    package = exported(tmp_path, "softmax_bf16")
    files = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    assert {"fast_one/source.py", "fast_one/model_new.py", "fast_one/torch_op.py", "README.md", "provenance.json", "evo_build.py"} <= files
    script = """
import torch, fast_one.torch_op as op
x = torch.randn(7, 33).bfloat16()
print(op.explain(x))
print((torch.ops.fast_one.softmax_bf16(x).float() - torch.softmax(x.float(), -1)).abs().max() < 1e-2)
print(op.explain(x.float()))
"""
    assert asked(package, script).splitlines() == ["x is on cpu, not on a GPU", "tensor(True)", "x is on cpu, not on a GPU"]
    interpreted = """
import torch, fast_one.torch_op as op
from fast_one.model_new import ModelNew
for shape in ((7, 33), (3, 4099)):
    x = torch.randn(shape).bfloat16()
    print(op.explain(x))
    for got in (torch.ops.fast_one.softmax_bf16(x), ModelNew()(x)):
        print(bool((got.float() - torch.softmax(x.float(), -1)).abs().max() < 1e-2))
print(op.explain(torch.randn(2, 3).bfloat16()))
"""
    said = asked(package, interpreted, TRITON_INTERPRET="1").splitlines()
    assert said == ["kernel", "True", "True", "kernel", "True", "True", "rows, cols outside the verified sizes"]


def test_a_candidate_of_others_is_exported_with_its_reference_as_fallback(tmp_path: Path) -> None:
    package = exported(tmp_path, f"kernelbench:{DATA / 'bench' / '1_scaled_linear.py'}")
    assert "class ModelNew" in (package / "fast_one" / "model_new.py").read_text()
    facts = json.loads((package / "fast_one" / "facts.json").read_text())
    assert facts["verified"][0]["inputs"] == [["float32", [48, 40]], ["int64", [48, 7]]]
    facts["runs_anywhere"] = True  # this candidate is plain torch
    (package / "fast_one" / "facts.json").write_text(json.dumps(facts))
    script = """
import torch, fast_one.torch_op as op
from fast_one.reference import Model
model = Model(40, 24, 0.5)
for rows in (48, 5):
    inputs = [torch.rand(rows, 40), torch.randint(0, 40, (rows, 7))]
    got = torch.ops.fast_one.bench_1_scaled_linear(inputs, op.parameters_of(model))
    print(op.explain(inputs)[:7], all(torch.equal(one, other) for one, other in zip(got, model(*inputs))))
"""
    said = asked(package, script).splitlines()
    assert said == ["kernel True", "not one True"]


def test_a_task_is_exported_with_what_it_was_lent(tmp_path: Path) -> None:
    package = exported(tmp_path, f"gpumode:{DATA / 'task'}")
    assert (package / "fast_one" / "task.py").is_file()
    script = """
import torch, fast_one.torch_op as op
inputs = [torch.rand(9, 33), torch.rand(16), torch.randint(0, 16, (9,))]
(got,) = op.compute(inputs, [])
print(torch.equal(got, inputs[0] * inputs[1][inputs[2]].unsqueeze(1)), op.explain(inputs))
"""
    assert asked(package, script).strip() == "True not on a GPU"
