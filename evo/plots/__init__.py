"""Pictures of runs. matplotlib is loaded when one is drawn, never before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "FORMATS",
    "KINDS",
    "archive_filling",
    "archive_heatmap",
    "convergence",
    "draw",
    "lineage_tree",
    "operator_credit",
    "roofline",
    "run_picture",
    "save",
    "time_per_stage",
]

KINDS = ("summary", "convergence", "archive", "filling", "lineage", "credit", "roofline", "stages")
"""What `draw` can draw of runs."""
SEVERAL = frozenset({"summary", "convergence", "filling", "roofline"})
"""Those that take more than one run."""

FORMATS = (".png", ".svg", ".pdf")
PICTURE = "picture.png"


def run_picture(run: Path) -> Path:
    """Draws `run` (its folder) into `picture.png` beside its database and returns that path."""
    return save(draw([run]), run / PICTURE)


def draw(runs: Sequence[Path], kind: str = "summary") -> Figure:
    """A picture of one of `KINDS`; the summary of one run is convergence and archive, of several their convergence, compared.

    Raises:
        UserError: the kind takes one run, or there is nothing of it to draw yet.
    """
    from evo.errors import UserError

    if len(runs) > 1 and kind not in SEVERAL:
        one_each = ", ".join(name for name in KINDS if name in SEVERAL)
        raise UserError(f"A picture of kind `{kind}` shows one run.", found=f"{len(runs)} runs", expected=f"one run, or one of {one_each}")
    drawings = {
        "summary": lambda: _summary(runs),
        "convergence": lambda: convergence(runs),
        "archive": lambda: archive_heatmap(runs[0]),
        "filling": lambda: archive_filling(runs),
        "lineage": lambda: lineage_tree(runs[0]),
        "credit": lambda: operator_credit(runs[0]),
        "roofline": lambda: roofline(runs),
        "stages": lambda: time_per_stage(runs[0]),
    }
    try:
        return drawings[kind]()
    except ValueError as error:
        raise UserError(f"There is no picture of kind `{kind}`: {error}.", file=runs[0] if runs else None) from error


def _summary(runs: Sequence[Path]) -> Figure:
    from evo.plots.best_so_far import convergence as compare
    from evo.plots.picture import draw_picture
    from evo.plots.record import read_record

    records = [read_record(run) for run in runs]
    return draw_picture(records[0]) if len(records) == 1 else compare(records)


def convergence(runs: Sequence[Path]) -> Figure:
    """Best speedup against evaluations: every evaluation of one run, or the best so far of several."""
    from evo.plots.best_so_far import convergence as drawn
    from evo.plots.record import read_record

    return drawn([read_record(run) for run in runs])


def archive_heatmap(run: Path) -> Figure:
    """The archive of one run as a map of its cells."""
    from evo.plots.heatmap import archive_heatmap as drawn
    from evo.plots.record import read_record

    return drawn(read_record(run))


def archive_filling(runs: Sequence[Path]) -> Figure:
    """Cells filled and QD-score over time, of one or several runs."""
    from evo.plots.filling import archive_filling as drawn
    from evo.plots.history import read_history

    return drawn([read_history(run) for run in runs])


def lineage_tree(run: Path) -> Figure:
    """Who the winner comes from, and what every edit gained."""
    from evo.plots.history import read_history
    from evo.plots.tree import lineage_tree as drawn

    return drawn(read_history(run))


def operator_credit(run: Path) -> Figure:
    """What each operator was used for over time, and what it brought."""
    from evo.plots.credit import operator_credit as drawn
    from evo.plots.history import read_history

    return drawn(read_history(run))


def roofline(runs: Sequence[Path]) -> Figure:
    """The elites of measured runs under what the machine's memory and arithmetic units allow."""
    from evo.plots.history import read_history
    from evo.plots.roofs import known_roofs
    from evo.plots.roofs import roofline as drawn

    return drawn([read_history(run) for run in runs], known_roofs(runs))


def time_per_stage(run: Path) -> Figure:
    """Where the time of a run went, by stage of the evaluation."""
    from evo.plots.history import read_history
    from evo.plots.stages import time_per_stage as drawn

    return drawn(read_history(run))


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure, whole or not at all, in the format of the path's suffix."""
    from evo.plots.style import save as write

    return write(figure, path)
