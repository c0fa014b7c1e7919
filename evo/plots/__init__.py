"""Pictures of runs. matplotlib is loaded when one is drawn, never before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FORMATS", "archive_heatmap", "convergence", "draw", "run_picture", "save"]

FORMATS = (".png", ".svg", ".pdf")
PICTURE = "picture.png"


def run_picture(run: Path) -> Path:
    """Draws `run` (its folder) into `picture.png` beside its database and returns that path."""
    return save(draw([run]), run / PICTURE)


def draw(runs: Sequence[Path]) -> Figure:
    """One run: convergence and archive. Several: their convergence, compared."""
    from evo.plots.convergence import convergence as compare
    from evo.plots.picture import draw_picture
    from evo.plots.record import read_record

    records = [read_record(run) for run in runs]
    return draw_picture(records[0]) if len(records) == 1 else compare(records)


def convergence(runs: Sequence[Path]) -> Figure:
    """Best speedup against evaluations: every evaluation of one run, or the best so far of several."""
    from evo.plots.convergence import convergence as drawn
    from evo.plots.record import read_record

    return drawn([read_record(run) for run in runs])


def archive_heatmap(run: Path) -> Figure:
    """The archive of one run as a map of its cells."""
    from evo.plots.heatmap import archive_heatmap as drawn
    from evo.plots.record import read_record

    return drawn(read_record(run))


def save(figure: Figure, path: Path) -> Path:
    """Writes a figure, whole or not at all, in the format of the path's suffix."""
    from evo.plots.style import save as write

    return write(figure, path)
