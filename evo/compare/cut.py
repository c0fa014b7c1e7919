"""A comparison that is ended before its end: every run as far as the shortest one came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evo.compare.config import CompareConfig
from evo.compare.outcome import Outcome, read_outcome
from evo.compare.runner import FORMAT
from evo.compare.schedule import Task
from evo.errors import UserError
from evo.journal import Journal
from evo.reading import DATABASE

__all__ = ["cut_short"]

LEAST = 2
"""Evaluations below which a run says nothing."""


def cut_short(config: CompareConfig, tasks: Sequence[Task], out: Path) -> tuple[CompareConfig, list[Outcome]]:
    """What is there, and the config that asks for no more than that: seeds that every strategy has on every problem, and as many
    evaluations as the shortest of those runs has.

    Raises:
        UserError: no seed was begun everywhere, or the budget is not one of evaluations.
    """
    if config.budget.evaluations is None:
        raise UserError("Only a comparison by evaluations can be cut short.", key="budget", expected="evaluations")
    with Journal(out / "runs.jsonl", FORMAT) as journal:
        known = {row["run"]: row for row in journal.rows}
    begun: list[Outcome] = []
    for task in tasks:
        if task.identity in known:
            begun.append(Outcome.from_row(known[task.identity], task))
        elif not task.recorded and ((folder := task.folder(out)) / DATABASE).exists():
            begun.append(read_outcome(task, folder, "cut", None, 0.0))
    begun = [outcome for outcome in begun if len(outcome.objective) >= LEAST]
    each = len(config.problems) * len(config.contestants)
    seeds = tuple(seed for seed in config.seed_list if sum(outcome.seed == seed for outcome in begun) == each)
    if not seeds:
        raise UserError("No seed was begun with every strategy on every problem.", file=out, remedy="Let the comparison go on for longer.")
    begun = [outcome for outcome in begun if outcome.seed in seeds]
    least = min(len(outcome.objective) for outcome in begun)
    budget = config.budget.model_copy(update={"evaluations": min(least, config.budget.evaluations)})
    return config.model_copy(update={"seeds": seeds, "budget": budget}), [_shortened(outcome, least) for outcome in begun]


def _shortened(outcome: Outcome, evaluations: int) -> Outcome:
    first = slice(evaluations)
    return replace(
        outcome, objective=outcome.objective[first], seconds=outcome.seconds[first], dollars=outcome.dollars[first],
        cells=outcome.cells[first],
    )  # fmt: skip
