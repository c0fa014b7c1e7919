"""Pictures say what the run found, legibly, and look as they did when somebody last looked at them.

A baseline is made with EVO_BASELINES=write, and then looked at before it is committed.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evo.plots.best_so_far import by_operator, convergence, failures, spread
from evo.plots.heatmap import archive_heatmap, layout, project
from evo.plots.picture import draw_picture
from evo.plots.record import AxisLabels, Certified, RunRecord, read_record
from evo.plots.style import COLOURS, round_ticks, save, times

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BASELINES = Path(__file__).resolve().parent.parent / "data" / "plots"
TOLERANCE = 3.0
"""RMS of grey levels: less than a single missing line makes. Versions of matplotlib lay text out differently: the extra `test` pins one."""
AXES = (
    AxisLabels("vector width (bits)", ("0", "128", "256", "512")),
    AxisLabels("tile (elements)", ("1", "2–4", "8–16", "32–64", "128+")),
    AxisLabels("streaming stores", ("no", "yes")),
    AxisLabels("prefetch", ("no", "yes")),
)


def record(evaluations: int = 150, axes: int = 3, seed: int = 0, certified: bool = True) -> RunRecord:
    """A search as it might have gone: dots scatter below a rising front, one in seven evaluations fails."""
    rng = np.random.default_rng(seed)
    x = np.arange(evaluations)
    speedup = 2.2 * np.exp(1.2 * (1 - np.exp(-x / 70)) * rng.beta(2, 1.5, evaluations))
    outcome = rng.choice(["ok", "build_error", "wrong", "timeout"], evaluations, p=[0.85, 0.08, 0.05, 0.02])
    operator = rng.choice(["mutate_uniform", "mutate_neighbour", "crossover", "graft"], evaluations, p=[0.3, 0.4, 0.2, 0.1])
    if evaluations:
        speedup[0], outcome[0], operator[0] = 2.3, "ok", "seed"
    speedup[outcome != "ok"] = math.nan
    used = AXES[:axes]
    elites: dict[tuple[int, ...], float] = {}
    for value in speedup[~np.isnan(speedup)]:
        cell = tuple(int(rng.integers(len(axis.labels))) for axis in used)
        if rng.random() < 0.2:
            elites[cell] = max(elites.get(cell, 0.0), float(value))
    best = float(np.nanmax(speedup)) if evaluations else 0.0
    return RunRecord(
        name=f"softmax-{seed}", problem="softmax", target="cpp", speedup=speedup, outcome=tuple(outcome.tolist()),
        operator=tuple(operator.tolist()), axes=used, elites=elites, baseline="NumPy", seed_speedup=2.3 if evaluations else None,
        certified=Certified("numpy", 0.96 * best, 0.93 * best, 0.99 * best) if certified and evaluations else None,
    )  # fmt: skip


def texts_of(figure: Figure) -> list[tuple[str, object]]:
    """(text, its box in pixels) of everything written in a drawn figure."""
    from matplotlib.text import Text

    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    shown = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text.get_text(), text.get_window_extent(renderer)) for text in shown if visible(text)]


def visible(artist: object) -> bool:
    """Whether an artist and the axes that hold it are drawn; tick labels outside the view limits are not."""
    axes = getattr(artist, "axes", None)
    return axes is None or axes.get_visible()


# ── what they say ──


def test_best_so_far_never_falls_and_skips_failures() -> None:
    run = record()
    best = run.best_so_far
    assert np.all(np.diff(best[~np.isnan(best)]) >= 0)
    assert best[-1] == run.best == np.nanmax(run.speedup)


def test_every_timed_evaluation_is_a_dot_and_every_failure_a_mark() -> None:
    run = record()
    figure = convergence([run])
    top, bottom = figure.axes
    dots = sum(len(collection.get_offsets()) for collection in top.collections if hasattr(collection, "get_offsets"))
    marks = sum(len(collection.get_offsets()) for collection in bottom.collections)
    assert dots >= np.sum(~np.isnan(run.speedup))
    assert marks == sum(failures(run).values()) == sum(outcome != "ok" for outcome in run.outcome)
    assert [label.get_text() for label in bottom.get_yticklabels()] == [name.replace("_", " ") for name in failures(run)]


def test_operators_are_told_apart_by_colour_and_marker_and_rare_ones_share_one() -> None:
    run = record()
    many = tuple(f"operator_{number % 9}" for number in range(run.evaluations))
    groups = by_operator(RunRecord(**{**{name: getattr(run, name) for name in run.__dataclass_fields__}, "operator": many}))
    assert len(groups) <= len(COLOURS) and groups[-1][0] == "other"
    assert sum(mask.sum() for _, mask in groups) == np.sum(~np.isnan(run.speedup))


def test_seed_best_and_certified_figures_are_named_at_their_heights() -> None:
    run = record()
    assert run.certified is not None and run.best is not None
    written = {text for text, _ in texts_of(convergence([run]))}
    assert {f"seed {times(2.3)}", f"best {times(run.best)}", f"certified {times(run.certified.value)}"} <= written


def test_axes_and_categories_of_the_archive_are_named() -> None:
    written = {text for text, _ in texts_of(archive_heatmap(record(axes=2)))}
    assert {"vector width (bits)", "tile (elements)", *AXES[0].labels, *AXES[1].labels} <= written


def test_a_third_descriptor_is_dealt_out_over_named_facets() -> None:
    written = {text for text, _ in texts_of(archive_heatmap(record(axes=3)))}
    assert {"streaming stores = no", "streaming stores = yes"} <= written


def test_what_is_not_shown_is_said_and_the_best_over_it_is_drawn() -> None:
    run = record(axes=4)
    plan = layout(run.axes)
    assert len(plan.projected) == 1
    assert any(f"best over {AXES[plan.projected[0]].name}" in text for text, _ in texts_of(archive_heatmap(run)))
    drawn = [project(run.elites, plan, facet, (4, 5)) for facet in range(2)]
    assert max(np.nanmax(values) for values in drawn) == max(run.elites.values())


def test_an_unused_catch_all_bin_takes_no_room_and_still_counts() -> None:
    other = AxisLabels("kind", ("a", "b", "other"))
    run = RunRecord("r", "p", "cpp", np.array([2.0]), ("ok",), ("seed",), (AXES[0], other), {(1, 0): 2.0})
    written = [text for text, _ in texts_of(archive_heatmap(run))]
    assert "b" in written and "other" not in written
    assert any("1 of 12 cells" in text for text in written)


@given(st.dictionaries(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 1)), st.floats(0.1, 50.0), min_size=1))
def test_projection_keeps_the_best_of_every_square(elites: dict[tuple[int, ...], float]) -> None:
    plan = layout(AXES[:2])
    flat = project(elites, plan, None, (4, 5))
    for (row, column), value in np.ndenumerate(flat):
        here = [speedup for cell, speedup in elites.items() if (cell[0], cell[1]) == (row, column)]
        assert (math.isnan(value) and not here) or value == max(here)


def test_a_run_with_nothing_right_says_so() -> None:
    run = record(20)
    failed = RunRecord("r", "softmax", "cpp", np.full(20, math.nan), ("wrong",) * 20, run.operator, AXES[:2])
    assert any("no kernel was right" in text for text, _ in texts_of(draw_picture(failed)))


def test_a_run_without_evaluations_can_be_drawn() -> None:
    draw_picture(record(0))
    draw_picture(RunRecord("r", "softmax", "cpp", np.empty(0), (), ()))


def test_no_run_and_no_descriptors_are_errors() -> None:
    with pytest.raises(ValueError, match="no run"):
        convergence([])
    with pytest.raises(ValueError, match="no descriptors"):
        archive_heatmap(record(axes=0))


# ── legibility ──


@given(low=st.floats(0.01, 100.0), ratio=st.floats(1.15, 1000.0))
def test_ticks_are_round_enough_and_few_enough(low: float, ratio: float) -> None:
    ticks = round_ticks(low, low * ratio)
    assert 1 <= len(ticks) <= 9 or ratio < 2
    assert all(low <= tick <= low * ratio for tick in ticks)


@given(st.lists(st.floats(1.0, 10.0), min_size=1, max_size=4))
def test_labels_beside_the_axis_keep_their_distance_and_stay_inside(values: list[float]) -> None:
    places = [place for place, _ in spread([(value, "x") for value in values], 0.9, 11.0)]
    heights = np.log(np.array(places) / 0.9) / np.log(11.0 / 0.9)
    assert np.all(np.diff(heights) >= 0.055 - 1e-9)
    assert heights.max() <= 1.0


@settings(max_examples=6)
@given(st.integers(1, 400), st.integers(1, 4), st.integers(0, 99))
def test_nothing_written_is_cut_off_at_the_edge(evaluations: int, axes: int, seed: int) -> None:
    figure = draw_picture(record(evaluations, axes, seed))
    width, height = figure.canvas.get_width_height()
    for text, box in texts_of(figure):
        assert box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1, text  # type: ignore[attr-defined]


def test_the_archives_colours_are_ordered_in_greyscale() -> None:
    import matplotlib

    colours = matplotlib.colormaps["cividis"](np.linspace(0, 1, 32))[:, :3]
    grey = colours @ np.array([0.299, 0.587, 0.114])
    assert np.all(np.diff(grey) > 0)


@pytest.mark.parametrize(("speedup", "text"), [(0.853, "0.85×"), (2.999, "3.00×"), (3.21, "3.2×"), (14.4, "14×")])
def test_speedups_are_written_as_a_reader_wants_them(speedup: float, text: str) -> None:
    assert times(speedup) == text


# ── real runs ──


def test_the_record_of_a_real_run_agrees_with_its_database(small_space: Path, tmp_path: Path) -> None:
    from archive.lineage import Lineage
    from evo.config import parse_config
    from evo.plots import run_picture
    from evo.run import Run

    config = parse_config(
        {"name": "r", "problem": str(small_space), "target": "tabular", "budget": {"evaluations": 70}, "executor": "inline"}
    )
    summary = Run.create(config, tmp_path / "run").search(picture=False)
    run = read_record(summary.path)
    assert run.evaluations == summary.evaluations == 70
    assert run.best == pytest.approx(summary.speedup)
    assert len(run.elites) == summary.cells
    assert len(run.elites) / run.possible_cells == pytest.approx(summary.coverage)
    assert failures(run) == {outcome: count for outcome, count in summary.outcomes.items() if outcome != "ok"}
    with Lineage.open(summary.path / "run.db", readonly=True) as lineage:
        finals = lineage.select("select max(best_speedup) as best from convergence")
    assert run.best_so_far[-1] == pytest.approx(finals[0]["best"])
    assert run_picture(summary.path) == summary.path / "picture.png"


# ── baselines ──

PICTURES = {
    "picture": lambda: draw_picture(record()),
    "convergence": lambda: convergence([record(certified=False)]),
    "comparison": lambda: convergence([record(seed=seed) for seed in range(3)]),
    "archive-1": lambda: archive_heatmap(record(axes=1)),
    "archive-2": lambda: archive_heatmap(record(axes=2)),
    "archive-4": lambda: archive_heatmap(record(axes=4)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_look_as_they_did(name: str, tmp_path: Path) -> None:
    from matplotlib.testing.compare import compare_images

    figure = PICTURES[name]()
    baseline = BASELINES / f"{name}.png"
    if os.environ.get("EVO_BASELINES") == "write":
        draw_small(figure, baseline)
        return
    assert baseline.is_file(), f"{baseline} is missing; make it with EVO_BASELINES=write and look at it"
    drawn = draw_small(figure, tmp_path / f"{name}.png")
    difference = compare_images(str(baseline), str(drawn), tol=TOLERANCE)
    assert difference is None, difference


def draw_small(figure: Figure, path: Path) -> Path:
    """Saved through the house style at 60 dots per inch, to keep the repository small."""
    figure.set_dpi(60)
    import matplotlib

    with matplotlib.rc_context({"savefig.dpi": 60}):
        figure.savefig(path, dpi=60, metadata={"Software": None})
    return path


def test_a_picture_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure = convergence([record(30)])
    target = tmp_path / "p.png"
    save(figure, target)
    before = target.read_bytes()

    def fail(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(figure), "savefig", fail)
    with pytest.raises(OSError, match="No space"):
        save(figure, target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
