"""The `tabular` target: recorded spaces. A kernel's text is its tunable declarations; the evaluator looks it up.

The baseline is the median time of the space's working configurations, so the objective is ln(median / time). Everything is
deterministic and returns at once; what a search pays is counted in evaluations, and `cost` tells what recording it cost.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np

from archive.evaluation import Diagnostic, Environment, Evaluation, Outcome, Samples
from archive.kernel import Kernel
from archive.space import Space
from archive.tunables import TunableError, Value
from archive.values import show
from fitness.protocol import PROTOCOL_VERSION, Bar, Certificate, CertifiedShape, Duel, Estimate, Prepared
from fitness.targets.recordings import Recording, Row, load_recording
from fitness.targets.tiles import tile_elements

__all__ = ["BASELINE", "LANGUAGE", "TabularEvaluator", "declarations"]

LANGUAGE = "tabular"
BASELINE = "median"
SHAPE = "recorded"

_BUILD_WORDS = ("compil", "build")
_MEMORY_WORDS = ("memory", "oom")
_TIME_WORDS = ("timeout", "time limit")
_WRONG_WORDS = ("correctness", "incorrect", "wrong", "verification")


def declarations(recording: Recording, values: Sequence[Value]) -> str:
    """The kernel text of one configuration: a `NAME = LITERAL  # evo: {…}` line per parameter, domains as recorded, in order."""
    lines = []
    for index, name in enumerate(recording.names):
        domain = sorted({row.values[index] for row in recording.rows})
        lines.append(f"{name} = {_literal(values[index])}  # evo: {{{', '.join(map(_literal, domain))}}}")
    return "\n".join(lines) + "\n"


class TabularEvaluator:
    """Implements `fitness.protocol.Evaluator` by looking up. `problem` is a path.

    Raises `RecordingError` (a `TargetError`) on construction.
    """

    inline = True
    deterministic = True

    def __init__(self, problem: str) -> None:
        self.problem = problem
        self.recording = load_recording(problem)
        good = [row.seconds for row in self.recording.rows if row.seconds is not None]
        self.median = statistics.median(good)
        """Seconds of the baseline."""
        self.best = min(good)
        """Seconds of the fastest recorded configuration."""
        self._baseline = _frozen(self.median)
        first = next(row for row in self.recording.rows if row.seconds is not None)
        self._seed = Kernel(LANGUAGE, declarations(self.recording, first.values), str(self.recording.path))
        space = self._seed.space
        self._space = space.restricted([row.values for row in self.recording.rows])
        self._rows = {space.key(dict(zip(self.recording.names, row.values, strict=True))): row for row in self.recording.rows}
        self._environment = self._describe()

    def environment(self) -> Environment:
        return self._environment

    def seeds(self) -> Sequence[Kernel]:
        """The first recorded configuration that works: the plainest, in the order in which recorders enumerate."""
        return [self._seed]

    def space(self, kernel: Kernel) -> Space:
        """The recorded configurations; of a text that declares other tunables, what it says itself."""
        return self._space if self._known(kernel) else kernel.space

    def prepare(self, kernel: Kernel) -> Prepared:
        try:
            row = self._find(kernel)
        except TunableError as error:
            return self._failed(kernel, Outcome.BUILD_ERROR, Diagnostic("build", "malformed_tunable", str(error)), None)
        if row is None:
            message = "This configuration was not recorded: it breaks a constraint of the space, or has other tunables."
            diagnostic = Diagnostic("identity", "not_recorded", message, {"values": kernel.values})
            return self._failed(kernel, Outcome.INFEASIBLE, diagnostic, None)
        outcome, stage = _outcome(row.status)
        if outcome is Outcome.BUILD_ERROR:
            message = f"Recorded as {row.status}: this configuration did not build."
            return self._failed(kernel, outcome, Diagnostic(stage, "recorded_failure", message, {"status": row.status}), row)
        return Prepared(kernel, self._profile(row), handle=row)

    def measure(self, prepared: Prepared, bar: Bar | None = None) -> Evaluation:
        if prepared.failed is not None:
            return prepared.failed
        row = prepared.handle
        assert isinstance(row, Row)
        cost = {"recorded": row.cost}
        if row.seconds is None:
            outcome, stage = _outcome(row.status)
            message = f"Recorded as {row.status}: this configuration failed when it ran."
            diagnostic = Diagnostic(stage, "recorded_failure", message, {"status": row.status})
            return Evaluation(
                prepared.kernel.id, outcome, (diagnostic,), profile=prepared.profile, cost=cost, environment=self._environment.id
            )
        objective = math.log(self.median / row.seconds)
        samples = (Samples(SHAPE, _frozen(row.seconds), self._baseline),)
        return Evaluation(
            prepared.kernel.id, Outcome.OK, (), objective, (objective, objective), samples, prepared.profile, cost,
            environment=self._environment.id,
        )  # fmt: skip

    def duel(self, challenger: Prepared, incumbent: Prepared) -> Duel:
        one, other = self.measure(challenger), self.measure(incumbent)
        if one.objective is None or other.objective is None:
            raise ValueError("a duel needs two recorded times; a failed configuration cannot take part")
        advantage = one.objective - other.objective
        return Duel(advantage, (advantage, advantage), one, other)

    def certify(self, prepared: Prepared, seed: Prepared | None = None) -> Certificate:
        """Exact: the recorded time against the space's median and, when given, the seed's time. No roofline is known."""
        evaluation = self.measure(prepared)
        if not evaluation.ok:
            return Certificate(prepared.kernel.id, False, diagnostics=evaluation.diagnostics, environment=self._environment.id)
        seconds = float(evaluation.samples[0].seconds[0])
        baselines = {BASELINE: self.median}
        plain = self.measure(seed) if seed is not None else None
        if plain is not None and plain.ok:
            baselines["seed"] = float(plain.samples[0].seconds[0])
        against = {name: Estimate(base / seconds, base / seconds, base / seconds) for name, base in baselines.items()}
        shape = CertifiedShape(SHAPE, seconds, baselines, None, 0, 0)
        strongest = min(baselines, key=lambda name: baselines[name])
        return Certificate(prepared.kernel.id, True, against, strongest, shapes=(shape,), environment=self._environment.id)

    def close(self) -> None:
        """Nothing is held."""

    def _known(self, kernel: Kernel) -> bool:
        return kernel.template is self._seed.template or kernel.family == self._seed.family

    def _find(self, kernel: Kernel) -> Row | None:
        if self._known(kernel):
            return self._rows.get(kernel.key)
        values = kernel.values
        if set(values) != set(self.recording.names) or self._seed.space.why_illegal(values) is not None:
            return None
        return self._rows.get(self._seed.space.key(values))

    def _profile(self, row: Row) -> dict[str, Value]:
        values = dict(zip(self.recording.names, row.values, strict=True))
        facts: dict[str, Value] = {f"tunable.{name}": value for name, value in values.items()}
        facts["tile_elements"] = tile_elements(values)
        return facts

    def _failed(self, kernel: Kernel, outcome: Outcome, diagnostic: Diagnostic, row: Row | None) -> Prepared:
        cost = {"recorded": row.cost} if row is not None else {}
        profile = self._profile(row) if row is not None else {}
        failed = Evaluation(kernel.id, outcome, (diagnostic,), profile=profile, cost=cost, environment=self._environment.id)
        return Prepared(kernel, profile, failed=failed, cost=cost)

    def _describe(self) -> Environment:
        facts: dict[str, object] = {
            "protocol": PROTOCOL_VERSION,
            "target": "tabular",
            "problem": self.recording.path.name,
            "content": self.recording.digest,
            "configurations": len(self.recording.rows),
            "median_seconds": self.median,
            "best_seconds": self.best,
            **{name: value for name, value in self.recording.facts.items() if isinstance(value, str | int | float | list | dict)},
        }
        return Environment(f"tabular-{self.recording.digest[:16]}", facts)


def _literal(value: Value) -> str:
    """As the text spells it: like Python."""
    return repr(value) if isinstance(value, bool) else show(value)


def _outcome(status: str) -> tuple[Outcome, str]:
    """Outcome and stage of a recorded status."""
    word = status.lower()
    if word == "ok":
        return Outcome.OK, "time"
    if any(part in word for part in _BUILD_WORDS):
        return Outcome.BUILD_ERROR, "build"
    if any(part in word for part in _MEMORY_WORDS):
        return Outcome.OUT_OF_MEMORY, "load"
    if any(part in word for part in _TIME_WORDS):
        return Outcome.TIMEOUT, "time"
    if any(part in word for part in _WRONG_WORDS):
        return Outcome.WRONG, "verify"
    return Outcome.CRASH, "time"


def _frozen(seconds: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    array = np.array([seconds])
    array.flags.writeable = False
    return array
