"""What a report says of who is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evo.compare.analysis import Analysis, analyse
from evo.compare.config import parse_comparison
from evo.compare.outcome import Outcome
from evo.compare.reference import Reference
from evo.compare.report import conclusion, report, versus_leader
from evo.compare.runner import run_task
from evo.compare.schedule import schedule

PROBLEMS = ("a", "b", "c")


def flat(problem: str, strategy: str, seed: int, found: float) -> Outcome:
    """A run that has this share of the best from its first evaluation on."""
    at = np.arange(1.0, 11.0)
    return Outcome(problem, strategy, seed, np.full(10, math.log(found)), at, np.zeros(10), ("0",) * 10, "", {"0": math.log(found)})


def analysis(runs: Mapping[str, Sequence[float]], **changes: Any) -> Analysis:
    """Of strategies whose runs found these shares, one for each seed, about the same on every problem."""
    rng = np.random.default_rng(0)
    seeds = len(next(iter(runs.values())))
    plain: dict[str, Any] = {
        "problems": [f"{name}.csv" for name in PROBLEMS], "strategies": [each for each in runs if each != "random"], "controls": ["random"],
        "seeds": seeds, "budget": {"evaluations": 10}, "resamples": 100,
    }  # fmt: skip
    outcomes = [
        flat(problem, name, seed, share + rng.normal(0, 0.005))
        for problem in PROBLEMS
        for name, shares in runs.items()
        for seed, share in enumerate(shares)
    ]
    known = {problem: Reference(problem, 0.0, True, cells={"0": 0.0}) for problem in PROBLEMS}
    return analyse(parse_comparison({**plain, **changes}), outcomes, known)


def test_a_strategy_most_of_whose_runs_are_better_ranks_higher_though_a_few_bad_ones_lower_its_mean() -> None:
    found = analysis({"auto": [0.1] * 4 + [0.9] * 16, "random": [0.85] * 20})
    pair = found.pair("auto", "random")
    assert pair.difference < 0 < pair.a12 - 0.5 and pair.adjusted < 0.001
    assert found.pair("random", "auto").higher(0.05) == pair.higher(0.05) == "auto"
    text, table = conclusion(found), versus_leader(found)
    assert "cannot" not in text + table and "seeds each would" not in text and "not shown" not in text
    assert "**auto** was best" in text and "ranks higher than random" in text and "not by the mean" in text
    assert "auto ranks higher" in table
    assert table.splitlines()[-1].split("|")[-2].strip() == ""  # it was found: no more seeds are needed


def test_a_strategy_that_outranks_the_leader_is_named_and_the_leader_is_not_called_best() -> None:
    # auto's middle half is in front, yet most of its runs lose to most of random's.
    found = analysis({"auto": [0.2] * 11 + [0.99] * 9, "random": [0.5] * 20})
    assert found.strategies[0] == "auto"
    pair = found.pair("auto", "random")
    assert pair.a12 < 0.5 and pair.difference > 0
    sure = analysis({"auto": [0.2] * 110 + [0.99] * 90, "random": [0.5] * 200})
    text, table = conclusion(sure), versus_leader(sure)
    assert sure.strategies[0] == "auto" and sure.pair("auto", "random").adjusted < 0.05
    assert "nobody was shown to be best" in text and "random ranks higher" in text and "random ranks higher" in table
    assert "auto ranked below random" in text and "cannot" not in text + table


def test_where_nothing_is_shown_nobody_is_best_and_the_seeds_that_it_takes_are_given() -> None:
    found = analysis({"auto": [0.5, 0.7, 0.9, 0.81], "random": [0.51, 0.69, 0.8, 0.88]})
    text, table = conclusion(found), versus_leader(found)
    assert "nobody was shown to be best" in text and "was best" not in text
    assert "cannot tell it from" in text and "cannot be told apart" in table
    assert table.splitlines()[-1].split("|")[-2].strip() != ""


def test_strategies_that_beat_nobody_are_named_together_for_each_reason() -> None:
    middling = [0.4, 0.5, 0.6, 0.7] * 5
    found = analysis({"auto": [0.9] * 20, "genetic": middling, "mcts": middling, "beam": [0.1] * 20, "random": middling})
    text = conclusion(found)
    assert text.count("not shown to beat random") == 1 and "were not shown to beat random; beam ranked below random" in text
    assert "**auto** was best" in text


def test_a_strategy_alone_is_not_said_to_be_best() -> None:
    found = analysis({"auto": [0.9] * 5}, controls=[])
    assert "auto ran alone" in conclusion(found) and "**" not in conclusion(found)


@pytest.mark.parametrize("test", ["mann_whitney", "wilcoxon"])
def test_the_paired_test_of_a_problem_has_no_number_of_seeds_from_the_unpaired_one(test: str) -> None:
    found = analysis({"auto": [0.9, 0.8, 0.9, 0.8, 0.7], "random": [0.7, 0.8, 0.5, 0.75, 0.6]}, test=test)
    assert all(math.isnan(pair.needed) == (test == "wilcoxon") for pair in found.by_problem)
    assert all(math.isfinite(pair.needed) for pair in found.overall)


@pytest.mark.parametrize(
    ("budget", "words"),
    [({"dollars": 1}, "1 dollar a run"), ({"dollars": 0.5}, "0.5 dollars a run"), ({"seconds": 1}, "1 second a run")],
)
def test_a_budget_of_one_is_singular(budget: dict[str, float], words: str) -> None:
    assert words in conclusion(analysis({"auto": [0.9] * 5, "random": [0.8] * 5}, budget=budget))


def test_the_report_names_axes_baselines_tests_and_what_has_no_quality() -> None:
    found = analysis({"auto": [0.9, 0.8, 0.7], "random": [0.7, 0.6, 0.5]}, test="wilcoxon")
    known = {**found.references, "b": Reference("b", 0.0, True, cells={"0": 0.5}, axes=("TILE", "UNROLL"))}
    text = report(replace(found, references=known), [], {}, "")
    assert "TILE × UNROLL on b" in text
    assert "it leaves out a and c, where no kernel known is faster" in text
    assert "1.00× its median" in text and "the median of its working configurations" in text
    assert "Wilcoxon's on runs paired by seed" in text and "Mann" not in text
    assert "difference of the means" in text


def test_of_one_seed_strategies_that_begin_with_random_samples_begin_with_the_same_ones(tmp_path: Path) -> None:
    space = tmp_path / "space.csv"
    space.write_text("A,B,status,time_ms,cost_ms\n" + "".join(f"{a},{b},ok,{1 + a + 9 * b},5\n" for a in range(9) for b in range(9)))
    plain = {"problems": [str(space)], "strategies": ["map_elites"], "controls": ["random"], "seeds": 3, "budget": {"evaluations": 30}}
    runs = {(task.strategy, task.seed): run_task(task).objective for task in schedule(parse_comparison(plain))}
    for seed in range(3):
        assert runs["map_elites", seed][:16].tolist() == runs["random", seed][:16].tolist() != runs["random", (seed + 1) % 3][:16].tolist()
        assert runs["map_elites", seed].tolist() != runs["random", seed].tolist()
