"""Builds a Triton file ahead of time: its `launch` is called on tensors without data, and every launch it makes is compiled and taken down.

Runs in a child of the zygote, without a device. What comes back is machine code with the plan of its launches (`fitness.gpu.plan`), and
facts about each launch: grid, registers, shared memory, the mix of machine instructions. Where a launch cannot be planned it is the file
itself with the folder that Triton's own cache keeps, so that a runner that loads it finds every kernel compiled.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import socket
import subprocess
import sys
import tarfile
import traceback
from pathlib import Path
from typing import Any

from fitness.gpu import sass, wire
from fitness.gpu.plan import Launches, archive

__all__ = ["load_source", "serve", "unpack"]

ELSEWHERE = "@HOME@"
"""Stands in an archive for the folder it was packed in."""


class _Recorder:
    """Stands in for the driver: names the architecture, takes launches down, makes none."""

    def __init__(self, backend: str, arch: int | str, warp: int) -> None:
        from triton.backends.compiler import GPUTarget

        self._target = GPUTarget(backend, arch, warp)
        self.utils = Launches()
        self.launcher_cls = self.utils.launcher
        self.launches: list[dict[str, Any]] = []
        self.kernels: list[Any] = []

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _device: int = 0) -> int:
        return 0

    def get_current_target(self) -> Any:
        return self._target

    def install(self) -> None:
        import triton
        from triton.runtime.jit import JITFunction

        triton.runtime.driver.set_active(self)
        compile_and_launch = JITFunction.run
        recorder = self

        def run(self: Any, *args: Any, grid: Any, warmup: bool = False, **kwargs: Any) -> Any:
            kernel = compile_and_launch(self, *args, grid=grid, warmup=False, **kwargs)
            recorder.note(self, kernel, recorder.utils.made[-1]["grid"])
            return kernel

        JITFunction.run = run

    def note(self, function: Any, kernel: Any, grid: list[int]) -> None:
        metadata = kernel.metadata
        self.kernels.append(kernel)
        self.launches.append(
            {
                "name": str(getattr(metadata, "name", function.__name__)),
                "grid": grid,
                "num_warps": int(metadata.num_warps),
                "num_stages": int(getattr(metadata, "num_stages", 0)),
                "shared": int(metadata.shared),
            }
        )


def load_source(path: Path) -> Any:
    """Runs a Python file as a module of its own."""
    spec = importlib.util.spec_from_file_location("evo_kernel", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["evo_kernel"] = module
    spec.loader.exec_module(module)
    return module


def serve(channel: socket.socket, home: str, _message: dict[str, Any]) -> None:
    """Answers one request {source, backend, arch, warp, cases: [{arguments: [{dtype, shape} | null]}]}."""
    request, _ = wire.receive(channel)
    try:
        facts, built = _build(request, Path(home))
    except BaseException as error:
        wire.send(channel, {"error": _explain(error), "kind": type(error).__name__})
        return
    fd = wire.blob(built)
    wire.send(channel, {"ok": True, **facts}, [fd])
    os.close(fd)


def _build(request: dict[str, Any], home: Path) -> tuple[dict[str, Any], bytes]:
    os.environ["TRITON_DISABLE_LINE_INFO"] = "1"  # so that texts which differ in unused tunables alone give identical machine code
    file = home / "kernel.py"
    file.write_text(request["source"])
    recorder = _Recorder(request["backend"], request["arch"], request["warp"])
    recorder.install()
    module = load_source(file)
    if not callable(getattr(module, "launch", None)):
        raise ValueError("the file defines no function `launch(inputs…, outputs…, workspace)`")
    per_case, cases = [], []
    for case in request["cases"]:
        begin = len(recorder.launches)
        needed, launched = _launched(module, case, recorder.utils)
        per_case.append(recorder.launches[begin:])
        if not launched:
            raise ValueError("`launch` launched no kernel of this file")
        cases.append({"sizes": case["sizes"], "bytes": _bytes(case), "workspace": needed, "launches": launched})
    for case, before in zip(request["cases"], cases, strict=True):
        if _launched(module, case, recorder.utils)[1] != before["launches"]:
            raise ValueError("`launch` launched something else when it was called again: it may depend on its arguments only")
    first = recorder.kernels[: len(per_case[0])]
    utils = recorder.utils
    why_not = utils.why_not if request["backend"] == "cuda" else "only CUDA devices launch by plan"
    facts = {
        "launches": per_case, "workspaces": [case["workspace"] for case in cases], "why_no_plan": why_not,
        "kernels": [_read(kernel, request) for kernel in first],
    }  # fmt: skip
    if why_not:
        _warm_launchers(recorder.kernels)
        return facts, _packed(home, file)
    return facts, archive({"kernels": utils.kernels, "cases": cases}, utils.images)


def _launched(module: Any, case: dict[str, Any], utils: Launches) -> tuple[int, list[dict[str, Any]]]:
    """(bytes of workspace, launches) of one call on tensors without data."""
    import torch

    needed = int(module.workspace(*case["sizes"])) if hasattr(module, "workspace") else 0
    tensors = [torch.empty(a["shape"], dtype=getattr(torch, a["dtype"]), device="meta") for a in case["arguments"]]
    scratch = torch.empty(needed, dtype=torch.uint8, device="meta") if needed else None
    utils.begin([*tensors, scratch])
    module.launch(*tensors, scratch)
    return needed, utils.made


def _bytes(case: dict[str, Any]) -> list[int]:
    import math

    import torch

    return [math.prod(a["shape"]) * getattr(torch, a["dtype"]).itemsize for a in case["arguments"]]


def _read(kernel: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Facts from the machine code of one kernel; for another vendor's from its assembly, as far as that says."""
    binary = kernel.asm.get("cubin")
    if binary is None:
        return sass.from_amdgcn(str(kernel.asm.get("amdgcn", "")))
    path = Path(os.environ["TMPDIR"]) / "kernel.cubin"
    path.write_bytes(binary)
    tool = _tool("cuobjdump")
    listing = subprocess.run([tool, "-sass", str(path)], capture_output=True, text=True, timeout=60).stdout if tool else ""
    usage = subprocess.run([tool, "-res-usage", str(path)], capture_output=True, text=True, timeout=60) if tool else None
    path.unlink()
    return sass.read(listing) | sass.resources("" if usage is None else usage.stdout + usage.stderr)


