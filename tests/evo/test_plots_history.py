"""Pictures of how a run went: its lineage, its operators, its archive over time, its costs, its elites under the roof."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pictures import matches_baseline, written

from evo.plots import KINDS, draw
from evo.plots.credit import gains, operator_credit, shown_operators, successes, usage
from evo.plots.filling import archive_filling, filling
from evo.plots.history import Ancestor, History, Step, read_history
from evo.plots.roofs import Roofs, roofline
from evo.plots.stages import REST, stage_seconds, time_per_stage
from evo.plots.tree import gain, lanes, lineage_tree, main_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OPERATORS = ("mutate_neighbour", "mutate_uniform", "crossover", "sample")


def history(evaluations: int = 120, seed: int = 0, name: str = "softmax") -> History:
    """A search as it might have gone."""
    rng = np.random.default_rng(seed)
    steps = []
    best: dict[tuple[int, ...], float] = {}
    for number in range(evaluations):
        ok = number == 0 or rng.random() > 0.12
        speedup = float(2.0 * math.exp(1.1 * (1 - math.exp(-number / 50)) * rng.beta(2, 1.5))) if ok else None
        cell = (int(rng.integers(4)), int(rng.integers(5)))
        status = ""
        if speedup is not None:
            status = "new" if cell not in best else "improve" if speedup > best[cell] else "reject"
            best[cell] = max(best.get(cell, 0.0), speedup)
        rate = 0.0 if speedup is None else 4e9 * speedup
        costs = {"build": 0.3, "fork": 0.01, "kernel": 0.2, "check": 0.03, "measure": 0.3, "cpu": 0.4, "calls": 40.0}
        steps.append(
            Step(
                number, "seed" if number == 0 else str(rng.choice(OPERATORS)), "ok" if ok else "wrong", speedup, cell, status,
                costs if ok else {"build": 0.3},
                {"bandwidth": rate / 0.6, "flop_rate": rate, "roofline_share": rate / 3.3e10} if ok else {},
            )
        )  # fmt: skip
    return History(name, "softmax", "cpp", "NumPy", tuple(steps), 20, tuple(range(0, evaluations, 7)), ANCESTRY[-1].number, ANCESTRY)


ANCESTRY = (
    Ancestor(0, "seed", (), 2.0),
    Ancestor(3, "sample", (0,), 3.1, ("VECTOR 1 → 8", "UNROLL 1 → 4")),
    Ancestor(9, "mutate_uniform", (0,), 2.6, ("STREAM 0 → 1",)),
    Ancestor(14, "mutate_neighbour", (3,), 3.4, ("UNROLL 4 → 2",)),
    Ancestor(21, "crossover", (14, 9), 4.8, ("STREAM 0 → 1",)),
    Ancestor(40, "llm_mutate", (21,), 4.6, ("source",)),
    Ancestor(58, "mutate_neighbour", (40,), 6.0, ("TILE_COLS 1024 → 2048",)),
)


def test_the_lineage_names_every_ancestor_its_operator_its_change_and_its_gain() -> None:
    texts = " ".join(written(lineage_tree(history())))
    for ancestor in ANCESTRY:
        assert str(ancestor.number) in texts and ancestor.operator in texts and all(change in texts for change in ancestor.changes)
    assert "+55 %" in texts and "-4 %" in texts and "+41 %" in texts  # 3.1 / 2.0, 4.6 / 4.8, 4.8 / 3.4


def test_the_line_of_first_parents_is_one_lane_and_branches_never_share_one_while_they_live() -> None:
    everyone = {ancestor.number: ancestor for ancestor in ANCESTRY}
    line = main_line(everyone, 58)
    assert line == [0, 3, 14, 21, 40, 58]
    lane = lanes(ANCESTRY, line)
    assert [lane[number] for number in line] == [0] * 6 and lane[9] == 1
    branches = [Ancestor(0, "seed", (), 1.0), *(Ancestor(n, "sample", (0,), 1.0) for n in (1, 2, 3)), Ancestor(4, "crossover", (1, 2), 1.0)]
    busy = lanes([*branches, Ancestor(5, "crossover", (4, 3), 1.0)], [0, 1, 4, 5])
    assert {busy[2], busy[3]} == {1, 2}


def test_a_gain_needs_two_measured_speedups() -> None:
    everyone = {ancestor.number: ancestor for ancestor in (Ancestor(0, "seed", (), None), Ancestor(1, "sample", (0,), 2.0))}
    assert gain(everyone[1], everyone) is None and gain(everyone[0], everyone) is None


def test_a_long_ancestry_keeps_its_newest_line_and_says_what_is_left_out() -> None:
    chain = tuple(Ancestor(n, "mutate_uniform", (n - 1,) if n else (), 1.0 + n / 10) for n in range(90))
    run = History("r", "p", "cpp", "NumPy", (), winner=89, ancestry=chain)
    texts = written(lineage_tree(run))
    assert "89" in texts and "0" not in texts
    assert any("54 further ancestors" in text for text in texts)


def test_operators_get_credit_for_what_raised_the_best_and_all_of_it() -> None:
    run = history()
    names = shown_operators(run)
    brought = gains(run, names)
    speeds = [step.speedup for step in run.steps if step.speedup is not None]
    assert sum(gain[-1] for gain in brought.values()) == pytest.approx(math.log(max(speeds) / speeds[0]))
    entered = successes(run, names)
    assert sum(map(len, entered.values())) == sum(step.status in ("new", "improve") for step in run.steps[1:])
    _, shares = usage(run, names)
    assert shares.sum(axis=0) == pytest.approx(1.0)


def test_the_archive_fills_to_what_it_holds() -> None:
    run = history()
    cells, quality = filling(run)
    best: dict[object, float] = {}
    for step in run.steps:
        if step.speedup is not None:
            best[step.cell] = max(best.get(step.cell, 0.0), step.speedup)
    assert cells[-1] == len(best) and quality[-1] == pytest.approx(sum(max(0.0, math.log(value)) for value in best.values()))
    assert cells == sorted(cells) and quality == sorted(quality)


def test_stages_add_up_to_building_and_measuring_and_counts_are_no_seconds() -> None:
    run = history()
    stages = stage_seconds(run)
    ok = sum(step.outcome == "ok" for step in run.steps)
    total = sum(sum(split.values()) for split in stages.values())
    assert total == pytest.approx(0.3 * len(run.steps) + 0.3 * ok)
    assert "calls" not in stages and "cpu" not in stages and stages[REST]["ok"] == pytest.approx(0.06 * ok)


def test_the_roofline_says_how_near_the_best_elite_is_to_its_roof() -> None:
    run = history()
    elites = [step for step in run.steps if step.number in run.elites and step.profile]
    nearest = max(step.profile["roofline_share"] for step in elites)
    assert f"{100 * nearest:.0f} % of its roof" in written(roofline([run]))


def test_what_cannot_be_drawn_is_said() -> None:
    empty = History("r", "p", "tabular", "the median", ())
    for picture, words in ((lineage_tree, "no winner"), (operator_credit, "nothing was evaluated"), (time_per_stage, "no costs")):
        with pytest.raises(ValueError, match=words):
            picture(empty)
    with pytest.raises(ValueError, match="recorded spaces have none"):
        roofline([empty])


def test_a_real_run_is_read_as_it_went_and_every_kind_of_picture_can_be_drawn_or_says_why_not(small_space: Path, tmp_path: Path) -> None:
    from evo.config import parse_config
    from evo.errors import UserError
    from evo.run import Run

    plain = {"name": "r", "problem": str(small_space), "target": "tabular", "budget": {"evaluations": 60}, "executor": "inline"}
    summary = Run.create(parse_config(plain), tmp_path / "run").search(picture=False)
    run = read_history(summary.path)
    assert len(run.steps) == summary.evaluations and run.winner == summary.best and len(run.elites) == summary.cells
    assert max(step.speedup or 0.0 for step in run.steps) == pytest.approx(summary.speedup)
    assert run.ancestry[-1].number == summary.best and run.ancestry[0].operator == "seed"
    assert all(parent in {a.number for a in run.ancestry} for a in run.ancestry for parent in a.parents)
    for kind in KINDS:
        if kind == "roofline":
            with pytest.raises(UserError, match="recorded spaces have none"):
                draw([summary.path], kind)
        else:
            assert draw([summary.path], kind).axes
    with pytest.raises(UserError, match="shows one run"):
        draw([summary.path, summary.path], "lineage")


PICTURES = {
    "lineage": lambda: lineage_tree(history()),
    "credit": lambda: operator_credit(history()),
    "filling": lambda: archive_filling([history(), history(90, 1, "another")]),
    "stages": lambda: time_per_stage(history()),
    "roofline": lambda: roofline([history()], Roofs(3.7e10, 1.17e11)),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_of_a_run_look_as_they_did(name: str, tmp_path: Path) -> None:
    figure: Figure = PICTURES[name]()
    matches_baseline(figure, name, tmp_path)
