"""The live view says the same on a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evo.live import BLOCKS, LiveView, PlainView, duration, plain_line, sparkline
from evo.progress import Progress, Stage

SEARCHING = Progress(
    run="softmax-1",
    stage=Stage.SEARCH,
    evaluations=134,
    evaluations_left=366,
    best_speedup=3.4231,
    best_candidate=88,
    best_descriptors={"vector width": "512", "tile": "64"},
    coverage=0.21,
    cells=9,
    failures={"wrong": 1, "build_error": 4},
    in_flight=4,
    seconds=12.4,
    seconds_left=48.0,
    budget_left=0.7,
)


def test_a_plain_line_says_everything_once() -> None:
    assert plain_line(SEARCHING) == (
        "search 12 s, 134 evaluations (366 left), best 3.42x (#88), 9 cells (21 %), build_error 4, wrong 1, 4 in flight, 48 s left"
    )


def test_plain_lines_come_at_stage_changes_messages_and_intervals_only() -> None:
    log = io.StringIO()
    view = PlainView(log, interval=3600)
    view.observe(Progress("r", Stage.OPEN))
    for _ in range(50):
        view.observe(SEARCHING)
    view.observe(Progress("r", Stage.SEARCH, message="candidate 3 is the best"))
    view.observe(Progress("r", Stage.CERTIFY))
    lines = log.getvalue().splitlines()
    assert [line.split(" ")[0] for line in lines] == ["open", "search", "search:", "certify"]


def test_an_unchanged_line_is_repeated_seldom() -> None:
    log = io.StringIO()
    view = PlainView(log, interval=0)
    for _ in range(13):
        view.observe(SEARCHING)
    assert len(log.getvalue().splitlines()) == 3


def test_a_log_that_nobody_reads_any_more_does_not_end_the_run() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    view = PlainView(Gone(), interval=0)
    view.observe(SEARCHING)
    view.observe(SEARCHING)


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_panel_shows_all_facts_at_every_width(width: int) -> None:
    from rich.console import Console

    screen = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    view = LiveView()
    for speedup in (1.0, 2.0, 3.4231):
        view.observe(Progress("softmax-1", Stage.SEARCH, evaluations=10, best_speedup=speedup, best_candidate=1))
    view.observe(SEARCHING)
    screen.print(view.render(screen))
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    flat = " ".join(shown.replace("│", " ").split())
    for fact in ("134 of 500", "3.42×", "candidate 88", "vector width 512", "9 cells, 21 %", "build_error 4, wrong 1", "48 s", "search"):
        assert fact in flat
    assert all(len(line) <= width for line in shown.splitlines())


def test_the_panel_can_be_drawn_before_anything_was_reported() -> None:
    from rich.console import Console

    screen = Console(file=io.StringIO(), width=80)
    screen.print(LiveView().render(screen))


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=300), st.integers(1, 80))
def test_a_sparkline_fits_its_width_and_follows_the_values(values: list[float], width: int) -> None:
    line = sparkline(values, width)
    assert len(line) == min(width, len(values))
    assert set(line) <= set(BLOCKS)
    rising = sparkline(sorted(values), width)
    assert list(rising) == sorted(rising)


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (59.9, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations_read_naturally(seconds: float, text: str) -> None:
    assert duration(seconds) == text
