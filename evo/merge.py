"""Two runs made one: every candidate of both, under new numbers, before one archive.

Figures are compared as they stand, so the runs must have been measured alike: the same problem version, device, toolchain
and protocol, which is what an environment's id says. (Runs from elsewhere warm a new run instead: `--warm-from`.) No duel
can be fought afterwards; where the archive cannot tell, the incumbent stays. The result can be shown, resumed and exported
like any run.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from archive.base import Archive
from archive.candidate import AddStatus, Candidate, Proposal, Repair
from archive.descriptors import default_descriptors, parse_descriptors
from archive.evaluation import Evaluation
from archive.events import Event
from archive.grid import GridArchive
from archive.lineage import Lineage
from evo.config import Config, load_config
from evo.errors import UserError
from evo.reading import RunReader, is_alive, open_run
from evo.rundir import RunDir

__all__ = ["Merged", "merge"]


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge came to."""

    path: Path
    candidates: int
    duplicates: int
    """Candidates whose kernel an earlier run of the merge had brought."""
    cells: int
    best: int | None


@dataclass
class _Book:
    """What is known while candidates are copied."""

    archive: Archive
    lineage: Lineage
    numbers: dict[tuple[int, int], int] = field(default_factory=dict)
    """(which run, number there) → number here."""
    kernels: dict[str, int] = field(default_factory=dict)
    again: list[tuple[int, Evaluation]] = field(default_factory=list)
    """Further sittings of candidates, to be pooled once all are in."""
    duplicates: int = 0


def merge(runs: Sequence[Path], out: Path) -> Merged:
    """Makes the run `out` of the candidates of `runs`, in their order.

    Raises:
        UserError: fewer than two runs, one is being worked on, they were not measured alike, or `out` is in use.
    """
    if len({run.resolve() for run in runs}) < 2:
        raise UserError("There is nothing to merge.", found=", ".join(map(str, runs)), expected="two different runs")
    for run in runs:
        if is_alive(run):
            raise UserError("A live process works on this run.", file=run, remedy="Wait for it to end, or stop it.")
    config = load_config(RunDir(runs[0]).config)
    deterministic = _alike(runs)
    folder = RunDir.create(config.model_copy(update={"name": out.name if out.name else config.name}), out)
    try:
        with Lineage.create(folder.database, group_ms=100.0) as lineage:
            return _copy(runs, config, lineage, deterministic, out)
    except BaseException:
        folder.remove()
        raise


def _alike(runs: Sequence[Path]) -> bool:
    """Whether measurements are exact. Raises UserError when the runs cannot be compared."""
    first: dict[str, object] = {}
    exact = True
    for run in runs:
        with open_run(run) as reader:
            config = reader.config
            facts: dict[str, object] = {
                "problem": reader.record.problem,
                "target": reader.record.target,
                "archive.descriptors": json.dumps(config.get("archive", {}).get("descriptors")),
                "environment": ", ".join(sorted(environment.id for environment in reader.lineage.environments())),
            }
            exact = exact and not reader.lineage.select(
                "SELECT 1 FROM evaluations WHERE run = ? AND low <> objective LIMIT 1", (reader.record.id,)
            )
        for key, value in facts.items():
            if first.setdefault(key, value) != value:
                raise UserError(
                    "These runs were not measured alike, so their figures cannot stand side by side.",
                    file=run, key=key, found=str(value), expected=str(first[key]),
                    remedy="Start a new run with --warm-from: it measures their elites anew.",
                )  # fmt: skip
    return exact


