"""The `triton` target: Triton files for a GPU, built ahead of time in the sandbox, off the device.

Without a GPU it builds for a named architecture (`target.architecture`), so that kernels can be checked and described anywhere.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import threading
import time
from typing import Any

from archive.evaluation import Diagnostic, Outcome
from archive.kernel import Kernel
from archive.tunables import Value
from fitness.cache import Cache, content_key
from fitness.gpu.describing import profile
from fitness.gpu.device import ARCHITECTURES, GpuDevice, absent, find_gpu
from fitness.problem import Problem, Sizes
from fitness.program import Program
from fitness.protocol import EvaluationSettings
from fitness.targets.base import Artifact, BuildFailure, Target, TargetError
from fitness.targets.python_policy import check_python

__all__ = ["TritonTarget"]

KIND = "triton"
RECIPE = "4"
"""Changed whenever the same text would be built differently."""


class TritonTarget(Target):
    """Triton kernels. Thread-safe; pickles as its settings and problem.

    problem: whose shapes `launch` is called with when building; see `bound`. Raises `TargetError` where triton is not installed.
    """

    name = "triton"
    language = "triton"

    def __init__(self, settings: EvaluationSettings | None = None, problem: Problem | None = None) -> None:
        from fitness.gpu.colony import packages_folder

        packages_folder()
        self.settings = settings or EvaluationSettings()
        self.problem = problem
        self.cache = Cache(self.settings.cache)
        self._lock = threading.Lock()
        self._colony: Any = None

    def __reduce__(self) -> tuple[type[TritonTarget], tuple[EvaluationSettings]]:
        return TritonTarget, (self.settings,)

    def bound(self, problem: Problem) -> TritonTarget:
        """The same target, building for this problem's signature and shapes."""
        return type(self)(self.settings, problem)

    @property
    def architecture(self) -> str:
        named = self.settings.architecture
        if named == "auto":
            gpu = find_gpu()
            if gpu is None:
                raise TargetError(
                    "target.architecture: found `auto` and no GPU (nvidia-smi does not answer). Name one to build for: "
                    f"{', '.join(ARCHITECTURES)}."
                )
            named = gpu.architecture
        if named not in ARCHITECTURES:
            raise TargetError(f"target.architecture: found {named!r}, expected auto or one of {', '.join(ARCHITECTURES)}.")
        return named

    def policy(self, kernel: Kernel) -> Diagnostic | None:
        return check_python(kernel.source)

    def build(self, kernel: Kernel, *, held_out: bool = False) -> Artifact:
        """held_out: for the held-out shapes alone. Also raises `fitness.cache.CacheError`, `fitness.failure.RefereeError`."""
        start = time.perf_counter()
        if kernel.language != self.language:
            message = f"found a kernel in {kernel.language}, expected {self.language}"
            raise BuildFailure(Outcome.BUILD_ERROR, Diagnostic("build", "wrong_language", message))
        device = self.device()
        key = content_key(RECIPE, device.torch, device.triton, self.architecture, json.dumps(self._cases(held_out)), "\0", kernel.source)
        entry = self.cache.get(KIND, key)
        cached = entry is not None
        if entry is None:
            facts, archive = self._compile(kernel.source, held_out)
            if archive is not None:
                entry = self.cache.put(KIND, key, {"facts.json": json.dumps(facts).encode(), "kernel.tar": archive})
            elif Outcome(facts["outcome"]).reusable:
                entry = self.cache.put(KIND, key, {"facts.json": json.dumps(facts).encode()})
        if entry is not None:
            facts = json.loads(entry.read("facts.json"))
        seconds = time.perf_counter() - start
        if "failure" in facts:
            raise BuildFailure(Outcome(facts["outcome"]), Diagnostic(**facts["failure"]), seconds)
        assert entry is not None
        # a plan is all that reaches the device, so texts with the same plan are the same program; a file that is not planned is itself
        content = f"{key}\0{kernel.source}".encode() if facts["why_no_plan"] else entry.read("kernel.tar")
        digest = hashlib.sha256(content).hexdigest()[:32]
        return Artifact(entry.path("kernel.tar"), digest, 0.0 if cached else seconds, cached, {"facts": json.dumps(facts)})

    def _cases(self, held_out: bool = False) -> list[dict[str, Any]]:
        """Signatures to call `launch` with: every shape that a search (or a certification) calls it with, the first timed one first."""
        problem = self.problem
        if problem is None:
            raise TargetError(f"target {self.name}: it builds for a problem's shapes; bind it to one.")
        shapes = problem.held_out_shapes if held_out else (*problem.shapes, *problem.small_shapes)
        return [_signature(problem, sizes) for sizes in shapes]

    def _compile(self, source: str, held_out: bool) -> tuple[dict[str, Any], bytes | None]:
        """(facts, the archive), or (the failure as facts, None)."""
        from fitness.gpu.building import build_triton

        return build_triton(self._builders(), source, ARCHITECTURES[self.architecture], self._cases(held_out), self.settings.build_timeout)

    def _builders(self) -> Any:
        from fitness.gpu.colony import Colony
        from fitness.sandbox import choose

        with self._lock:
            if self._colony is None:
                self._colony = Colony(choose(self.settings.sandbox), device=False)
            return self._colony

    def program(self, artifact: Artifact) -> Program:
        planned = not json.loads(str(artifact.facts["facts"])).get("why_no_plan")
        return Program(kind="plan" if planned else "triton", path=artifact.path, entry="launch")

    def describe(self, artifact: Artifact, kernel: Kernel, problem: Problem | None = None) -> dict[str, Value]:
        """See `fitness.gpu.describing.profile`."""
        return profile(json.loads(str(artifact.facts["facts"])), kernel, problem or self.problem)

    def device(self) -> GpuDevice:  # type: ignore[override]
        gpu = find_gpu()
        return absent(self.architecture) if gpu is None else dataclasses.replace(gpu)

    def close(self) -> None:
        """Ends the builders. Idempotent."""
        with self._lock:
            if self._colony is not None:
                self._colony.close()
                self._colony = None


def _signature(problem: Problem, sizes: Sizes) -> dict[str, Any]:
    arguments = [{"dtype": a.dtype, "shape": list(a.shape(sizes))} for a in (*problem.inputs, *problem.outputs)]
    return {"sizes": list(sizes.values()), "arguments": arguments}