def _tool(name: str) -> str | None:
    import shutil

    import triton

    bundled = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / name
    return str(bundled) if bundled.exists() else shutil.which(name)


def _warm_launchers(kernels: list[Any]) -> None:
    """Where Triton compiles a launcher per signature, has it in the cache too. Needs libcuda, no device."""
    with contextlib.suppress(Exception):
        import triton
        from triton.backends.nvidia.driver import CudaDriver

        driver = CudaDriver()  # its helper library was loaded by the zygote
        triton.runtime.driver.set_active(driver)
        for kernel in kernels:
            driver.launcher_cls(kernel.src, kernel.metadata)


def _packed(home: Path, file: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(file, "kernel.py")
        if (home / "triton").is_dir():
            for group in (home / "triton").rglob("__grp__*"):  # they name their members by absolute paths
                group.write_text(group.read_text().replace(str(home), ELSEWHERE))
            tar.add(home / "triton", "triton")
    return stream.getvalue()


def unpack(content: bytes, home: Path) -> Path:
    """Unpacks what a build left into a folder of one's own; returns the kernel's file."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extractall(home, filter="data")
    for group in (home / "triton").rglob("__grp__*"):
        group.write_text(group.read_text().replace(ELSEWHERE, str(home)))
    return home / "kernel.py"


def _explain(error: BaseException) -> str:
    text = "".join(traceback.format_exception_only(error)).strip()
    cause = error.__cause__
    while cause is not None:
        text += "\ncaused by: " + "".join(traceback.format_exception_only(cause)).strip()
        cause = cause.__cause__
    return text[-6000:]
