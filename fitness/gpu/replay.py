"""One call of a planned kernel in a process of its own, for tools that watch such processes: a sanitizer, a profiler.

Standard library only. Every argument is an allocation of exactly its size, so that the sanitizer sees an access one byte beyond it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from fitness.gpu import driver
from fitness.gpu.launcher import Loaded

__all__ = ["FAILED", "main"]

FAILED = 3
"""Exit status for a kernel that ended with an error of the device."""
_POISON = 0xFF


def main(folder: str, case: int, times: int = 1) -> None:
    """folder: kernel.tar, and N.bin with the content of each argument that is an input. case: of the plan. times: calls."""
    driver.context()
    on = driver.stream()
    loaded = Loaded((Path(folder) / "kernel.tar").read_bytes())
    wanted = loaded.plan["cases"][case]
    addresses = []
    for number, nbytes in enumerate(wanted["bytes"]):
        addresses.append(driver.plain(max(1, nbytes)))
        given = Path(folder) / f"{number}.bin"
        if given.exists():
            driver.put(addresses[-1], given.read_bytes())
        else:
            driver.filled(addresses[-1], max(1, nbytes), _POISON)
    addresses.append(driver.plain(wanted["workspace"]) if wanted["workspace"] else 0)
    try:
        for _ in range(times):
            for each in loaded.of(case, 0, addresses):
                each.queue(on)
            driver.synchronize(on)
    except driver.CudaError as error:
        print(error, file=sys.stderr)
        sys.exit(FAILED)