def _copy(runs: Sequence[Path], config: Config, lineage: Lineage, deterministic: bool, out: Path) -> Merged:
    from evo import __version__

    lineage.start_run(
        config.model_copy(update={"name": out.name}).model_dump_json(), config.seed, config.problem, config.target.name,
        strategy=config.strategy.name, version=__version__,
    )  # fmt: skip
    book: _Book | None = None
    seconds = 0.0
    for index, run in enumerate(runs):
        with open_run(run) as reader:
            if book is None:
                book = _Book(_archive(reader, config, deterministic), lineage)
            for environment in reader.lineage.environments():
                lineage.environment(environment)
            for candidate in reader.lineage.candidates():
                _take(book, index, candidate)
            for event in reader.lineage.events():
                for number, evaluation in (event.evaluations or {}).items():
                    if (index, number) in book.numbers:
                        book.again.append((book.numbers[index, number], evaluation))
            _certificates(book, index, reader)
            seconds += reader.facts().seconds
    assert book is not None
    for number, evaluation in book.again:
        change = book.archive.remeasure(number, evaluation)
        lineage.event(Event.remeasured(number, change, evaluation))
    lineage.end_session("interrupted")  # nothing of it was searched here; resuming goes on under its budget
    lineage.flush()
    best = book.archive.best
    return Merged(out, len(book.numbers), book.duplicates, len(book.archive), None if best is None else best.number)


def _archive(reader: RunReader, config: Config, deterministic: bool) -> Archive:
    if config.archive.descriptors:
        return GridArchive(parse_descriptors(list(config.archive.descriptors)), deterministic=deterministic)
    seed = next(candidate.kernel for candidate in reader.lineage.candidates() if candidate.kernel is not None)
    return GridArchive(default_descriptors(config.target.name, seed.space), deterministic=deterministic)


def _take(book: _Book, index: int, candidate: Candidate) -> None:
    """Copies a candidate under a new number and puts it before the archive."""
    number = len(book.numbers)
    book.numbers[index, candidate.number] = number
    parents = tuple(book.numbers[index, parent] for parent in candidate.proposal.parents if (index, parent) in book.numbers)
    goal = candidate.proposal.goal
    if isinstance(goal, Repair):
        goal = Repair(book.numbers.get((index, goal.candidate), number))
    proposal = Proposal(number, candidate.proposal.operator, parents, goal)
    notes = {**candidate.notes, "merged": [index, candidate.number]}
    kernel, evaluation = candidate.kernel, candidate.evaluation
    earlier = None if kernel is None else book.kernels.setdefault(kernel.id, number)
    book.lineage.propose(proposal)
    book.lineage.draft(number, kernel, notes)
    if earlier is not None and earlier != number:
        book.duplicates += 1
        if evaluation is not None and evaluation.ok and not evaluation.reused:
            book.again.append((earlier, evaluation))
        book.lineage.commit(Candidate(proposal, kernel, None, duplicate_of=earlier, notes=notes))
        return
    copied = Candidate(proposal, kernel, evaluation, notes=notes)
    offered = candidate.status is not None and evaluation is not None and evaluation.ok
    if not offered:
        book.lineage.commit(replace(copied, cell=candidate.cell))
        return
    result = book.archive.offer(copied)
    committed = replace(copied, cell=result.cell, status=result.status)
    book.lineage.commit(committed, Event.offered(number, result))
    if result.status is AddStatus.CONTEST and result.incumbent is not None and result.cell is not None:
        change = book.archive.settle(result.cell, result.incumbent.candidate, {})
        book.lineage.event(Event.settled(result.incumbent.candidate.number, change, {}))


def _certificates(book: _Book, index: int, reader: RunReader) -> None:
    rows = reader.lineage.select("SELECT * FROM certificates WHERE run = ? ORDER BY id", (reader.record.id,))
    for row in rows:
        speedup = None if row["speedup"] is None else (row["speedup"], row["low"], row["high"])
        number = book.numbers[index, row["candidate"]]
        book.lineage.certificate(
            book.kernels.get(row["kernel"], number), row["kernel"], bool(row["ok"]),
            facts=json.loads(row["facts"]), strongest=row["strongest"], speedup=speedup, roofline_share=row["roofline_share"],
            environment=row["environment"], seconds=row["seconds"],
        )  # fmt: skip
