"""Recording a tuning space: every configuration of a kernel, or a stated part of them, measured once by the real evaluator.

What comes out is a compact CSV (parameters, `status`, `time_ms`, `cost_ms`) that the `tabular` target loads, with a JSON file
beside it that says where it comes from. A recording can be stopped at any moment, `kill -9` included, and continued: each
configuration is written to a journal when it is known.

Configurations are measured in a shuffled order, so that a machine that drifts does not favour one corner of the space, and a
time is the median time of the baseline over the whole recording divided by the configuration's own paired speedup, so that the
drift cancels.
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

import numpy as np

from archive.evaluation import Evaluation, Outcome
from archive.kernel import Kernel
from archive.space import Key
from evo.errors import UserError
from evo.journal import Journal, write_whole
from evo.sweep import Plan, chosen
from fitness.protocol import Evaluator, Prepared

__all__ = ["Entry", "Plan", "Recorded", "Recorder", "chosen"]

ATTEMPTS = 3
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
    """Median seconds of the baseline in this sitting."""
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


class Recorder:
    """Records a plan into `path`; use `record`, as often as it takes.

    Args:
        evaluator: measures; closed by the caller.
        path: the CSV to be written, gzipped when it ends in .gz. The journal is beside it until the recording is finished.
        builders: kernels built at once.
        clock: seconds; for tests.
    """

    def __init__(
        self, plan: Plan, evaluator: Evaluator, path: Path, *, builders: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.plan, self.evaluator, self.path, self.builders, self.clock = plan, evaluator, path, builders, clock
        self.kernel: Kernel = evaluator.seeds()[0]
        self.space = evaluator.space(self.kernel)
        self.keys = chosen(self.space, plan)
        self._entries: dict[Key, Entry] = {}
        self._build_seconds: dict[Key, float] = {}
        self._programs: dict[str, Entry] = {}
        """Who was measured first, by artifact."""

    @property
    def journal(self) -> Path:
        return self.path.with_name(self.path.name + ".partial")

    def record(
        self, observer: Callable[[Recorded], None] = lambda state: None, *, seconds: float | None = None, build_only: bool = False
    ) -> Recorded:
        """Measures what is missing, then writes the CSV and its provenance.

        Args:
            seconds: stop after this time; another call continues.
            build_only: build what is missing into the evaluator's cache and measure nothing.

        Raises:
            UserError: the file exists already, its journal belongs to another plan, or the evaluator keeps failing.
        """
        if self.path.exists():
            raise UserError(
                "The recording exists already.", file=self.path, expected="a new file", remedy="Delete it, or choose another name."
            )
        deadline = None if seconds is None else self.clock() + seconds
        with Journal(self.journal, {"plan": self.plan.digest}) as journal:
            for row in journal.rows:
                self._remember(row)
            order = [key for key in self._shuffled() if key not in self._entries]
            if build_only:
                order = [key for key in order if key not in self._build_seconds]
            for key, prepared, spent in self._prepared(order, deadline):
                if key not in self._build_seconds:
                    self._note(journal, {"built": key, "seconds": spent})
                if not build_only:
                    self._note(journal, {"entry": asdict(self._measure(key, prepared))})
                observer(self.state(built=build_only))
                if deadline is not None and self.clock() >= deadline:
                    break
        state = self.state(built=False)
        if len(self._entries) < len(self.keys):
            return self.state(built=build_only)
        self._write()
        self.journal.unlink()
        return Recorded(state.done, state.total, state.failed, state.best, finished=True)

    def state(self, *, built: bool = False) -> Recorded:
        entries = self._entries.values()
        best = max((entry.speedup for entry in entries if entry.speedup is not None), default=None)
        failed = sum(entry.status != "ok" for entry in entries)
        return Recorded(len(self._build_seconds) if built else len(self._entries), len(self.keys), failed, best)

    # ── one configuration ──

    def _shuffled(self) -> list[Key]:
        order = list(self.keys)
        random.Random(f"order/{self.plan.seed}").shuffle(order)
        return order

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
                    if not waiting or (deadline is not None and self.clock() >= deadline):
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
        baselines = [float(np.median(samples.baseline)) for samples in evaluation.samples]
        baseline = statistics.geometric_mean(baselines)
        return Entry(key, "ok", evaluation.speedup, baseline, cost if recorded is None else recorded, prepared.artifact)

    def _insist(self, prepared: Prepared) -> Evaluation:
        """An evaluation that says something about the kernel."""
        for attempt in range(ATTEMPTS):
            evaluation = self.evaluator.measure(prepared)
            if evaluation.outcome is not Outcome.INFRASTRUCTURE_ERROR:
                return evaluation
            time.sleep(0.2 * 2**attempt)
        said = evaluation.diagnostics[0].message if evaluation.diagnostics else "no reason"
        raise UserError("The evaluator keeps failing.", found=said, remedy="`evo doctor` says what this machine lacks; then record again.")

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

    def _write(self) -> None:
        baselines = [entry.baseline for entry in self._entries.values() if entry.baseline is not None]
        if not baselines:
            raise UserError(
                "No configuration worked, so there is nothing to record.", file=self.journal, found=f"{len(self.keys)} failures"
            )
        baseline = statistics.median(baselines)
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([*self.space.names, "status", "time_ms", "cost_ms"])
        for key in self.keys:
            entry = self._entries[key]
            spent = "" if entry.speedup is None else f"{baseline / entry.speedup * 1e3:.6g}"
            writer.writerow([*self.space.values(key).values(), entry.status, spent, f"{entry.cost * 1e3:.4g}"])
        data = buffer.getvalue().encode()
        if self.path.suffix == ".gz":
            data = gzip.compress(data, 9, mtime=0)
        with contextlib.suppress(FileExistsError):
            self.path.parent.mkdir(parents=True)
        write_whole(provenance_path(self.path), (json.dumps(self._provenance(baseline), indent=2, default=str) + "\n").encode())
        write_whole(self.path, data)

    def _provenance(self, baseline: float) -> dict[str, object]:
        """Where the figures come from: what is needed to judge them, and to record them again."""
        from evo import __version__

        entries = list(self._entries.values())
        failures: dict[str, int] = {}
        for entry in entries:
            if entry.status != "ok":
                failures[entry.status] = failures.get(entry.status, 0) + 1
        part = f"{self.plan.sample} drawn at random (seed {self.plan.seed})" if self.plan.sample is not None else "all"
        return {
            "what": f"Measured times of {len(self.keys)} configurations of {Path(self.plan.problem).name}: {part} of the part in `plan`",
            "format": "parameters, status, time_ms, cost_ms; a configuration that is not listed is not in the space",
            "time_ms": "median seconds of the baseline over the recording, divided by the configuration's paired speedup",
            "baseline_ms": baseline * 1e3,
            "configurations": len(self.keys),
            "whole_space": self.space.size,
            "failures": failures,
            "same_program_as_another": sum(entry.twin for entry in entries),
            "seconds_spent": round(sum(entry.cost for entry in entries if not entry.twin), 1),
            "plan": asdict(self.plan),
            "evo": __version__,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "kernel": self.kernel.source,
            "environment": dict(self.evaluator.environment().facts),
        }


def provenance_path(path: Path) -> Path:
    """`softmax.csv.gz` → `softmax.json`."""
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".csv") + ".json")
