"""Which pointers a kernel can stand.

An evaluator hands out 256-byte aligned arrays, NumPy does not. So the exported kernel is called on arrays at every odd
place, in a process that may crash, and has to give the bits that it gives on aligned ones.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["ALIGNED", "least_alignment"]

ALIGNED = 256
"""Bytes: what evaluators promise to kernels."""
PATIENCE = 120.0


def least_alignment(folder: Path, module: str) -> int:
    """Bytes that pointers have to be multiples of: 1 where the kernels of the package, built for any pointer, pass; else `ALIGNED`."""
    command = [sys.executable, "-c", f"from {module} import binding; binding.operation.try_unaligned()"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            timeout=PATIENCE,
            env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ALIGNED
    return 1 if done.returncode == 0 else ALIGNED
