"""NVIDIA's tools on planned kernels: compute-sanitizer for finalists, Nsight Compute's counters for elites that are asked about.

Both watch a process that does nothing but one call (`fitness.gpu.replay`), in the sandbox, with inputs of a case that is drawn for it.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from archive.evaluation import Diagnostic
from fitness.gpu.cases import GpuCase
from fitness.gpu.colony import device_nodes
from fitness.gpu.replay import FAILED
from fitness.sandbox import Sandbox
from fitness.sandbox.bundle import GPU_REPLAY, python_command
from fitness.sandbox.view import environment

__all__ = ["METRICS", "Watched", "counters", "find_tool", "sanitize"]

CHECKS = ("memcheck", "racecheck")
"""Of compute-sanitizer: accesses out of bounds or misaligned; unordered accesses to shared memory."""
FOUND = 9
"""Exit status that compute-sanitizer is asked to give when it found something."""
PATIENCE = 120.0
INSTALLED = ("/opt/nvidia",)
"""Where parts of the tools are, beside the toolkit's own folder."""
METRICS = {
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "dram_share",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "sm_share",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "achieved_occupancy",
    "dram__bytes_read.sum": "dram_bytes_read",
    "dram__bytes_write.sum": "dram_bytes_written",
    "lts__t_sector_hit_rate.pct": "l2_hit_rate",
    "gpu__time_duration.sum": "ncu_seconds",
}
"""Nsight Compute's names and ours: shares and rates as fractions, bytes, seconds."""
_UNITS = {"%": 1e-2, "byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "": 1.0}
_UNITS |= {"nsecond": 1e-9, "usecond": 1e-6, "msecond": 1e-3, "second": 1.0}
_FINDING = re.compile(r"^=+ *((?:Invalid|Error|Warning|Misaligned|Potential|Race|Address)\b.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Watched:
    """How a watched call ended."""

    status: int
    """Exit status; -1: it was ended after PATIENCE seconds."""
    output: str


def find_tool(name: str) -> Path | None:
    """compute-sanitizer or ncu, where it is installed."""
    places = (Path("/usr/local/cuda/bin") / name, Path("/usr/local/cuda/compute-sanitizer") / name)
    found = shutil.which(name) or next((str(place) for place in places if place.exists()), None)
    return None if found is None else Path(found)


def watched(tool: list[str], archive: Path, number: int, case: GpuCase, sandbox: Sandbox | None) -> Watched:
    """One call of the plan's case `number` on `case`, under a tool's command line."""
    import torch

    with tempfile.TemporaryDirectory(prefix="evo-replay-") as folder:
        shutil.copy(archive, Path(folder) / "kernel.tar")
        for position, tensor in enumerate(case.inputs):
            content = tensor.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
            (Path(folder) / f"{position}.bin").write_bytes(content)
        command = [*tool, *python_command(GPU_REPLAY, f"main({folder!r}, {number})")]
        if sandbox is not None:
            command = sandbox.command(command, read=list(INSTALLED), write=[folder], devices=device_nodes())
        variables = environment(4) | {"LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""), "HOME": folder, "TMPDIR": folder}
        try:
            done = subprocess.run(
                command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                timeout=PATIENCE, start_new_session=True,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            return Watched(-1, str(late.stdout or "")[-4000:])
        return Watched(done.returncode, done.stdout[-400_000:] + done.stderr[-8000:])


def sanitize(archive: Path, number: int, case: GpuCase, sandbox: Sandbox | None) -> tuple[Diagnostic | None, str]:
    """(what is wrong with the kernel, or None; why nothing is known, or nothing)."""
    tool = find_tool("compute-sanitizer")
    if tool is None:
        return None, "compute-sanitizer is not installed"

    def checked(check: str) -> Watched:
        return watched([str(tool), "--tool", check, "--error-exitcode", str(FOUND), "--print-limit", "3"], archive, number, case, sandbox)

    with ThreadPoolExecutor(len(CHECKS)) as side_by_side:  # starting the tool is most of what it takes
        ended = list(side_by_side.map(checked, CHECKS))
    for check, done in zip(CHECKS, ended, strict=True):
        if done.status in (FOUND, FAILED):
            found = _FINDING.findall(done.output)
            text = f"compute-sanitizer ({check}) on shape {case.label}: {'; '.join(found[:3]) or done.output.strip()[-600:]}"
            return Diagnostic("certify", "sanitizer", text, {"tool": check, "shape": case.label}), ""
        if done.status != 0:
            return None, f"compute-sanitizer ({check}) did not run: {done.output.strip()[-600:]}"
    return None, ""


def counters(archive: Path, number: int, case: GpuCase, sandbox: Sandbox | None) -> tuple[dict[str, float], str]:
    """(counters by our names, of the launch that takes longest; why there are none, or nothing). The clocks are left as they are."""
    tool = find_tool("ncu")
    if tool is None:
        return {}, "Nsight Compute (ncu) is not installed"
    argv = [str(tool), "--clock-control", "none", "--csv", "--page", "raw", "--metrics", ",".join(METRICS)]
    done = watched(argv, archive, number, case, sandbox)
    launches = read_counters(done.output)
    if not launches:
        return {}, f"ncu counted nothing (exit status {done.status}): {done.output.strip()[-600:]}"
    return max(launches, key=lambda row: row.get("ncu_seconds", 0.0)), ""


def read_counters(output: str) -> list[dict[str, float]]:
    """The rows of ncu's raw page as CSV: names, then units, then a launch each."""
    lines = output.splitlines()
    begin = next((at for at, line in enumerate(lines) if line.startswith('"ID"')), None)
    if begin is None:
        return []
    names, units, *rows = list(csv.reader(io.StringIO("\n".join(line for line in lines[begin:] if line.startswith('"')))))
    found = []
    for row in rows:
        values = {}
        for name, unit, text in zip(names, units, row, strict=False):
            if name in METRICS and text:
                values[METRICS[name]] = float(text.replace(",", "")) * _UNITS.get(unit, 1.0)
        found.append(values)
    return found
