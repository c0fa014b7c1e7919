"""The target of problems of others: Python files of torch and Triton that define `ModelNew` or `custom_kernel`.

It goes by the name `triton`, whose language its candidates are written in. Nothing is compiled ahead: Triton compiles in the runner, in the
calls that verify a candidate, before any is timed. So what is known beforehand is what the text says.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import time
from typing import Any

from archive.evaluation import Diagnostic, Outcome
from archive.kernel import Kernel
from archive.tunables import Value
from fitness.cache import Cache, content_key
from fitness.gpu.device import GpuDevice, absent, find_gpu
from fitness.problem import Problem
from fitness.program import Program
from fitness.protocol import EvaluationSettings
from fitness.targets.base import Artifact, BuildFailure, Target, TargetError
from fitness.targets.module_policy import check_module
from fitness.targets.tiles import tile_elements

__all__ = ["ModuleTarget"]

KIND = "module"
RECIPE = "1"


class ModuleTarget(Target):
    """Candidates for one problem of others. Thread-safe; does not pickle: a worker opens its own. Raises `TargetError` without torch."""

    name = "triton"
    language = "triton"

    def __init__(self, problem: Problem, settings: EvaluationSettings | None = None) -> None:
        from fitness.gpu.colony import packages_folder

        packages_folder()
        if problem.foreign is None:
            raise TargetError("This target is for problems of others.", key="problem", found=problem.name, expected="kernelbench:PATH")
        self.problem = problem
        self.settings = settings or EvaluationSettings()
        self.cache = Cache(self.settings.cache)
        self._entry = problem.foreign.entry
        self._setting = json.dumps(problem.foreign.setting())

    def policy(self, kernel: Kernel) -> Diagnostic | None:
        return check_module(kernel.source, self._entry)

    def build(self, kernel: Kernel) -> Artifact:
        """Also raises `fitness.cache.CacheError`."""
        start = time.perf_counter()
        if kernel.language != self.language:
            message = f"found a kernel in {kernel.language}, expected {self.language}"
            raise BuildFailure(Outcome.BUILD_ERROR, Diagnostic("build", "wrong_language", message))
        key = content_key(RECIPE, "\0", kernel.source)
        entry = self.cache.get(KIND, key)
        cached = entry is not None
        if entry is None:
            entry = self.cache.put(KIND, key, {"kernel.py": kernel.source.encode()})
        digest = hashlib.sha256(ast.dump(ast.parse(kernel.source)).encode()).hexdigest()[:32]
        return Artifact(entry.path("kernel.py"), digest, 0.0 if cached else time.perf_counter() - start, cached)

    def program(self, artifact: Artifact) -> Program:
        return Program(kind="module", path=artifact.path, entry=self._entry, setting=self._setting)

    def describe(self, artifact: Artifact, kernel: Kernel, problem: Problem | None = None) -> dict[str, Value]:
        """`triton_kernels`: functions under @triton.jit; `torch_calls`: calls of torch's functions and modules; `tile_elements`,
        `working_set`, `tunable.NAME` as for every target."""
        facts: dict[str, Value] = dict(_counted(ast.parse(kernel.source)))
        facts["tile_elements"] = tile_elements(kernel.values)
        facts["working_set"] = self.problem.footprint(self.problem.shapes[0])
        return facts | {f"tunable.{name}": value for name, value in kernel.values.items()}

    def device(self) -> GpuDevice:  # type: ignore[override]
        gpu = find_gpu()
        return absent("sm_90") if gpu is None else dataclasses.replace(gpu)


def _counted(tree: ast.Module) -> dict[str, int]:
    jitted = {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and any("jit" in ast.unparse(decorator) for decorator in node.decorator_list)
    }
    outside = [node for node in tree.body if getattr(node, "name", "") not in jitted]
    calls = [each for node in outside for each in ast.walk(node) if isinstance(each, ast.Call)]
    return {"triton_kernels": len(jitted), "torch_calls": sum(_is_torch(call.func) for call in calls)}


def _is_torch(function: Any) -> bool:
    """Whether a call is of torch's functions (`torch.…`, `nn.…`, `F.…`) or of something a module holds (`self.…`)."""
    text = ast.unparse(function)
    return text.startswith(("torch.", "nn.", "F.", "self.")) and not text.startswith("torch.empty")
