"""Candidates in the shape of others that cheat, on CPU torch: each ends with a reason of its own, and no honest one does."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from archive.evaluation import Outcome
from archive.kernel import Kernel
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings
from fitness.targets.module_policy import check_module

if TYPE_CHECKING:
    from fitness.gpu.verifying import Verdict

INSTALLED = importlib.util.find_spec("torch") is not None and importlib.util.find_spec("triton") is not None
needs_torch = pytest.mark.skipif(not INSTALLED, reason="torch and triton are not installed")
FILE = Path(__file__).resolve().parents[1] / "data" / "foreign" / "bench" / "1_scaled_linear.py"

HEAD = """
import torch
import torch.nn as nn

class ModelNew(nn.Module):
    def __init__(self, features, hidden, factor):
        super().__init__()
        self.linear = nn.Linear(features, hidden)
        self.factor = factor
        self.kept = {}

    def right(self, x, index):
        y = torch.relu(self.linear(x)) * self.factor
        return y, y.sum(dim=1), torch.gather(x, 1, index)
"""

REFUSED_BY_TEXT = {
    "patches_matmul": ("monkeypatch", "torch.nn.functional.linear = lambda *a: a[0]"),
    "patches_a_class": ("monkeypatch", "torch.Tensor.copy_ = lambda self, other: self"),
    "patches_by_import": ("monkeypatch", "nn.Linear.forward = lambda self, x: x"),
    "setattr": ("forbidden_name", "setattr(torch, 'relu', abs)"),
    "side_stream": ("forbidden_attribute", "s = torch.cuda.Stream()"),
    "another_stream": ("forbidden_attribute", "s = torch.cuda.stream(None)"),
    "graph": ("forbidden_attribute", "g = torch.cuda.CUDAGraph()"),
    "events": ("monkeypatch", "torch.cuda.Event.elapsed_time = 0"),
    "lower_precision": ("monkeypatch", "torch.backends.cuda.matmul.allow_tf32 = True"),
    "lower_precision_by_call": ("forbidden_attribute", "torch.set_float32_matmul_precision('medium')"),
    "compiles": ("forbidden_attribute", "f = torch.compile(abs)"),
    "opens_files": ("forbidden_name", "f = open('/etc/passwd')"),
    "imports_os": ("forbidden_import", "import os"),
    "imports_the_reference": ("forbidden_import", "from reference import ref_kernel"),
    "imports_ours": ("forbidden_import", "import fitness.gpu.module"),
    "walks_the_frames": ("forbidden_import", "import inspect"),
    "walks_the_heap": ("forbidden_import", "import gc"),
    "subclass_hooks": ("forbidden_attribute", "f = torch.Tensor.__torch_dispatch__"),
    "dispatch_mode": ("forbidden_import", "from torch.utils._python_dispatch import TorchDispatchMode"),
    "loads_inline": ("forbidden_import", "from torch.utils.cpp_extension import load_inline"),
    "addresses": ("forbidden_attribute", "def f(x): return x.data_ptr()"),
    "autotunes": ("autotune", "import triton\nf = triton.autotune"),
    "evaluates_text": ("forbidden_name", "eval('1')"),
    "reaches_through_builtins": ("forbidden_name", "b = __builtins__"),
    "reaches_through_globals": ("forbidden_attribute", "g = ModelNew.forward.__globals__"),
}

REFUSED_BY_RUNNING = {
    "returns_zeros": ("verify", "y, s, g = self.right(x, index); return torch.zeros_like(y), s, g"),
    "returns_a_view_of_the_input": ("verify", "y, s, g = self.right(x, index); return y, s, x[:, :7]"),
    "returns_a_stride_0_expand": ("verify", "y, s, g = self.right(x, index); return y, s[:1].expand(s.shape[0]), g"),
    "keeps_by_shape": (
        "verify",
        "key = tuple(x.shape)\n        if key not in self.kept: self.kept[key] = self.right(x, index)\n        return self.kept[key]",
    ),
    "keeps_by_address": (
        "verify",
        "key = x.data_ptr()\n        if key not in self.kept: self.kept[key] = self.right(x, index)\n"
        "        return self.kept[key]",
    ),
    "keeps_by_first_element": (
        "verify",
        "key = round(float(x[0, 0]), 0)\n        if key not in self.kept: self.kept[key] = self.right(x, index)\n"
        "        return self.kept[key]",
    ),
    "half_precision": ("verify", "y, s, g = self.right(x.half().float(), index); return y, s, g"),
    "brain_float": (
        "verify",
        "y = torch.relu(torch.nn.functional.linear(x.bfloat16(), self.linear.weight.bfloat16()).float() + self.linear.bias) * self.factor\n"
        "        return y, y.sum(dim=1), torch.gather(x, 1, index)",
    ),
    "writes_its_input": ("verify", "r = self.right(x, index); x.zero_(); return r"),
    "other_dtype": ("load", "y, s, g = self.right(x, index); return y.double(), s, g"),
    "other_shape": ("load", "y, s, g = self.right(x, index); return y[:1], s, g"),
    "too_few": ("load", "return self.right(x, index)[:2]"),
    "no_tensor": ("load", "y, s, g = self.right(x, index); return y, s.tolist(), g"),
    "lazy_subclass": (
        "load",
        "class Lazy(torch.Tensor):\n            @classmethod\n"
        "            def __torch_function__(cls, function, types, args=(), kwargs=None):\n"
        "                return torch.ones(())\n        y, s, g = self.right(x, index); return y.as_subclass(Lazy), s, g",
    ),
    "patched_copy": ("verify", "torch.Tensor.copy_ = lambda self, other, *a: self\n        return self.right(x, index)"),
    "patched_comparison": (
        "verify",
        "torch.allclose = lambda *a, **k: True; torch.equal = torch.allclose; torch.isfinite = torch.ones_like\n"
        "        y, s, g = self.right(x, index); return y + 1, s, g",
    ),
    "exits": ("load", "import os; os._exit(0)"),
    "claims_success": ("load", "import os; os.write(3, b'{\"ok\": true}'); os._exit(0)"),
    "other_parameters": ("verify", "torch.nn.init.ones_(self.linear.weight); return self.right(x, index)"),
    "looks_for_the_reference": (
        "load",
        "import sys; m = [v for k, v in sys.modules.items() if 'foreign' in k or hasattr(v, 'get_inputs')]\n"
        "        return m[0].Model(x.shape[1], 24, 0.5)(x, index)",
    ),
    "reads_the_parent": ("load", "import os; open(f'/proc/{os.getppid()}/mem', 'rb').read(1); raise RuntimeError('it can be read')"),
    "opens_the_network": (
        "load",
        "import socket; s = socket.create_connection(('192.0.2.1', 80), 2); return self.right(x, index)",
    ),
}


def candidate(body: str) -> str:
    return f"{HEAD}\n    def forward(self, x, index):\n        {body}\n"


@pytest.mark.parametrize("name", REFUSED_BY_TEXT)
def test_what_reaches_for_the_evaluator_is_refused_by_its_text(name: str) -> None:
    reason, line = REFUSED_BY_TEXT[name]
    finding = check_module(candidate("return self.right(x, index)") + line + "\n", "ModelNew")
    assert finding is not None and finding.reason == reason, finding


def test_a_file_without_the_class_is_refused_by_its_text() -> None:
    finding = check_module("import torch\n", "ModelNew")
    assert finding is not None and finding.reason == "no_entry"


def test_an_honest_module_is_not_refused_by_its_text() -> None:
    assert check_module(candidate("return self.right(x, index)"), "ModelNew") is None


@pytest.fixture(scope="module")
def problem() -> Problem:
    return Problem.load(f"kernelbench:{FILE}")


@pytest.fixture(scope="module")
def verified(problem: Problem) -> Iterator[Callable[..., Verdict]]:
    """Verifies a candidate's text; all of them in children of one sandboxed process."""
    from fitness.gpu.colony import Colony
    from fitness.gpu.module_verifying import verify_module
    from fitness.sandbox import choose

    colony = Colony(choose(), device=False, interpret=True)
    yield lambda source, policy=True: verify_module(Kernel("triton", source), problem, EvaluationSettings(), policy=policy, colony=colony)
    colony.close()


