"""The pictures of comparisons say what they should and look as they did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pictures import matches_baseline, written

from evo.plots.anytime import Band, Panel, anytime
from evo.plots.critical_difference import critical_difference_diagram
from evo.plots.ecdf import ecdf
from evo.plots.effects import effects
from evo.plots.lines import bottom_row, grid_of, looks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("auto", "map_elites", "genetic", "iterated_local_search", "annealing", "differential_evolution", "mcts", "random", "best_of_n")
PLAIN = ("random", "best_of_n")


def bands(shift: float) -> tuple[Band, ...]:
    x = np.arange(1.0, 101.0)
    found = []
    for index, name in enumerate(NAMES):
        middle = 1.0 - (0.7 - shift) * np.exp(-x / (12 + 7 * index))
        found.append(Band(name, x, middle, middle - 0.05, np.minimum(1.0, middle + 0.04)))
    return tuple(found)


def panels(count: int) -> list[Panel]:
    return [Panel(f"problem {index}", bands(0.05 * index)) for index in range(count)]


def curves(count: int) -> Figure:
    heading = "Median and middle half over seeds"
    return anytime(panels(count), heading=heading, x_label="evaluations", y_label="speed found, as a share of the best known", plain=PLAIN)


def reached() -> Figure:
    rng = np.random.default_rng(0)
    needed = {name: np.where(rng.random(60) < 0.9, rng.integers(1, 20 + 10 * i, 60).astype(float), np.inf) for i, name in enumerate(NAMES)}
    return ecdf(
        [("90 %", needed), ("99 %", {n: v * 2 for n, v in needed.items()})],
        heading="How many runs had come so close, and when",
        budget=200,
        plain=PLAIN,
    )


def ranks() -> Figure:
    mean = [1.4, 3.1, 3.6, 4.9, 5.2, 5.3, 6.1, 7.4, 8.0]
    return critical_difference_diagram(NAMES, mean, 2.1, [(0, 1), (1, 2, 3), (3, 4, 5, 6)], heading="Mean rank over 6 problems")


def table() -> Figure:
    values = 0.9 - 0.02 * np.arange(9.0)[:, None] + 0.01 * np.sin(np.arange(54.0).reshape(9, 6))
    return effects(NAMES, [f"problem_{index}" for index in range(6)], values, heading="Area under the anytime curve, mean over seeds")


def test_every_strategy_is_named_and_every_problem_has_its_panel() -> None:
    texts = written(curves(6))
    assert set(NAMES) <= set(texts) and {f"problem {index}" for index in range(6)} <= set(texts)


def test_no_two_lines_look_alike_and_plain_ones_are_grey() -> None:
    many = [f"s{index}" for index in range(24)]
    shown = looks([*many, *PLAIN], PLAIN)
    assert len({(look.colour, str(look.dash)) for look in shown.values()}) == len(shown)
    assert {shown[name].colour for name in PLAIN}.isdisjoint({shown[name].colour for name in many})


def test_the_lowest_panel_of_each_column_has_the_label() -> None:
    from matplotlib.figure import Figure

    columns, rows = grid_of(5)
    grid = Figure().subplots(rows, columns, squeeze=False)
    assert bottom_row(grid, 5) == [grid[1][0], grid[1][1], grid[0][2]]


def test_an_ecdf_ends_at_the_share_of_runs_that_arrived() -> None:
    figure = ecdf([("t", {"a": np.array([2.0, 5.0, np.inf, np.inf])})], heading="h", budget=10)
    x, y = figure.axes[0].lines[0].get_data()
    assert list(np.asarray(x)) == [1, 2, 5, 10] and list(np.asarray(y)) == [0, 0.25, 0.5, 0.5]


def test_the_diagram_names_everyone_with_their_rank_and_says_when_the_difference_is_wider_than_the_axis() -> None:
    texts = " ".join(written(ranks()))
    assert all(name in texts for name in NAMES) and "(1.40)" in texts and "2.10" in texts
    wide = critical_difference_diagram(("a", "b", "c"), (1.0, 2.0, 3.0), 2.9, [(0, 1, 2)], heading="h")
    assert any("wider than this axis" in text for text in written(wide))


def test_nothing_to_draw_is_an_error() -> None:
    with pytest.raises(ValueError, match="no curves"):
        anytime([], heading="", x_label="", y_label="")
    with pytest.raises(ValueError, match="no targets"):
        ecdf([], heading="", budget=1)


PICTURES = {
    "anytime": lambda: curves(5),
    "anytime-one": lambda: curves(1),
    "ecdf": reached,
    "critical_difference": ranks,
    "effects": table,
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_a_comparison_look_as_they_did(name: str, tmp_path: Path) -> None:
    matches_baseline(PICTURES[name](), name, tmp_path)
