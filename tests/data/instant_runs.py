"""Runs with the instant evaluator, as tests make them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from instant_evaluator import DESCRIPTORS, Instant, InstantEvaluator

from archive.candidate import Candidate
from archive.lineage import Lineage
from evo.config import Config, parse_config
from evo.run import Run

__all__ = ["config", "finished", "make_run", "open_again", "trace"]


def config(**changes: Any) -> Config:
    """A config for the instant evaluator; sections given as keyword arguments replace the defaults."""
    basic: dict[str, Any] = {
        "name": "instant",
        "problem": "synthetic",
        "target": "tabular",
        "deterministic": True,
        "budget": {"evaluations": 60},
        "archive": {"descriptors": list(DESCRIPTORS)},
        "executor": {"name": "local", "builders": 2},
    }
    return parse_config({**basic, **changes})


def make_run(path: Path, behaviour: Instant | None = None, **changes: Any) -> Run:
    return Run.create(config(**changes), path, evaluator_factory=InstantEvaluator, evaluator_arguments=(behaviour or Instant(),))


def open_again(path: Path, behaviour: Instant | None = None) -> Run:
    return Run.open(path, evaluator_factory=InstantEvaluator, evaluator_arguments=(behaviour or Instant(),))


def finished(path: Path) -> list[Candidate]:
    """Every candidate of a run, in the order of commits."""
    with Lineage.open(path / "run.db", readonly=True) as lineage:
        return list(lineage.candidates())


def trace(path: Path) -> list[tuple[object, ...]]:
    """What a run did, without times: equal traces, equal runs."""
    return [
        (c.number, c.proposal.operator, c.proposal.parents, c.kernel and c.kernel.id, c.objective, c.ok, c.cell, c.status, c.duplicate_of)
        for c in finished(path)
    ]
