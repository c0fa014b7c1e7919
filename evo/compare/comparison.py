"""A comparison from its config to its folder: run what is missing, analyse, draw, report."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evo.compare.analysis import Analysis, analyse
from evo.compare.config import CompareConfig
from evo.compare.curves import curves_csv
from evo.compare.cut import cut_short
from evo.compare.outcome import Outcome
from evo.compare.pairs import Pair
from evo.compare.pictures import draw_pictures
from evo.compare.reference import Reference, measured_reference, recorded_reference
from evo.compare.report import report
from evo.compare.runner import Advance, cores, run_all
from evo.compare.schedule import schedule
from evo.compare.statistics import need
from evo.journal import write_whole

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """A finished comparison."""

    folder: Path
    """config.yaml, runs.jsonl, curves.csv, tests.csv, report.md and the pictures."""
    analysis: Analysis
    outcomes: tuple[Outcome, ...]
    pictures: dict[str, Path]

    @property
    def report(self) -> Path:
        return self.folder / "report.md"

    @property
    def curves(self) -> Path:
        return self.folder / "curves.csv"


def compare(
    config: CompareConfig,
    out: Path | str,
    observer: Callable[[Advance], None] = lambda advance: None,
    *,
    command: str = "",
    cut: bool = False,
) -> Comparison:
    """Runs what is missing in `out` and writes everything anew.

    Args:
        observer: told after each run, in this thread.
        command: that the report says makes it again.
        cut: run nothing more and report on what is there (`evo.compare.cut`).

    Raises:
        UserError: something in the config does not exist or fit, a statistics library is missing, another process is at it.
    """
    need()
    out = Path(out)
    tasks = schedule(config)
    out.mkdir(parents=True, exist_ok=True)
    if cut:
        config, outcomes = cut_short(config, tasks, out)
    else:
        outcomes = run_all(tasks, out, jobs=config.jobs or cores(), observer=observer)
    references = references_of(config, outcomes)
    analysis = analyse(config, outcomes, references)
    write_whole(out / "config.yaml", dump(config).encode())
    write_whole(out / "curves.csv", curves_csv(outcomes, references))
    write_whole(out / "tests.csv", tests_csv(analysis))
    pictures = draw_pictures(analysis, outcomes, out)
    write_whole(out / "report.md", report(analysis, outcomes, pictures, command).encode())
    return Comparison(out, analysis, tuple(outcomes), pictures)


def references_of(config: CompareConfig, outcomes: list[Outcome]) -> dict[str, Reference]:
    return {
        entry.label: recorded_reference(entry, config.archive) if entry.recorded else measured_reference(entry, outcomes, config.archive)
        for entry in config.problems
    }


def dump(config: CompareConfig) -> str:
    """The resolved config; `load_comparison` reads it back."""
    import yaml

    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)


def tests_csv(analysis: Analysis) -> bytes:
    """Every pair, over all problems (empty `problem`) and on each."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["one", "other", "problem", "difference", "a12", "p", "p_holm", "seeds_needed"])
    for pair in (*analysis.overall, *analysis.by_problem):
        writer.writerow(test_row(pair))
    return buffer.getvalue().encode()


def test_row(pair: Pair) -> list[object]:
    needed = int(pair.needed) if math.isfinite(pair.needed) else ""
    figures = [f"{value:.6g}" for value in (pair.difference, pair.a12, pair.p, pair.adjusted)]
    return [pair.one, pair.other, pair.problem, *figures, needed]
