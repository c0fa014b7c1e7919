"""The `cuda` target: CUDA C++ built by nvcc for the device's own architecture.

ABI: `extern "C" void kernel(const T* in…, T* out…, void* workspace, int64_t sizes…, cudaStream_t stream)`, and optionally
`extern "C" size_t workspace(int64_t sizes…)` in bytes; bfloat16 arguments are `__nv_bfloat16`.

What the device gets is the file's machine code and the plan of its launches (`fitness.gpu.plan`), taken down here, without a device
(`fitness.gpu.recording`); only a file whose launches cannot be written down is hosted, and then it is said why.
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
from typing import Any

from archive.evaluation import Diagnostic, Outcome
from archive.kernel import Kernel
from archive.tunables import Value
from fitness.cache import Cache, Entry, content_key
from fitness.gpu import sass
from fitness.gpu.cubin import read_cubin
from fitness.gpu.describing import hosted_profile, profile
from fitness.gpu.device import GpuDevice, absent, find_gpu, multiprocessors
from fitness.gpu.plan import Unplannable, archive
from fitness.gpu.recording import SOURCES, Case, record
from fitness.native.build import NativeError
from fitness.problem import Problem
from fitness.program import Program
from fitness.protocol import EvaluationSettings
from fitness.targets.base import Artifact, BuildFailure, Target, TargetError
from fitness.targets.commands import CommandRunner, confined
from fitness.targets.cuda_policy import check_cuda
from fitness.targets.elf import ElfError, SharedObject

__all__ = ["CudaTarget"]

KIND, PLAN_KIND = "cuda", "cuda_plan"
RECIPE = "3"
"""Changed whenever the same text would be built differently."""
FLAGS = ("-shared", "-std=c++20", "-O3", "--expt-relaxed-constexpr", "-Xcompiler", "-fPIC", "-Xcompiler", "-w", "-w", "-cudart", "shared")
ARCHITECTURE_SPECIFIC = {"sm_90": "90a", "sm_100": "100a", "sm_120": "120a"}
"""Architectures that have features only code for exactly them may use (wgmma, setmaxnreg)."""
MULTIPROCESSORS = {"sm_80": 108, "sm_90": 132, "sm_100": 148}
"""Of the largest part of an architecture, where kernels are built and described without a device."""


@functools.cache
def find_nvcc() -> Path | None:
    found = shutil.which("nvcc") or next((str(p) for p in (Path("/usr/local/cuda/bin/nvcc"),) if p.exists()), None)
    return None if found is None else Path(found).resolve()


@functools.cache
def _version(nvcc: Path) -> str:
    return subprocess.run([str(nvcc), "--version"], capture_output=True, text=True, timeout=30).stdout


@functools.cache
def _disassembler(nvcc: Path) -> Path | None:
    """cuobjdump: of the toolkit, else in PATH, else the one that Triton brings along."""
    from importlib.util import find_spec

    places = [nvcc.parent / "cuobjdump", Path("/usr/local/cuda/bin/cuobjdump")]
    if (found := shutil.which("cuobjdump")) is not None:
        places.append(Path(found))
    triton = find_spec("triton")
    if triton is not None and triton.submodule_search_locations:
        places.append(Path(next(iter(triton.submodule_search_locations))) / "backends" / "nvidia" / "bin" / "cuobjdump")
    return next((place for place in places if place.exists()), None)


class CudaTarget(Target):
    """CUDA C++. Thread-safe; pickles as its settings.

    problem: whose shapes `kernel` is called with when building; see `bound`. Raises `TargetError` where there is no nvcc.
    """

    name = "cuda"
    language = "cuda"

    def __init__(
        self, settings: EvaluationSettings | None = None, problem: Problem | None = None, *, run: CommandRunner | None = None
    ) -> None:
        nvcc = find_nvcc()
        if nvcc is None:
            raise TargetError("target cuda: found no nvcc in PATH or /usr/local/cuda/bin. Install NVIDIA's CUDA toolkit.")
        self.nvcc = nvcc
        self.settings = settings or EvaluationSettings()
        self.problem = problem
        self.cache = Cache(self.settings.cache)
        self._run = run or confined(self.settings.sandbox)

    def __reduce__(self) -> tuple[type[CudaTarget], tuple[EvaluationSettings]]:
        return CudaTarget, (self.settings,)

    def bound(self, problem: Problem) -> CudaTarget:
        """The same target, building for this problem's shapes."""
        return type(self)(self.settings, problem, run=self._run)

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

    def build(self, kernel: Kernel, *, held_out: bool = False) -> Artifact:
        """held_out: for the held-out shapes alone. Also raises `fitness.cache.CacheError`."""
        start = time.perf_counter()
        if kernel.language != self.language:
            message = f"found a kernel in {kernel.language}, expected {self.language}"
            raise BuildFailure(Outcome.BUILD_ERROR, Diagnostic("build", "wrong_language", message))
        cases = self._cases(held_out)
        code = ARCHITECTURE_SPECIFIC.get(self.architecture, self.architecture.removeprefix("sm_"))
        key = content_key(RECIPE, _version(self.nvcc), code, *FLAGS, "\0", kernel.source)
        try:
            compiled, facts, compiled_before = self._compiled(key, kernel.source, code)
            planned, plan_facts, planned_before = self._planned(key, compiled, cases)
        except BuildFailure as failure:
            failure.seconds = time.perf_counter() - start
            raise
        seconds, cached = time.perf_counter() - start, compiled_before and planned_before
        whole = json.dumps({**facts, **plan_facts})
        if plan_facts["why_no_plan"]:
            digest = hashlib.sha256(f"{key}\0{kernel.source}".encode()).hexdigest()[:32]
            return Artifact(compiled.path("kernel.so"), digest, 0.0 if cached else seconds, cached, {"facts": whole})
        # a plan is all that reaches the device, so texts with the same plan are the same program
        digest = hashlib.sha256(planned.read("kernel.tar")).hexdigest()[:32]
        return Artifact(planned.path("kernel.tar"), digest, 0.0 if cached else seconds, cached, {"facts": whole})

    def _cases(self, held_out: bool) -> list[Case]:
        """Shapes that `kernel` is called on: all of a search (or of a certification), the first timed one first."""
        problem = self.problem
        if problem is None:
            raise TargetError(f"target {self.name}: it builds for a problem's shapes; bind it to one.")
        shapes = problem.held_out_shapes if held_out else (*problem.shapes, *problem.small_shapes)
        arguments = (*problem.inputs, *problem.outputs)
        return [Case(tuple(sizes.values()), tuple(argument.nbytes(sizes) for argument in arguments)) for sizes in shapes]

    # -- machine code and host code ------------------------------------------------------------------------------------------------------

    def _compiled(self, key: str, source: str, code: str) -> tuple[Entry, dict[str, Any], bool]:
        """(the entry with kernel.so and kernel.cubin, facts, whether it was there). Raises `BuildFailure`."""
        entry = self.cache.get(KIND, key)
        cached = entry is not None
        if entry is None:
            with self.cache.scratch() as scratch:
                facts = self._compile(scratch, source, code)
                built = {} if "failure" in facts else {name: scratch / name for name in ("kernel.so", "kernel.cubin")}
                if built or Outcome(str(facts["outcome"])).reusable:
                    entry = self.cache.put(KIND, key, {"facts.json": json.dumps(facts).encode(), **built})
        else:
            facts = json.loads(entry.read("facts.json"))
        _raised(facts)
        assert entry is not None
        return entry, facts, cached

    def _compile(self, scratch: Path, source: str, code: str) -> dict[str, Any]:
        (scratch / "kernel.cu").write_text(source)
        target = f"-gencode=arch=compute_{code},code=sm_{code}"
        keep = ("--keep", "--keep-dir", str(scratch))  # the machine code by itself, beside the library that holds it too
        argv = [str(self.nvcc), *FLAGS, *keep, target, "-o", str(scratch / "kernel.so"), str(scratch / "kernel.cu")]
        toolkit = self.nvcc.parent.parent
        done = self._run(argv, read=[toolkit], write=scratch, timeout=self.settings.build_timeout, memory=16 << 30, output_limit=1 << 20)
        if done.ended == "timeout":
            return _failure(Outcome.TIMEOUT, "build_timeout", f"nvcc did not end within {self.settings.build_timeout:g} s.")
        if done.status != 0 or not (scratch / "kernel.so").exists():
            said = done.output.replace(str(scratch) + "/", "")
            return _failure(Outcome.BUILD_ERROR, "compile_error", f"nvcc refused the kernel:\n{said[-3000:]}")
        if not (scratch / "kernel.cubin").exists():
            return _failure(Outcome.BUILD_ERROR, "no_kernel", "The file holds no `__global__` function: nothing of it runs on the device.")
        return self._read(scratch / "kernel.cubin")

    def _read(self, path: Path) -> dict[str, Any]:
        """{"all": facts of the whole machine code, "each": of every kernel by its mangled name}; see `fitness.gpu.sass`."""
        listing, tool = "", _disassembler(self.nvcc)
        if tool is not None:
            seen = [path.parent, tool.parent.parent]
            done = self._run([str(tool), "-sass", str(path)], read=seen, timeout=60.0, memory=4 << 30, output_limit=32 << 20)
            listing = done.output
        each: dict[str, Any] = {}
        with_code = sass.split(listing)
        try:
            for kernel in read_cubin(path.read_bytes()).values():
                known = {"registers": kernel.registers, "static_shared": kernel.shared}
                each[kernel.name] = (dict(sass.read(with_code[kernel.name])) if kernel.name in with_code else {}) | known
        except ElfError:
            each = {}
        most = {name: max((facts[name] for facts in each.values()), default=0) for name in ("registers", "static_shared")}
        return {"all": (dict(sass.read(listing)) if listing else {}) | most, "each": each}

    # -- the plan ------------------------------------------------------------------------------------------------------------------------

    def _planned(self, key: str, compiled: Entry, cases: list[Case]) -> tuple[Entry, dict[str, Any], bool]:
        """(the entry with kernel.tar where there is a plan, facts, whether it was there). Raises `BuildFailure`."""
        count = self._multiprocessors(compiled.path("kernel.so"))
        files = (*SOURCES, "recording.py", "places.py", "cubin.py")
        sources = [(Path(__file__).parent.parent / "gpu" / name).read_bytes() for name in files]
        plan_key = content_key(key, json.dumps([dataclasses.astuple(case) for case in cases]), str(count), self.architecture, *sources)
        entry = self.cache.get(PLAN_KIND, plan_key)
        cached = entry is not None
        if entry is None:
            facts, content = self._take_down(compiled, cases, count)
            if "failure" in facts and not Outcome(str(facts["outcome"])).reusable:
                _raised(facts)
            entry = self.cache.put(PLAN_KIND, plan_key, {"facts.json": json.dumps(facts).encode(), "kernel.tar": content})
        facts = json.loads(entry.read("facts.json"))
        _raised(facts)
        return entry, facts, cached

    def _multiprocessors(self, library: Path) -> int:
        """Of the device, where the file's host code can ask for it at all; 0 where they are not known."""
        if "cudaDeviceGetAttribute" not in SharedObject(library).imports:
            return 0
        gpu = find_gpu()
        if gpu is not None and gpu.architecture == self.architecture:
            return multiprocessors()
        return MULTIPROCESSORS.get(self.architecture, 0)

    def _take_down(self, compiled: Entry, cases: list[Case], count: int) -> tuple[dict[str, Any], bytes]:
        number = self.architecture.removeprefix("sm_")
        image = compiled.read("kernel.cubin")
        try:
            plan = record(
                compiled.path("kernel.so"), image, cases, int(number) if number.isdigit() else 0, count, run=self._run, cache=self.cache
            )
        except Unplannable as reason:
            return {"why_no_plan": str(reason)}, b""
        except NativeError as error:
            raise TargetError(f"target cuda: the launches of a file cannot be taken down: {error}") from error
        except BuildFailure as failure:
            return {"outcome": failure.outcome.value, "failure": asdict(failure.diagnostic)}, b""
        return {"why_no_plan": "", **_facts(plan)}, archive(plan, [image])

    def program(self, artifact: Artifact) -> Program:
        hosted = json.loads(str(artifact.facts["facts"]))["why_no_plan"]
        return Program(kind="cuda" if hosted else "plan", path=artifact.path, entry="kernel")

    def describe(self, artifact: Artifact, kernel: Kernel, problem: Problem | None = None) -> dict[str, Value]:
        """See `fitness.gpu.describing`."""
        facts, problem = json.loads(str(artifact.facts["facts"])), problem or self.problem
        if facts["why_no_plan"]:
            return hosted_profile(facts["all"], kernel, problem)
        each = facts["each"]
        launches = facts["launches"][0]
        kernels = [each[launch["name"]] for launch in launches]
        whole = [{**launch, "shared": launch["shared"] + code["static_shared"]} for launch, code in zip(launches, kernels, strict=True)]
        return profile({**facts, "launches": [whole], "kernels": kernels}, kernel, problem)

    def device(self) -> GpuDevice:  # type: ignore[override]
        gpu = find_gpu()
        return absent(self.architecture) if gpu is None else dataclasses.replace(gpu)


def _facts(plan: dict[str, Any]) -> dict[str, Any]:
    """What a plan says to a reader: launches by case as `fitness.gpu.describing.profile` takes them, bytes of workspace by case."""
    launches = []
    for case in plan["cases"]:
        found = []
        for each in (each for each in case["launches"] if "kernel" in each):
            kernel = plan["kernels"][each["kernel"]]
            x, y, z = kernel["block"]
            facts = {"name": kernel["name"], "grid": each["grid"], "num_warps": -(-x * y * z // 32), "num_stages": 0}
            found.append({**facts, "shared": kernel["shared"]})
        launches.append(found)
    return {"launches": launches, "workspaces": [case["workspace"] for case in plan["cases"]]}


def _raised(facts: dict[str, Any]) -> None:
    """Raises the `BuildFailure` that facts may stand for."""
    if "failure" in facts:
        raise BuildFailure(Outcome(str(facts["outcome"])), Diagnostic(**facts["failure"]))


def _failure(outcome: Outcome, reason: str, message: str) -> dict[str, Any]:
    return {"outcome": outcome.value, "failure": asdict(Diagnostic("build", reason, message))}
