"""An evaluator over a synthetic space, for tests of what stands above evaluators: a kernel's time is a function of its tunables.

It does all that a real one does (builds fail, results are wrong, programs are identical, time is noisy) without a compiler. Its
module is on the path of the tests, so that worker processes can import it.
"""

from __future__ import annotations

import hashlib
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from archive.evaluation import Diagnostic, Environment, Evaluation, Outcome, Samples
from archive.kernel import Kernel
from archive.space import Space
from archive.stats import summarise
from evo.errors import UserError
from fitness.protocol import Bar, Certificate, Duel, Estimate, Prepared

SEED = """\
TILE = 1      # evo: 2**[0..5]
UNROLL = 1    # evo: [1..8]
VECTOR = 0    # evo: {0, 1, 2}
DEAD = 0      # evo: {0, 1}
# evo: require TILE * UNROLL <= 128
"""
SMALL_SEED = "TILE = 1    # evo: {1, 2, 4}\nVECTOR = 0    # evo: {0, 1}\n"
DESCRIPTORS = (
    {"name": "tile", "field": "tunable.TILE", "kind": "log2", "low": 1, "high": 32},
    {"name": "vector", "field": "vector", "kind": "categorical", "values": [0, 1, 2]},
)


@dataclass(frozen=True)
class Instant:
    """How the evaluator behaves."""

    inline: bool = True
    deterministic: bool = True
    sources: tuple[str, ...] = (SEED,)
    build_seconds: float = 0.0
    measure_seconds: float = 0.0
    noise: float = 0.02
    """Relative spread of a time, where it is not deterministic."""
    failures: bool = True
    """Whether some configurations do not build or are wrong."""
    broken: str = ""
    """What the seed's verification says, when it fails."""
    trouble: Path | None = None
    """While this file exists, measuring dies, hangs or fails as its text says, once for each line of it."""
    uncertified: str = ""
    """The id of a kernel, or "all", that fails certification."""
    chatter: str = ""
    """Printed whenever something is measured."""
    tells_idle: bool = False
    """Whether the profile says if nobody waited for the device at the end of a measurement."""
    journal: Path | None = None
    """Grows by a line for each prepare, measure and duel: `TIME WHAT KERNEL`."""


