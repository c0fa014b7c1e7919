"""The server of a survey, inside the sandbox: forks a child for each request, and tells its verdict or how it ended.

Requests and verdicts are JSON, a line each, on standard input and output.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

__all__ = ["main"]

MOST = 1 << 18
"""Bytes of a verdict."""


def main() -> None:
    """Serves until its input ends."""
    import torch

    torch.set_num_threads(1)
    import torch._subclasses.fake_tensor
    import torch.utils.flop_counter

    import fitness.adapters.examine
    import fitness.adapters.kernelbench
    import fitness.gpu.cases
    import fitness.gpu.compare  # noqa: F401  (warm)

    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a file prints is no verdict
    for line in sys.stdin.buffer:
        out.write(_answered(json.loads(line)) + b"\n")


def _answered(request: dict[str, Any]) -> bytes:
    from fitness.adapters.subject import identifier

    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            _child(request, write)
        finally:
            os._exit(70)
    os.close(write)
    said, deadline = b"", time.monotonic() + request["seconds"]
    while len(said) < MOST:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([read], [], [], left)[0]:
            break
        part = os.read(read, 1 << 16)
        if not part:
            break
        said += part
    late = time.monotonic() >= deadline
    os.close(read)
    for kill in (os.kill, os.killpg):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    with contextlib.suppress(ValueError):
        if isinstance(json.loads(said), dict):
            return said
    name = identifier(Path(request["path"]))
    if late:
        reason, kind = f"its checks did not end within {request['seconds']:g} s", "timeout"
    elif os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        reason, kind = "it takes more memory than a lint is given", "too_large"
    else:
        how = "signal" if os.WIFSIGNALED(status) else "status"
        reason, kind = f"its process ended with {how} {os.waitstatus_to_exitcode(status)}", "crash"
    seconds = float(request["seconds"]) if late else 0.0
    return json.dumps({"name": name, "searchable": False, "reason": reason, "kind": kind, "seconds": seconds}).encode()


def _child(request: dict[str, Any], write: int) -> None:
    """Never returns to the server's loop: whatever happens here ends this process."""
    import warnings

    os.setsid()
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):  # nobody reads what a file prints, and a full pipe would stop it
        os.dup2(null, fd)
    for name, value in (("AS", request["memory"]), ("CPU", int(request["seconds"]) + 10), ("CORE", 0), ("FSIZE", 1 << 26), ("NPROC", 256)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))
    warnings.simplefilter("ignore")
    from fitness.adapters.examine import Verdict, examine
    from fitness.adapters.subject import SubjectError, identifier

    try:
        verdict = examine(_subject(request))
    except SubjectError as error:
        verdict = Verdict(identifier(Path(request["path"])), False, str(error), "unreadable")
    with os.fdopen(write, "wb") as pipe:
        pipe.write(json.dumps(verdict.facts()).encode())
    os._exit(0)


def _subject(request: dict[str, Any]) -> Any:
    path, texts = Path(request["path"]), request["texts"]
    if request["scheme"] == "kernelbench":
        from fitness.adapters.kernelbench import KernelBenchFile

        return KernelBenchFile(path, texts[path.name])
    from fitness.adapters.gpumode import GpuModeTask

    return GpuModeTask(path, texts)
