"""The `cuda` target: CUDA C++ built by nvcc for the device's own architecture, loaded by a GPU runner.

ABI: `extern "C" void kernel(const T* in…, T* out…, void* workspace, int64_t sizes…, cudaStream_t stream)`, and optionally
`extern "C" size_t workspace(int64_t sizes…)` in bytes; bfloat16 arguments are `__nv_bfloat16`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import shutil
import subprocess
import time
from dataclasses import asdict
from pathlib import Path

from archive.evaluation import Diagnostic, Outcome
from archive.kernel import Kernel
from archive.tunables import Value
from fitness.cache import Cache, content_key
from fitness.gpu import sass
from fitness.gpu.describing import occupancy
from fitness.gpu.device import GpuDevice, absent, find_gpu
from fitness.problem import Problem
from fitness.program import Program
from fitness.protocol import EvaluationSettings
from fitness.targets.base import Artifact, BuildFailure, Target, TargetError
from fitness.targets.commands import CommandRunner, confined
from fitness.targets.cuda_policy import check_cuda
from fitness.targets.tiles import tile_elements

__all__ = ["CudaTarget"]

KIND = "cuda"
RECIPE = "1"
FLAGS = ("-shared", "-std=c++20", "-O3", "--expt-relaxed-constexpr", "-Xcompiler", "-fPIC", "-Xcompiler", "-w", "-w", "-cudart", "shared")
ARCHITECTURE_SPECIFIC = {"sm_90": "90a", "sm_100": "100a", "sm_120": "120a"}
"""Architectures that have features only code for exactly them may use (wgmma, setmaxnreg)."""


@functools.cache
def find_nvcc() -> Path | None:
    found = shutil.which("nvcc") or next((str(p) for p in (Path("/usr/local/cuda/bin/nvcc"),) if p.exists()), None)
    return None if found is None else Path(found).resolve()


@functools.cache
def _version(nvcc: Path) -> str:
    return subprocess.run([str(nvcc), "--version"], capture_output=True, text=True, timeout=30).stdout


class CudaTarget(Target):
    """CUDA C++. Thread-safe; pickles as its settings. Raises `TargetError` where there is no nvcc."""

    name = "cuda"
    language = "cuda"

    def __init__(self, settings: EvaluationSettings | None = None, *, run: CommandRunner | None = None) -> None:
        nvcc = find_nvcc()
        if nvcc is None:
            raise TargetError("target cuda: found no nvcc in PATH or /usr/local/cuda/bin. Install NVIDIA's CUDA toolkit.")
        self.nvcc = nvcc
        self.settings = settings or EvaluationSettings()
        self.cache = Cache(self.settings.cache)
        self._run = run or confined(self.settings.sandbox)

    def __reduce__(self) -> tuple[type[CudaTarget], tuple[EvaluationSettings]]:
        return CudaTarget, (self.settings,)

    @property
    def architecture(self) -> str:
        named = self.settings.architecture
        if named != "auto":
            return named
        gpu = find_gpu()
        if gpu is None:
            raise TargetError("target.architecture: found `auto` and no GPU (nvidia-smi does not answer). Name one to build for: sm_90, …")
        return gpu.architecture

    def policy(self, kernel: Kernel) -> Diagnostic | None:
        return check_cuda(kernel.source)

    def build(self, kernel: Kernel) -> Artifact:
        """Also raises `fitness.cache.CacheError`."""
        start = time.perf_counter()
        if kernel.language != self.language:
            message = f"found a kernel in {kernel.language}, expected {self.language}"
            raise BuildFailure(Outcome.BUILD_ERROR, Diagnostic("build", "wrong_language", message))
        code = ARCHITECTURE_SPECIFIC.get(self.architecture, self.architecture.removeprefix("sm_"))
        key = content_key(RECIPE, _version(self.nvcc), code, *FLAGS, "\0", kernel.source)
        entry = self.cache.get(KIND, key)
        cached = entry is not None
        if entry is None:
            with self.cache.scratch() as scratch:
                facts = self._compile(scratch, kernel.source, code)
                built = {} if "failure" in facts else {"kernel.so": scratch / "kernel.so"}
                if built or Outcome(str(facts["outcome"])).reusable:
                    entry = self.cache.put(KIND, key, {"facts.json": json.dumps(facts).encode(), **built})
        else:
            facts = json.loads(entry.read("facts.json"))
        seconds = time.perf_counter() - start
        if "failure" in facts:
            failure = facts["failure"]
            assert isinstance(failure, dict)
            raise BuildFailure(Outcome(str(facts["outcome"])), Diagnostic(**failure), seconds)
        assert entry is not None
        digest = hashlib.sha256(f"{key}\0{kernel.source}".encode()).hexdigest()[:32]
        return Artifact(entry.path("kernel.so"), digest, 0.0 if cached else seconds, cached, {"facts": json.dumps(facts["profile"])})

    def _compile(self, scratch: Path, source: str, code: str) -> dict[str, object]:
        (scratch / "kernel.cu").write_text(source)
        target = f"-gencode=arch=compute_{code},code=sm_{code}"
        argv = [str(self.nvcc), *FLAGS, target, "-o", str(scratch / "kernel.so"), str(scratch / "kernel.cu")]
        toolkit = self.nvcc.parent.parent
        done = self._run(argv, read=[toolkit], write=scratch, timeout=self.settings.build_timeout, memory=16 << 30, output_limit=1 << 20)
        if done.ended == "timeout":
            return _failure(Outcome.TIMEOUT, "build_timeout", f"nvcc did not end within {self.settings.build_timeout:g} s.")
        if done.status != 0 or not (scratch / "kernel.so").exists():
            said = done.output.replace(str(scratch) + "/", "")
            return _failure(Outcome.BUILD_ERROR, "compile_error", f"nvcc refused the kernel:\n{said[-3000:]}")
        return {"profile": self._read(scratch / "kernel.so")}

    def _read(self, path: Path) -> dict[str, Value]:
        tool = self.nvcc.parent / "cuobjdump"
        if not tool.exists():
            return dict(sass.read(""))
        answers = []
        for option in ("-sass", "-res-usage"):
            seen = [path.parent, self.nvcc.parent.parent]
            done = self._run([str(tool), option, str(path)], read=seen, timeout=60.0, memory=4 << 30, output_limit=32 << 20)
            answers.append(done.output)
        return dict(sass.read(answers[0])) | dict(sass.resources(answers[1]))

    def program(self, artifact: Artifact) -> Program:
        return Program(kind="cuda", path=artifact.path, entry="kernel")

    def describe(self, artifact: Artifact, kernel: Kernel, problem: Problem | None = None) -> dict[str, Value]:
        """Facts of `fitness.gpu.sass` over all kernels of the file, `occupancy` by registers for THREADS (a tunable; 256 without it),
        `warps`, `tile_elements`, `working_set`, `tunable.NAME`. The grid is not known before a launch."""
        facts: dict[str, Value] = json.loads(str(artifact.facts["facts"]))
        threads = kernel.values.get("THREADS", 256)
        warps = max(1, int(threads) // 32)
        found: dict[str, Value] = {
            "registers": facts.get("registers", 0),
            "spills": facts.get("spill_instructions", 0),
            "warps": warps,
            "shared_bytes": facts.get("static_shared", 0),
            "occupancy": occupancy(int(facts.get("registers", 0)), warps, int(facts.get("static_shared", 0))),
        }
        for name in ("memory_pattern", "compute_pattern", "load_bytes", "store_bytes", "atomics", "barriers", "instructions"):
            found[name] = facts.get(name, "" if name.endswith("pattern") else 0)
        found["tile_elements"] = tile_elements(kernel.values)
        found["working_set"] = problem.footprint(problem.shapes[0]) if problem is not None else 0
        return found | {f"tunable.{name}": value for name, value in kernel.values.items()}

    def device(self) -> GpuDevice:  # type: ignore[override]
        gpu = find_gpu()
        return absent(self.architecture) if gpu is None else dataclasses.replace(gpu)


def _failure(outcome: Outcome, reason: str, message: str) -> dict[str, object]:
    return {"outcome": outcome.value, "failure": asdict(Diagnostic("build", reason, message))}
