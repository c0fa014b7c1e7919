"""How a picture is compared with the one that somebody looked at, and what is written in it.

A baseline is made with EVO_BASELINES=write, and then looked at before it is committed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["matches_baseline", "written"]

BASELINES = Path(__file__).resolve().parent / "plots"
TOLERANCE = 3.0
"""RMS of grey levels: less than a single missing line makes. Versions of matplotlib lay text out differently: the extra `test` pins one."""


def matches_baseline(figure: Figure, name: str, folder: Path) -> None:
    """Fails when the figure looks different from `plots/NAME.png`; its text must lie within its edges."""
    from matplotlib.testing.compare import compare_images

    whole(figure)
    baseline = BASELINES / f"{name}.png"
    if os.environ.get("EVO_BASELINES") == "write":
        draw_small(figure, baseline)
        return
    assert baseline.is_file(), f"{baseline} is missing; make it with EVO_BASELINES=write and look at it"
    difference = compare_images(str(baseline), str(draw_small(figure, folder / f"{name}.png")), tol=TOLERANCE)
    assert difference is None, difference


def draw_small(figure: Figure, path: Path) -> Path:
    """Saved at 60 dots per inch, to keep the repository small."""
    import matplotlib

    figure.set_dpi(60)
    with matplotlib.rc_context({"savefig.dpi": 60}):
        figure.savefig(path, dpi=60, metadata={"Software": None})
    return path


def texts(figure: Figure) -> list[object]:
    from matplotlib.text import Text

    figure.canvas.draw()
    undrawn = {id(label) for axes in figure.axes for label in ticks_outside(axes)}
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip() and id(text) not in undrawn]  # type: ignore[attr-defined]
    return [text for text in shown if text.axes is None or text.axes.get_visible()]  # type: ignore[attr-defined]


def ticks_outside(axes: Axes) -> list[object]:
    """Labels of ticks beyond the view limits, which exist and are not drawn."""
    found: list[object] = []
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        slack = 1e-6 * (high - low)
        found += [t.label1 for t in axis.get_major_ticks() if not axes.axison or not low - slack <= t.get_loc() <= high + slack]
    return found


def written(figure: Figure) -> list[str]:
    """Every text in the figure."""
    return [text.get_text().strip() for text in texts(figure)]  # type: ignore[attr-defined]


def whole(figure: Figure) -> None:
    """Fails when a text is cut off at an edge."""
    width, height = figure.canvas.get_width_height()
    for text in texts(figure):
        box = text.get_window_extent()  # type: ignore[attr-defined]
        inside = box.x0 >= -2 and box.y0 >= -2 and box.x1 <= width + 2 and box.y1 <= height + 2
        assert inside, text.get_text()  # type: ignore[attr-defined]