class InstantEvaluator:
    """Implements `fitness.protocol.Evaluator`."""

    idle: Callable[[], bool] | None = None

    def __init__(self, behaviour: Instant = Instant()) -> None:
        self.behaviour = behaviour
        self.inline = behaviour.inline
        self.deterministic = behaviour.deterministic
        self.closed = False
        self._random = np.random.default_rng()

    def environment(self) -> Environment:
        return Environment("instant", {"device": "none"})

    def seeds(self) -> Sequence[Kernel]:
        return [Kernel("python", source, f"seed-{number}.py") for number, source in enumerate(self.behaviour.sources)]

    def space(self, kernel: Kernel) -> Space:
        return kernel.space

    def prepare(self, kernel: Kernel) -> Prepared:
        began = time.time()
        if self.behaviour.build_seconds:
            time.sleep(self.behaviour.build_seconds)
        values = kernel.values
        self._note("prepare", kernel, began)
        if self.behaviour.failures and values.get("UNROLL") == 7:
            diagnostic = Diagnostic("build", "compiler_error", "UNROLL 7 does not compile")
            return Prepared(kernel, failed=Evaluation(kernel.id, Outcome.BUILD_ERROR, (diagnostic,)))
        alive = repr(sorted((name, value) for name, value in values.items() if name != "DEAD"))
        artifact = hashlib.sha256(alive.encode()).hexdigest()[:16]
        return Prepared(kernel, {"vector": values["VECTOR"]}, artifact, None, None, {"build": 0.001})

    def measure(self, prepared: Prepared, bar: Bar | None = None) -> Evaluation:
        began = time.time()
        if self.behaviour.measure_seconds:
            time.sleep(self.behaviour.measure_seconds)
        if self.behaviour.chatter:
            print(self.behaviour.chatter, flush=True)
        evaluation = self._misbehave(prepared.kernel) or self._measured(prepared)
        self._note("measure", prepared.kernel, began)
        if self.behaviour.tells_idle and self.idle is not None:
            evaluation = replace(evaluation, profile={**evaluation.profile, "idle": str(self.idle())})
        return evaluation

    def duel(self, challenger: Prepared, incumbent: Prepared) -> Duel:
        began = time.time()
        first, second = self._measured(challenger), self._measured(incumbent)
        self._note("duel", challenger.kernel, began)
        advantage = speed(challenger.kernel) - speed(incumbent.kernel)
        return Duel(advantage, (advantage - 0.001, advantage + 0.001), first, second)

    def certify(self, prepared: Prepared, seed: Prepared | None = None) -> Certificate:
        if self.behaviour.uncertified in (prepared.kernel.id, "all"):
            return Certificate(prepared.kernel.id, False, diagnostics=(Diagnostic("certify", "wrong_values", "wrong on a held-out shape"),))
        value = math.exp(speed(prepared.kernel))
        against = {"plain": Estimate(value, value * 0.99, value * 1.01)}
        if seed is not None:
            ratio = value / math.exp(speed(seed.kernel))
            against["seed"] = Estimate(ratio, ratio * 0.99, ratio * 1.01)
        return Certificate(prepared.kernel.id, True, against, "plain", 0.5, processes=1, environment="instant")

    def close(self) -> None:
        self.closed = True

    def _measured(self, prepared: Prepared) -> Evaluation:
        kernel = prepared.kernel
        if self.behaviour.broken:
            return Evaluation(kernel.id, Outcome.WRONG, (Diagnostic("verify", "wrong_values", self.behaviour.broken),))
        if self.behaviour.failures and kernel.values.get("UNROLL") == 5:
            return Evaluation(kernel.id, Outcome.WRONG, (Diagnostic("verify", "wrong_values", "UNROLL 5 is off by one"),))
        found = Evaluation(
            kernel.id, Outcome.OK, profile=prepared.profile, artifact=prepared.artifact, cost={"measure": 0.001}, environment="instant"
        )
        if self.deterministic:
            return replace(found, objective=speed(kernel))
        noise = 1 + self.behaviour.noise * self._random.standard_normal((2, 8))
        samples = (Samples("n=1", np.exp(-speed(kernel)) * noise[0], noise[1]),)
        summary = summarise(samples)
        return replace(found, objective=summary.value, interval=(summary.low, summary.high), samples=samples)

    def _misbehave(self, kernel: Kernel) -> Evaluation | None:
        trouble = self.behaviour.trouble
        if trouble is None or not trouble.exists():
            return None
        first, _, rest = trouble.read_text().partition("\n")
        trouble.write_text(rest) if rest else trouble.unlink()
        if first == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if first == "hang":
            time.sleep(3600)
        if first == "raise":
            raise RuntimeError("the device fell off")
        return Evaluation(kernel.id, Outcome.INFRASTRUCTURE_ERROR, (Diagnostic("time", "evaluator_error", "the device is busy"),))

    def _note(self, what: str, kernel: Kernel, began: float) -> None:
        if self.behaviour.journal is not None:
            with self.behaviour.journal.open("a") as journal:
                journal.write(f"{began:.6f} {time.time():.6f} {what} {kernel.id}\n")


def speed(kernel: Kernel) -> float:
    """The true objective: ln of the speedup, best at TILE 16, UNROLL 4, VECTOR 2."""
    values = {name: float(value) for name, value in kernel.values.items()}
    tile = -0.3 * abs(math.log2(values["TILE"]) - 4)
    return 1.5 + tile - 0.1 * abs(values.get("UNROLL", 4.0) - 4) + 0.4 * values["VECTOR"]


def refuse(kind: str) -> InstantEvaluator:
    """A factory that cannot: for want of something the user can put right, or out of a defect."""
    if kind == "user":
        raise UserError("There is no sandbox.", key="evaluation.sandbox", found="none", remedy="Install bubblewrap.")
    raise RuntimeError("no such device")
