"""What a running search looks like: a panel that redraws itself on a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from evo.progress import Observer, Progress

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["LiveView", "PlainView", "duration", "plain_line", "sparkline", "watching"]

BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN_INTERVAL = 5.0
"""Seconds between plain lines."""
QUIET_INTERVALS = 6
"""Intervals after which a line is repeated although nothing in it has changed."""
REDRAWS = 4
"""Redraws per second on a terminal."""


@contextmanager
def watching(*, terminal: bool, stream: TextIO | None = None) -> Iterator[Observer]:
    """An observer to give to a run; the view ends with the block, leaving its last state on a terminal."""
    if not terminal:
        view = PlainView(stream or sys.stdout)
        yield view.observe
        return
    from rich.live import Live

    from evo.cli.output import console

    panel = LiveView()
    screen = console()
    with Live(get_renderable=lambda: panel.render(screen), console=screen, refresh_per_second=REDRAWS, transient=False):
        yield panel.observe


class PlainView:
    """One line every `interval` seconds, one whenever the stage changes, one for every message."""

    def __init__(self, stream: TextIO, interval: float = PLAIN_INTERVAL) -> None:
        self.stream = stream
        self.interval = interval
        self._stage: str | None = None
        self._next = 0.0
        self._last = ""
        self._unchanged = 0
        self._closed = False

    def observe(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.message:
            self._print(f"{progress.stage}: {progress.message}")
        if progress.stage != self._stage or now >= self._next:
            line = plain_line(progress)
            self._unchanged = self._unchanged + 1 if line == self._last else 0
            if self._unchanged % QUIET_INTERVALS == 0:
                self._print(line)
            self._stage, self._last, self._next = progress.stage, line, now + self.interval

    def _print(self, line: str) -> None:
        """A reader that closed the pipe ends the view, not the run."""
        if self._closed:
            return
        try:
            print(line, file=self.stream, flush=True)
        except (BrokenPipeError, ValueError):
            self._closed = True


def plain_line(progress: Progress) -> str:
    """`search 12 s, 134 evaluations (366 left), best 3.42x (#88), 9 cells (21 %), wrong 3, 4 in flight, 48 s left`."""
    parts = [f"{progress.stage} {duration(progress.seconds)}"]
    left = "" if progress.evaluations_left is None else f" ({progress.evaluations_left} left)"
    parts.append(f"{progress.evaluations} evaluations{left}")
    if progress.best_speedup is not None:
        parts.append(f"best {progress.best_speedup:.2f}x (#{progress.best_candidate})")
    parts.append(f"{progress.cells} cells ({100 * progress.coverage:.0f} %)")
    parts.extend(f"{outcome} {count}" for outcome, count in by_count(progress.failures))
    parts.append(f"{progress.in_flight} in flight")
    if progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    return ", ".join(parts)


class LiveView:
    """The panel: what was tried, how good it is, what failed, how long it still takes."""

    def __init__(self) -> None:
        self._latest: Progress | None = None
        self._received = time.monotonic()
        self._curve: list[float] = []
        """Best speedup after each report."""
        self._message = ""

    def observe(self, progress: Progress) -> None:
        self._latest = progress
        self._received = time.monotonic()
        if progress.best_speedup is not None:
            self._curve.append(progress.best_speedup)
            if len(self._curve) > 4096:
                self._curve = self._curve[::2]
        if progress.message:
            self._message = progress.message

    def render(self, console: Console) -> RenderableType:
        from rich.panel import Panel
        from rich.table import Table
        from rich.text import Text

        progress = self._latest
        if progress is None:
            return Text("starting …", style="dim")
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", justify="right", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in self.lines(progress, max(20, min(60, console.width - 44))).items():
            grid.add_row(name, Text(value))
        waited = time.monotonic() - self._received
        elapsed = duration(progress.seconds + waited)
        return Panel(grid, title=Text(f"{progress.run} · {progress.stage} · {elapsed}"), title_align="left", padding=(0, 1), expand=True)

    def lines(self, progress: Progress, width: int) -> Mapping[str, str]:
        """The rows of the panel; `width` is the room for bar and sparkline in characters."""
        left = "" if progress.evaluations_left is None else f" of {progress.evaluations + progress.evaluations_left}"
        rows = {"evaluations": f"{progress.evaluations}{left}   {bar(1 - progress.budget_left, width // 2)}"}
        if progress.best_speedup is None:
            rows["best"] = "none yet"
        else:
            rows["best"] = f"{progress.best_speedup:.2f}×  candidate {progress.best_candidate}   {sparkline(self._curve, width // 2)}"
        if progress.best_descriptors:
            rows["it is"] = ", ".join(f"{name} {value}" for name, value in progress.best_descriptors.items())
        rows["archive"] = f"{progress.cells} cells, {100 * progress.coverage:.0f} % of all"
        rows["failures"] = ", ".join(f"{outcome} {count}" for outcome, count in by_count(progress.failures)) or "none"
        waited = time.monotonic() - self._received
        rows["time left"] = "no limit" if progress.seconds_left is None else duration(max(0.0, progress.seconds_left - waited))
        rows["in flight"] = str(progress.in_flight)
        if self._message:
            rows["news"] = self._message
        return rows


def by_count(failures: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(failures.items(), key=lambda item: (-item[1], item[0]))


def bar(share: float, width: int) -> str:
    """A bar of `width` characters, `share` (0..1) of it full."""
    full = round(max(0.0, min(1.0, share)) * width)
    return "━" * full + "╌" * (width - full)


def sparkline(values: list[float], width: int) -> str:
    """Positive `values` squeezed into at most `width` characters, on a logarithmic scale from the smallest to the largest."""
    if not values or width < 1:
        return ""
    count = min(width, len(values))
    picked = [values[(index + 1) * len(values) // count - 1] for index in range(count)]
    low, high = math.log(min(picked)), math.log(max(picked))
    if high - low < 1e-9:
        return BLOCKS[0] * count
    return "".join(BLOCKS[min(len(BLOCKS) - 1, int((math.log(value) - low) / (high - low) * len(BLOCKS)))] for value in picked)


def duration(seconds: float) -> str:
    """`48 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
