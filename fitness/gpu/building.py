"""Builds of Triton files in children of the zygote: the side that asks, and words the answer."""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import asdict
from typing import Any

from archive.evaluation import Diagnostic, Outcome
from fitness.gpu import wire
from fitness.gpu.colony import Colony
from fitness.gpu.describing import REGISTERS, occupancy

__all__ = ["build_triton"]

SHARED_LIMIT = {80: 166912, 86: 101376, 89: 101376, 90: 232448, 100: 232448, 120: 101376}
"""Bytes of shared memory one block may use, by compute capability."""
_LINE = re.compile(r"\bat (\d+):\d+:|line (\d+)")


def build_triton(
    colony: Colony, source: str, architecture: tuple[str, int | str, int], cases: list[dict[str, Any]], timeout: float
) -> tuple[dict[str, Any], bytes | None]:
    """(facts, archive for the runner), or ({"outcome", "failure"}, None). Raises `fitness.failure.RefereeError`."""
    backend, arch, warp = architecture
    request = {"source": source, "backend": backend, "arch": arch, "warp": warp, "cases": cases}
    child = colony.child("build", {"CORE": 0, "CPU": int(timeout * 4) + 10, "FSIZE": 256 << 20})
    try:
        wire.send(child.channel, request)
        answer, fds = child.answer(timeout)
    except TimeoutError:
        return _failure(Outcome.TIMEOUT, "build_timeout", f"The build did not end within {timeout:g} s."), None
    except wire.Closed:
        said = child.said()
        return _failure(Outcome.CRASH, "compiler_died", f"The build's process ended: {said[-800:] or 'it said nothing'}"), None
    finally:
        child.close()
    if "error" in answer:
        return _refusal(str(answer.get("kind", "")), str(answer["error"])), None
    if not fds:
        return _failure(Outcome.BUILD_ERROR, "no_artifact", "The build left nothing."), None
    try:
        with open(fds[0], "rb", closefd=False) as file:
            file.seek(0)
            archive = file.read(64 << 20)
    finally:
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)
    limit = SHARED_LIMIT.get(arch, 0) if isinstance(arch, int) else 65536
    needed = max((launch["shared"] for case in answer["launches"] for launch in case), default=0)
    if limit and needed > limit:
        text = f"A launch needs {needed} bytes of shared memory a block; the device has {limit}. Use smaller tiles or fewer stages."
        return _failure(Outcome.BUILD_ERROR, "shared_memory", text, {"bytes": needed, "limit_bytes": limit}), None
    for launch, code in zip(answer["launches"][0], answer["kernels"], strict=False):
        registers, warps = int(code.get("registers", 0)), int(launch["num_warps"])
        if backend == "cuda" and registers and not occupancy(registers, warps, 0):
            text = f"A launch needs {registers} registers in each of {32 * warps} threads; a multiprocessor has {REGISTERS}: fewer warps."
            return _failure(Outcome.BUILD_ERROR, "registers", text, {"registers": registers, "threads": 32 * warps}), None
    return {key: answer[key] for key in ("launches", "workspaces", "kernels", "why_no_plan")}, archive


def _refusal(kind: str, text: str) -> dict[str, Any]:
    found = _LINE.search(text)
    details: dict[str, object] = {"line": int(found[1] or found[2])} if found else {}
    reasons = {"CompilationError": "compile_error", "PTXASError": "assembler_error", "OutOfResources": "shared_memory"}
    reason = reasons.get(kind, "build_error")
    return _failure(Outcome.BUILD_ERROR, reason, f"Triton refused the kernel: {text[:3000]}", details)


def _failure(outcome: Outcome, reason: str, message: str, details: dict[str, object] | None = None) -> dict[str, Any]:
    return {"outcome": outcome.value, "failure": asdict(Diagnostic("build", reason, message, details or {}))}
