"""The shared look of the pictures: one style file, one palette, one way to write a speedup.

Colours are Okabe and Ito's (2008), which the common kinds of colour blindness can tell apart; every colour is paired with
a marker, so that greyscale print loses nothing. Figures are made without pyplot: no global state, no display.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "INK", "MARKERS", "house_style", "new_figure", "save", "speedup_axis", "times"]

INK = "#222222"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "^", "s", "D", "v", "P", "X")
STYLE_FILE = Path(__file__).with_name("evo.mplstyle")


@contextmanager
def house_style() -> Iterator[None]:
    """matplotlib's settings as the style file has them, whatever the user's own are."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc_file(STYLE_FILE)
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` x `height` inches on the Agg canvas, laid out by matplotlib's constrained layout."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Writes `figure` in the format of `path`'s suffix, whole or not at all; returns `path`."""
    import os

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with house_style():
            figure.savefig(partial, metadata={"Software": None} if path.suffix == ".png" else None)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def times(speedup: float) -> str:
    """A speedup as a reader wants it: `0.85×`, `3.2×`, `14×`."""
    digits = 2 if speedup < 3 else 1 if speedup < 10 else 0
    return f"{speedup:.{digits}f}×"


def speedup_axis(axes: Axes, low: float, high: float) -> None:
    """A base-2 logarithmic y axis from `low` to `high` whose ticks are round speedups, neither too few nor crowded."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_yscale("log", base=2)
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator(round_ticks(low, high)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))


def round_ticks(low: float, high: float) -> Sequence[float]:
    """Round numbers between `low` and `high` on a logarithmic scale: the finest ladder that gives at most nine."""
    ladders = (
        (1, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2, 2.25, 2.5, 2.75, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 8, 9),
        (1, 1.1, 1.2, 1.3, 1.5, 1.7, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8),
        (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8),
        (1, 1.5, 2, 3, 4, 6, 8),
        (1, 2, 5),
        (1,),
    )
    for ladder in ladders:
        ticks = [step * 10.0**power for power in range(-6, 8) for step in ladder if low <= step * 10.0**power <= high]
        if len(ticks) <= 9:
            break
    return ticks