@needs_torch
@pytest.mark.parametrize("name", REFUSED_BY_RUNNING)
def test_what_cheats_past_the_text_is_found_by_running_it(name: str, verified: Callable[..., Verdict]) -> None:
    stage, body = REFUSED_BY_RUNNING[name]
    verdict = verified(candidate(body), policy=False)
    assert verdict.outcome is not Outcome.OK
    assert verdict.diagnostics[0].stage == stage, verdict.diagnostics[0].message


@needs_torch
def test_honest_modules_pass_the_seed_among_them(problem: Problem, verified: Callable[..., Verdict]) -> None:
    for source in (problem.seed_kernel("triton").source, candidate("return self.right(x, index)")):
        verdict = verified(source)
        assert verdict.outcome is Outcome.OK, verdict.diagnostics
        assert verdict.calls >= 4


@needs_torch
def test_parameters_made_otherwise_are_named_in_the_finding(problem: Problem, verified: Callable[..., Verdict]) -> None:
    more = "self.factor = factor\n        nn.init.ones_(self.linear.bias)"
    verdict = verified(problem.seed_kernel("triton").source.replace("self.factor = factor", more))
    assert verdict.outcome is Outcome.WRONG
    assert "`linear.bias` has other values" in verdict.diagnostics[0].message


TRITON = '''
import torch
import torch.nn as nn
import triton
import triton.language as tl

BLOCK = tl.constexpr(64)  # evo: {32, 64, 128}


@triton.jit
def scaled_relu(x, y, count, factor):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(x + at, mask=at < count)
    tl.store(y + at, tl.maximum(value, 0.0) * factor, mask=at < count)


class ModelNew(nn.Module):
    def __init__(self, features, hidden, factor):
        super().__init__()
        self.linear = nn.Linear(features, hidden)
        self.factor = factor

    def forward(self, x, index):
        z = self.linear(x)
        y = torch.empty_like(z)
        scaled_relu[(triton.cdiv(z.numel(), BLOCK.value),)](z, y, z.numel(), self.factor)
        return y, y.sum(dim=1), torch.gather(x, 1, index)
'''


@needs_torch
def test_a_module_with_a_triton_kernel_and_tunables_runs_in_the_interpreter(verified: Callable[..., Verdict]) -> None:
    kernel = Kernel("triton", TRITON)
    assert [tunable.name for tunable in kernel.tunables] == ["BLOCK"]
    right = verified(kernel.with_values({"BLOCK": 128}).source)
    assert right.outcome is Outcome.OK, right.diagnostics
    wrong = verified(TRITON.replace("factor, mask=at < count)", "factor, mask=at < count - 1)"))
    assert wrong.outcome is Outcome.WRONG
