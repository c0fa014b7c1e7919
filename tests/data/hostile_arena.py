"""Where hostile kernels meet the executor: builds a kernel file, runs it as an evaluator would, and says how it ended.

Each file in `tests/hostile/cpp/` starts with comment lines: why it exists, then `expect: OUTCOME [REASON [SYSTEM CALL]]`, alternatives
separated by `|`, and optionally `threads: N`, `memory: BYTES`, `flags: …`, `n: N`, `machine: NAME`.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from archive.evaluation import Diagnostic, Outcome
from fitness.problem import Problem
from fitness.program import Program
from fitness.referee import Referee, Runner, RunnerFailure
from fitness.slots import Slot
from fitness.verdicts import CIRCUMSTANTIAL

KERNELS = Path(__file__).resolve().parent.parent / "hostile" / "cpp"
SOURCES = sorted(KERNELS.glob("*.cpp"))
MEMORY = 512 << 20
SIZE = 20_000
CALLS = 6
CALL_TIMEOUT = 2.0

PROBLEM = '''"""y = 2 x + 1, element by element."""
sizes = ("n",)
inputs = {"x": {"dtype": "float32", "shape": ("n",), "role": "data"}}
outputs = {"y": {"dtype": "float32", "shape": ("n",)}}
shapes = [{"n": 20000}]
small_shapes = [{"n": 100}]
held_out_shapes = [{"n": 30000}]


def accumulation(n):
    return 1


def bytes_moved(n):
    return 8 * n


def flops(n):
    return 2 * n


def reference(x):
    return 2 * x + 1


mutants = {}
'''

BASELINE = '''"""y = 2 x + 1 by NumPy."""

import numpy as np


def numpy(x, y):
    np.multiply(x, 2, out=y)
    y += 1
'''


@dataclass(frozen=True)
class Attack:
    """A kernel file and what its header expects."""

    path: Path
    expected: tuple[tuple[str, ...], ...]
    threads: int
    memory: int
    flags: tuple[str, ...]
    n: int
    machine: str

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def applies(self) -> bool:
        return self.machine in ("", platform.machine())

    def as_expected(self, verdict: Verdict) -> bool:
        found = (verdict.outcome.value, verdict.reason, verdict.syscall)
        return any(found[: len(wanted)] == wanted for wanted in self.expected)


@dataclass(frozen=True)
class Verdict:
    outcome: Outcome
    diagnostic: Diagnostic | None = None

    @property
    def reason(self) -> str:
        return "" if self.diagnostic is None else self.diagnostic.reason

    @property
    def syscall(self) -> str:
        return "" if self.diagnostic is None else str(self.diagnostic.details.get("syscall", ""))

    def __str__(self) -> str:
        return f"{self.outcome} {self.reason} {self.syscall}: {self.diagnostic.message if self.diagnostic else ''}"


def read(path: Path) -> Attack:
    facts = dict(re.findall(r"^// (\w+): (.*)$", path.read_text(), flags=re.MULTILINE))
    expected = tuple(tuple(part.split()) for part in facts["expect"].split("|"))
    return Attack(
        path=path,
        expected=expected,
        threads=int(facts.get("threads", "1")),
        memory=int(facts.get("memory", MEMORY)),
        flags=tuple(facts.get("flags", "").split()),
        n=int(facts.get("n", SIZE)),
        machine=facts.get("machine", ""),
    )


def toy_problem(folder: Path) -> Problem:
    place = folder / "toy"
    place.mkdir(exist_ok=True)
    (place / "problem.py").write_text(PROBLEM)
    (place / "baseline.py").write_text(BASELINE)
    return Problem.load(place)


def build(source: Path, flags: tuple[str, ...] = ()) -> Path:
    """The kernel as a shared library, compiled once for each content."""
    cache = Path(os.environ["XDG_CACHE_HOME"]) / "hostile"
    cache.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(source.read_bytes() + repr(flags).encode()).hexdigest()[:20]
    target = cache / f"{source.stem}-{key}.so"
    if not target.exists():
        draft = target.with_suffix(f".{os.getpid()}")
        subprocess.run(["g++", "-O2", "-w", "-shared", "-fPIC", *flags, "-o", draft, source], check=True, capture_output=True)
        draft.rename(target)
    return target


def calls(runner: Runner, problem: Problem, n: int, *, count: int = CALLS, timeout: float = CALL_TIMEOUT) -> Verdict:
    """Several checked calls on fresh inputs, over two slots in turn. Raises RunnerFailure."""
    rng = np.random.default_rng()
    slots: list[Slot] = []
    try:
        workspace = runner.workspace_bytes({"n": n})
        slots += [Slot(problem, {"n": n}, workspace=workspace) for _ in range(2)]
        for number in range(count):
            slot = slots[number % 2]
            runner.attach(slot)
            x = rng.standard_normal(n, dtype=np.float32)
            slot.fill([x])
            slot.poison()
            runner.call(slot, timeout)
            broken = slot.guards_broken()
            if broken is not None:
                return Verdict(Outcome.REJECTED, broken)
            if not np.array_equal(slot.outputs[0], 2 * x + 1):
                return Verdict(Outcome.WRONG, Diagnostic("verify", "wrong_values", "not 2 x + 1"))
        return Verdict(Outcome.OK)
    finally:
        runner.close()
        for slot in slots:
            slot.close()


def trial(referee: Referee, problem: Problem, library: Path, n: int = SIZE) -> Verdict:
    """How the kernel ends when it is loaded and called."""
    try:
        return calls(referee.load(Program("native", library), problem), problem, n)
    except RunnerFailure as failure:
        return Verdict(failure.outcome, failure.diagnostic)


def believed(referee: Referee, problem: Problem, library: Path, n: int = SIZE) -> Verdict:
    """Like `trial`, and again in a fresh runner where accounts of CPU time alone speak against it, as evaluations do."""
    verdict = trial(referee, problem, library, n)
    if verdict.diagnostic is not None and verdict.diagnostic.reason in CIRCUMSTANTIAL:
        return trial(referee, problem, library, n)
    return verdict


def descendants() -> set[int]:
    """Processes that descend from this one, zombies included."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(text[text.rindex(")") + 2 :].split()[1])
    found, frontier = set(), {os.getpid()}
    while frontier:
        frontier = {pid for pid, parent in parents.items() if parent in frontier} - found
        found |= frontier
    return found


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
