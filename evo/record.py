"""Recording a tuning space: every configuration of a kernel, or a stated part of them, measured once by the real evaluator.

What comes out is a compact CSV (parameters, `status`, `time_ms`, `cost_ms`) that the `tabular` target loads, with a JSON file
beside it that says where it comes from. A recording can be stopped at any moment, `kill -9` included, and continued: each
configuration is written to a journal when it is known.

Configurations are measured in a shuffled order, the seed's first, so that a machine that drifts does not favour one corner of the
space and whatever is known at any moment is a uniform sample: a recording that is cut short is a smaller one. A time is the median
time of the baseline over the whole recording divided by the configuration's own paired speedup, so that the drift cancels.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from archive.evaluation import Evaluation, Outcome
from archive.kernel import Kernel
from archive.space import Key
from archive.stats import typical_seconds
from evo.errors import UserError
from evo.executors.base import ExecutorError
from evo.journal import Journal, write_whole
from evo.sweep import Plan, chosen
from fitness.protocol import Evaluator, Prepared

__all__ = ["Entry", "Plan", "Recorded", "Recorder", "chosen"]

ATTEMPTS = 3
MOST_TROUBLES = 3
"""Configurations in a row that the evaluator itself could not measure, after which the recording stops."""
AHEAD = 4
"""Builds in flight for each builder while one kernel is measured."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One configuration as it was found."""

    key: Key
    status: str
    """`ok`, or the outcome."""
    speedup: float | None = None
    """Over the baseline, paired; None unless ok."""
    baseline: float | None = None
    """Seconds of the baseline in this sitting."""
    cost: float = 0.0
    """Seconds that building and measuring took."""
    artifact: str = ""
    twin: bool = False
    """Built to the same program as an earlier configuration, whose measurement it shares."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """How far a recording is."""

    done: int
    total: int
    failed: int
    best: float | None
    """Best speedup over the baseline so far."""
    finished: bool = False
    left_out: int = 0
    """Configurations that the evaluator itself could not measure in this sitting; the next one tries them again."""


class NotMeasured(Exception):
    """The evaluator failed, not the kernel, at every attempt."""


class Recorder:
    """Records a plan into `path`; use `record`, as often as it takes. `stop` ends it soon, from a signal handler too.

    Args:
        evaluator: measures; closed by the caller.
        path: the CSV to be written, gzipped when it ends in .gz. The journal is beside it until the recording is finished.
        builders: kernels built at once.
        clock: seconds; for tests.
        facts: of the device at the moment (clocks, temperature), asked at the beginning and at the end.
        command: what the user said; for the provenance.
    """

    def __init__(
        self,
        plan: Plan,
        evaluator: Evaluator,
        path: Path,
        *,
        builders: int = 1,
        clock: Callable[[], float] = time.monotonic,
        facts: Callable[[], Mapping[str, str]] = dict,
        command: str = "",
    ) -> None:
        self.plan, self.evaluator, self.path, self.builders, self.clock = plan, evaluator, path, builders, clock
        self.facts, self.command = facts, command
        self.kernel: Kernel = evaluator.seeds()[0]
        self.space = evaluator.space(self.kernel)
        self.keys = chosen(self.space, plan, self.kernel.key)
        self._stopped = False
        self._left_out: dict[Key, str] = {}
        """Why, by configuration."""
        self._entries: dict[Key, Entry] = {}
        self._build_seconds: dict[Key, float] = {}
        self._programs: dict[str, Entry] = {}
        """Who was measured first, by artifact."""

    @property
    def journal(self) -> Path:
        return self.path.with_name(self.path.name + ".partial")

    def record(
        self,
        observer: Callable[[Recorded], None] = lambda state: None,
        *,
        seconds: float | None = None,
        build_only: bool = False,
        cut: bool = False,
    ) -> Recorded:
        """Measures what is missing, then writes the CSV and its provenance.

        Args:
            seconds: stop after this time; another call continues.
            build_only: build what is missing into the evaluator's cache and measure nothing.
            cut: when it ends before everything is measured, write what is known as a smaller sample; nothing continues it.

        Raises:
            UserError: the file exists already, its journal belongs to another plan, or the evaluator keeps failing.
        """
        if self.path.exists():
            raise UserError(
                "The recording exists already.", file=self.path, expected="a new file", remedy="Delete it, or choose another name."
            )
        deadline = None if seconds is None else self.clock() + seconds
        self._left_out.clear()
        before = self.facts()
        with Journal(self.journal, {"plan": self.plan.digest}) as journal:
            for row in journal.rows:
                self._remember(row)
            self._sweep(journal, deadline, observer, build_only)
        short = len(self._entries) < len(self.keys)
        if build_only or (short and not (cut and self._entries)):
            return self.state(built=build_only)
        self._write({"begin": before, "end": self.facts()})
        self.journal.unlink()
        state = self.state()
        return Recorded(state.done, state.total, state.failed, state.best, True, state.left_out)

    def stop(self) -> None:
        """Ends `record` after the measurement that is being made."""
        self._stopped = True

    def _sweep(self, journal: Journal, deadline: float | None, observer: Callable[[Recorded], None], build_only: bool) -> None:
        order = [key for key in self._shuffled() if key not in self._entries]
        if build_only:
            order = [key for key in order if key not in self._build_seconds]
        troubles = 0
        for key, prepared, spent in self._prepared(order, deadline):
            if key not in self._build_seconds:
                self._note(journal, {"built": key, "seconds": spent})
            if not build_only:
                try:
                    self._note(journal, {"entry": asdict(self._measure(key, prepared))})
                    troubles = 0
                except NotMeasured as trouble:
                    self._left_out[key] = str(trouble)
                    troubles += 1
                    if troubles >= MOST_TROUBLES:
                        what, remedy = "The evaluator keeps failing.", "`evo doctor` says what this machine lacks; then record again."
                        raise UserError(what, found=str(trouble), remedy=remedy) from trouble
            observer(self.state(built=build_only))
            if self._stopped or (deadline is not None and self.clock() >= deadline):
                return

    def state(self, *, built: bool = False) -> Recorded:
        entries = self._entries.values()
        best = max((entry.speedup for entry in entries if entry.speedup is not None), default=None)
        failed = sum(entry.status != "ok" for entry in entries)
        done = len(self._build_seconds) if built else len(self._entries)
        return Recorded(done, len(self.keys), failed, best, left_out=len(self._left_out))

    # ── one configuration ──

    def _shuffled(self) -> list[Key]:
        order = list(self.keys)
        random.Random(f"order/{self.plan.seed}").shuffle(order)
        return sorted(order, key=lambda key: key != self.kernel.key)

    def _prepared(self, order: Sequence[Key], deadline: float | None) -> Iterator[tuple[Key, Prepared, float]]:
        """(key, what was built, seconds it took) in order, built ahead by `builders` threads."""

        def build(key: Key) -> tuple[Prepared, float]:
            start = time.perf_counter()
            prepared = self.evaluator.prepare(self.kernel.with_key(key))
            return prepared, time.perf_counter() - start

        with ThreadPoolExecutor(self.builders) as pool:
            waiting: list[tuple[Key, Future[tuple[Prepared, float]]]] = []
            upcoming = iter(order)
            try:
                while True:
                    while len(waiting) < AHEAD * self.builders and (key := next(upcoming, None)) is not None:
                        waiting.append((key, pool.submit(build, key)))
                    if not waiting or self._stopped or (deadline is not None and self.clock() >= deadline):
                        return
                    key, future = waiting.pop(0)
                    yield key, *future.result()
            finally:
                pool.shutdown(cancel_futures=True)

    def _measure(self, key: Key, prepared: Prepared) -> Entry:
        cost = self._build_seconds[key]
        twin = self._programs.get(prepared.artifact) if prepared.artifact else None
        if twin is not None:
            return Entry(
                key, twin.status, twin.speedup, twin.baseline, cost + twin.cost - self._build_seconds[twin.key], twin.artifact, True
            )
        start = time.perf_counter()
        evaluation = self._insist(prepared)
        cost += time.perf_counter() - start
        if evaluation.outcome is not Outcome.OK:
            return Entry(key, evaluation.outcome.value, cost=cost, artifact=prepared.artifact)
        recorded = evaluation.cost.get("recorded")  # a recording of a recording keeps what the first one cost
        baselines = [typical_seconds(samples.baseline, only_longer=samples.only_longer) for samples in evaluation.samples]
        baseline = statistics.geometric_mean(baselines)
        return Entry(key, "ok", evaluation.speedup, baseline, cost if recorded is None else recorded, prepared.artifact)

    def _insist(self, prepared: Prepared) -> Evaluation:
        """An evaluation that says something about the kernel. Raises `NotMeasured`."""
        said = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(0.1 * 2**attempt)
            try:
                if attempt and prepared.failed is not None:
                    prepared = self.evaluator.prepare(prepared.kernel)
                evaluation = self.evaluator.measure(prepared)
            except ExecutorError as error:
                said = str(error).partition("\n")[0]
                continue
            if evaluation.outcome is not Outcome.INFRASTRUCTURE_ERROR:
                return evaluation
            said = evaluation.diagnostics[0].message if evaluation.diagnostics else "no reason"
        raise NotMeasured(said)

    # ── what is known ──

    def _note(self, journal: Journal, row: Mapping[str, Any]) -> None:
        journal.append(row)
        self._remember(json.loads(json.dumps(row)))

    def _remember(self, row: Mapping[str, Any]) -> None:
        if "built" in row:
            self._build_seconds.setdefault(tuple(row["built"]), row["seconds"])
            return
        entry = Entry(**{**row["entry"], "key": tuple(row["entry"]["key"])})
        self._entries[entry.key] = entry
        if entry.artifact and not entry.twin:
            self._programs.setdefault(entry.artifact, entry)

    # ── what comes out ──

    def _write(self, moments: Mapping[str, Mapping[str, str]]) -> None:
        baselines = [entry.baseline for entry in self._entries.values() if entry.baseline is not None]
        if not baselines:
            raise UserError(
                "No configuration worked, so there is nothing to record.", file=self.journal, found=f"{len(self._entries)} failures"
            )
        baseline = statistics.median(baselines)
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([*self.space.names, "status", "time_ms", "cost_ms"])
        for entry in self._known:
            spent = "" if entry.speedup is None else f"{baseline / entry.speedup * 1e3:.6g}"
            writer.writerow([*self.space.values(entry.key).values(), entry.status, spent, f"{entry.cost * 1e3:.4g}"])
        data = buffer.getvalue().encode()
        if self.path.suffix == ".gz":
            data = gzip.compress(data, 9, mtime=0)
        with contextlib.suppress(FileExistsError):
            self.path.parent.mkdir(parents=True)
        write_whole(provenance_path(self.path), (json.dumps(self._provenance(baseline, moments), indent=2, default=str) + "\n").encode())
        write_whole(self.path, data)

    @property
    def _known(self) -> list[Entry]:
        """What was measured, in the space's own order."""
        return [self._entries[key] for key in self.keys if key in self._entries]

    def _provenance(self, baseline: float, moments: Mapping[str, Mapping[str, str]]) -> dict[str, object]:
        """Where the figures come from: what is needed to judge them, and to record them again."""
        from evo import __version__

        entries = self._known
        failures: dict[str, int] = {}
        for entry in entries:
            if entry.status != "ok":
                failures[entry.status] = failures.get(entry.status, 0) + 1
        told: dict[str, object] = {
            "what": f"Measured times of {len(entries)} configurations of {Path(self.plan.problem).name}: {self._extent()}",
            "format": "parameters, status, time_ms, cost_ms; a configuration that is not listed is not in the space",
            "time_ms": "median seconds of the baseline over the recording, divided by the configuration's paired speedup",
            "baseline_ms": baseline * 1e3,
            "configurations": len(entries),
            "planned": len(self.keys),
            "whole_space": self.space.size,
            "failures": failures,
            "same_program_as_another": sum(entry.twin for entry in entries),
            "seconds_spent": round(sum(entry.cost for entry in entries if not entry.twin), 1),
            "plan": asdict(self.plan),
            "command": self.command,
            "evo": __version__,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        if any(moments.values()):
            told["device_then"] = moments
        return {**told, "kernel": self.kernel.source, "environment": dict(self.evaluator.environment().facts)}

    def _extent(self) -> str:
        """Which configurations these are, of which."""
        sampled = self.plan.sample is not None
        planned = f"{len(self.keys)} drawn at random (seed {self.plan.seed}), the seed's among them" if sampled else f"all {len(self.keys)}"
        part = f"{planned} of {'the part in `plan`' if self.plan.only else 'the whole space'}"
        if len(self._entries) == len(self.keys):
            return part
        return f"the first {len(self._entries)} in a random order (seed {self.plan.seed}), the seed's first, of {part}"


def provenance_path(path: Path) -> Path:
    """`softmax.csv.gz` → `softmax.json`."""
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".csv") + ".json")
