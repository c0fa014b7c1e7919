"""What the referee costs: forking, mapping, round trips, freezing, closing. Prints a table; `--write` keeps it under experiments/results.

    python experiments/bench/referee_bench.py [--write]

Needs a quiet machine and g++ or gcc. Takes about half a minute.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from fitness.problem import Problem  # noqa: E402
from fitness.program import Program  # noqa: E402
from fitness.referee import Referee  # noqa: E402
from fitness.sandbox import LEVELS, available  # noqa: E402
from fitness.slots import Slot  # noqa: E402

KERNEL = r"""
#include <stdint.h>
void kernel(const float* x, float* y, void* w, int64_t rows, int64_t cols) {
    for (int64_t i = 0; i < rows * cols; i++) y[i] = 2.0f * x[i];
}
"""
ROUNDS = 400


class Table:
    """Rows of (what, median, 95th percentile) in microseconds."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, float, float]] = []

    def add(self, what: str, seconds: list[float]) -> None:
        values = np.array(seconds) * 1e6
        self.rows.append((what, float(np.median(values)), float(np.percentile(values, 95))))
        print(f"{what:<72} {self.rows[-1][1]:>10.1f} {self.rows[-1][2]:>10.1f}", flush=True)

    def markdown(self) -> str:
        lines = ["| what | median µs | p95 µs |", "|---|---|---|"]
        return "\n".join([*lines, *(f"| {what} | {median:.1f} | {high:.1f} |" for what, median, high in self.rows)])


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def pipe_round_trips(core_of_child: int) -> list[float]:
    """A blocking pipe each way."""
    go_read, go_write = os.pipe()
    done_read, done_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, {core_of_child})
        os.close(go_write)
        while os.read(go_read, 8):
            os.write(done_write, b"12345678")
        os._exit(0)
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        os.write(go_write, b"12345678")
        os.read(done_read, 8)
        seconds.append(time.perf_counter() - start)
    for fd in (go_read, go_write, done_read, done_write):
        os.close(fd)
    os.waitpid(pid, 0)
    return seconds[20:]


def word_round_trips(core_of_child: int, *, spin: bool) -> list[float]:
    """Two words in shared memory, spun on or waited for by futex."""
    memory = mmap.mmap(-1, mmap.PAGESIZE)
    words = (ctypes.c_uint32 * 1024).from_buffer(memory)
    libc = ctypes.CDLL(None)
    call, futex = libc.syscall, 202 if platform.machine() == "x86_64" else 98
    go, done = ctypes.byref(words, 0), ctypes.byref(words, 256)

    def post(where: object, index: int, value: int) -> None:
        words[index] = value
        if not spin:
            call(futex, where, 1, 1, None, None, 0)

    def wait(where: object, index: int, value: int) -> None:
        while words[index] != value:
            if not spin:
                call(futex, where, 0, words[index] if words[index] != value else 1 << 30, None, None, 0)

    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, {core_of_child})
        for turn in range(1, ROUNDS + 1):
            wait(go, 0, turn)
            post(done, 64, turn)
        os._exit(0)
    seconds = []
    for turn in range(1, ROUNDS + 1):
        start = time.perf_counter()
        post(go, 0, turn)
        wait(done, 64, turn)
        seconds.append(time.perf_counter() - start)
    os.waitpid(pid, 0)
    return seconds[20:]


def channels(table: Table, core: int, other: int) -> None:
    os.sched_setaffinity(0, {core})
    table.add("round trip: blocking pipes, same core", pipe_round_trips(core))
    if other != core:
        table.add("round trip: blocking pipes, across cores", pipe_round_trips(other))
        table.add("round trip: futex, across cores", word_round_trips(other, spin=False))
        table.add("round trip: spinning on a word, across cores (burns the second core)", word_round_trips(other, spin=True))


def referee_costs(table: Table, level: str, program: Program, baseline: Program, problem: Problem, *, full: bool) -> None:
    start = time.perf_counter()
    referee = Referee(sandbox=LEVELS[level])
    runner = referee.load(program, problem)
    table.add(f"{level}: zygote started, empty call measured, first program loaded", [time.perf_counter() - start])
    runner.close()
    sizes = {"rows": 512, "cols": 512}
    slot = Slot(problem, sizes)
    loads, attaches, closes, calls, empties = [], [], [], [], []
    for _ in range(15):
        time.sleep(0.05)  # the pool refills in the background
        start = time.perf_counter()
        runner = referee.load(program, problem)
        loads.append(time.perf_counter() - start)
        attaches.append(timed(partial(runner.attach, slot)))
        calls += [runner.call(slot, 5.0) for _ in range(30)]
        closes.append(timed(runner.close))
    null = referee.load(Program("null", entry="native"), problem)
    empties = [null.call(slot, 5.0) for _ in range(ROUNDS)]
    null.close()
    table.add(f"{level}: fork (from the pool) and load, warm", loads)
    table.add(f"{level}: map a slot of 2 x 1 MiB", attaches)
    table.add(f"{level}: empty call, go to done (thaw included)", [call.wall_seconds for call in empties])
    table.add(f"{level}: what a call costs beyond go to done (freeze, census, clocks)", [call.framework_seconds for call in empties])
    table.add(f"{level}: the same beside a kernel of some 100 µs", [call.framework_seconds for call in calls])
    table.add(f"{level}: kill and close", closes)
    if full:
        warm = float(np.median(loads) + np.median(attaches) + np.median(closes))
        whole = warm + 30 * float(np.median([c.framework_seconds + referee_null for c in calls for referee_null in [runner.null_seconds]]))
        table.add(f"{level}: one warm evaluation of 30 calls, all of the executor's own time", [whole])
        table.add(f"{level}: numpy baseline loaded, first", [timed(lambda: referee.load(baseline, problem))])
        big = [timed(lambda: Slot(problem, {"rows": 2048, "cols": 2048}).close()) for _ in range(5)]
        table.add("make and poison a slot of 2 x 16 MiB (page faults)", big)
        large = Slot(problem, {"rows": 2048, "cols": 2048})
        seconds = []
        for _ in range(5):
            runner = referee.load(program, problem)
            seconds.append(timed(partial(runner.attach, large)))
            runner.close()
        table.add("map a slot of 2 x 16 MiB into a runner", seconds)
    referee.close()


def main() -> None:
    cores = sorted(os.sched_getaffinity(0))
    core, other = cores[-1], cores[0]
    table = Table()
    channels(table, core, other)
    os.sched_setaffinity(0, cores)
    problem = Problem.load(ROOT / "experiments" / "problems" / "softmax")
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "k.c"), Path(folder, "k.so")
        source.write_text(KERNEL)
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        baseline = Program("python", problem.baselines["numpy"], "numpy")
        for level, why in available().items():
            if why is None:
                referee_costs(table, level, Program("native", library), baseline, problem, full=level == next(iter(LEVELS)))
    if "--write" in sys.argv:
        model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "?")
        busy = f"load average {os.getloadavg()[0]:.1f} (over 1, medians include waiting for others)"
        text = (
            "# What the referee costs\n\n`python experiments/bench/referee_bench.py --write`, "
            f"{time.strftime('%Y-%m-%d')}, {model}, {len(cores)} cores, Linux {platform.release()}, Python {platform.python_version()}, "
            f"{busy}\n\n"
        )
        (ROOT / "experiments" / "results" / "referee.md").write_text(text + table.markdown() + "\n")


if __name__ == "__main__":
    main()
