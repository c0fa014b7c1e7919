"""What is wrapped around strategies: repairs by a model, schedules of operators; and wordings bred in a run."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from instant_evaluator import Instant
from instant_runs import config, finished, make_run
from model_server import ModelServer

from archive.candidate import Candidate, Proposal, Repair
from archive.evaluation import Diagnostic, Evaluation, Outcome
from archive.kernel import Kernel
from archive.lineage import Lineage
from evo.strategies.base import Move, Strategy
from evo.strategies.opening import open_strategy
from evo.strategies.repairing import Repairing, with_repair
from evo.strategies.scheduled import Scheduled, with_schedule
from operators.base import View


class Inner(Strategy):
    """Always the same move; remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def ask(self, view: View, rng: random.Random) -> Move:
        return Move("llm_mutate", (0,))

    def tell(self, candidate: Candidate) -> None:
        self.told.append(candidate.number)


class Empty:
    """A view on which nothing is to be seen."""

    class archive:
        @staticmethod
        def elites() -> tuple[()]:
            return ()


VIEW: Any = Empty()
RNG = random.Random(0)


def candidate(
    number: int, outcome: Outcome, operator: str = "llm_mutate", goal: Repair | None = None, objective: float | None = None
) -> Candidate:
    kernel = Kernel("python", f"X = {number}\n")
    parents = (goal.candidate,) if goal is not None else (0,) if number else ()
    evaluation = Evaluation(kernel.id, outcome, (Diagnostic("verify", "wrong_values", "off"),), objective, cost={"measure": 1.0})
    return Candidate(Proposal(number, operator, parents, goal), kernel, evaluation)


@pytest.mark.parametrize("outcome", [Outcome.BUILD_ERROR, Outcome.WRONG, Outcome.CRASH, Outcome.TIMEOUT])
def test_a_failure_is_repaired_so_often_and_no_more(outcome: Outcome) -> None:
    inner = Inner()
    strategy = with_repair(inner, 2)
    strategy.tell(candidate(3, outcome))
    assert strategy.ask(VIEW, RNG) == Move("llm_repair", (3,), Repair(3))
    assert strategy.ask(VIEW, RNG) == Move("llm_mutate", (0,))
    strategy.tell(candidate(4, outcome, "llm_repair", Repair(3)))
    assert strategy.ask(VIEW, RNG) == Move("llm_repair", (4,), Repair(4))
    strategy.tell(candidate(5, outcome, "llm_repair", Repair(4)))
    assert strategy.ask(VIEW, RNG) == Move("llm_mutate", (0,))
    assert inner.told == [3, 4, 5]


def test_what_works_or_says_nothing_about_the_kernel_is_not_repaired() -> None:
    strategy = with_repair(Inner(), 1, operators={"llm_mutate"})
    for number, (outcome, operator) in enumerate(
        [(Outcome.OK, "llm_mutate"), (Outcome.INFRASTRUCTURE_ERROR, "llm_mutate"), (Outcome.WRONG, "sample")]
    ):
        strategy.tell(candidate(number, outcome, operator))
    assert strategy.ask(VIEW, RNG).operator == "llm_mutate"


def test_a_resumed_run_does_not_ask_for_the_same_repair_again() -> None:
    strategy = with_repair(Inner(), 1)
    strategy.tell(candidate(3, Outcome.WRONG))  # replayed: the repair below was asked for in the session before
    strategy.tell(candidate(4, Outcome.OK, "llm_repair", Repair(3), objective=0.1))
    assert strategy.ask(VIEW, RNG).operator == "llm_mutate"


def test_no_attempts_leave_the_strategy_as_it_is() -> None:
    inner = Inner()
    assert with_repair(inner, 0) is inner


@pytest.mark.parametrize(("kind", "credit"), [("ucb", "seconds"), ("thompson", "dollars")])
def test_a_schedule_prefers_the_operator_that_improves_most_for_its_cost(kind: str, credit: str) -> None:
    strategy = with_schedule(Inner(), {"llm_mutate": 1.0, "mutate_many": 1.0}, kind, credit=credit)
    strategy.tell(candidate(0, Outcome.OK, "seed", objective=0.0))
    rng, chosen = random.Random(2), []
    for number in range(1, 300):
        name = strategy.ask(VIEW, rng).operator
        chosen.append(name)
        made = candidate(number, Outcome.OK, name, objective=0.1 * rng.random())
        paid = {"dollars": 0.5, "model_seconds": 30.0} if name == "llm_mutate" else {}
        strategy.tell(Candidate(made.proposal, made.kernel, made.evaluation, notes=paid))
    assert chosen[150:].count("mutate_many") > 100 and "llm_mutate" in chosen


def test_the_config_decides_what_is_wrapped() -> None:
    operators = {"llm_mutate": 1.0, "mutate_many": 1.0}
    wrapped = open_strategy(config(operators=operators, llm={"model": "a/b", "schedule": "ucb", "repair": 2}))
    assert isinstance(wrapped, Repairing) and isinstance(wrapped.inner, Scheduled) and wrapped.attempts == 2
    assert not isinstance(open_strategy(config(operators={"mutate_many": 1.0})), (Repairing, Scheduled))


def test_wordings_are_bred_kept_and_used(tmp_path: Path) -> None:
    count = [0]

    def script(body: dict[str, Any]) -> str:
        text = body["messages"][-1]["content"]
        count[0] += 1
        if "Write another wording" in text:
            return f"```\nLook at wording {count[0]} first.\n```"
        n = count[0]
        lines = f"TILE = {2 ** (n % 6)}  # evo: 2**[0..5]\nUNROLL = {1 + n % 4}  # evo: [1..8]\nVECTOR = {n % 3}  # evo: {{0, 1, 2}}\n"
        return f"```python\n{lines}```"

    with ModelServer(script) as server:
        section = {"model": "openai/x", "base_url": server.url, "unknown_price": "free", "evolve": 0.5, "directed": 0.0}
        changes: dict[str, Any] = {"operators": {"llm_mutate": 1.0}, "strategy": {"name": "map_elites", "initial": 2}}
        run = make_run(tmp_path / "run", Instant(inline=False), llm=section, budget={"evaluations": 25, "barren": 60}, **changes)
        run.search(picture=False)
        prompts = [server.prompt(number) for number in range(server.requests)]
    with Lineage.open(tmp_path / "run" / "run.db", readonly=True) as lineage:
        kept = [row["text"] for row in lineage.select("SELECT text FROM prompts WHERE text LIKE '%variant: %' AND text LIKE '---%'")]
        purposes = lineage.select("SELECT count(*) AS n FROM model_calls WHERE json_extract(facts, '$.purpose') = 'prompt_evolution'")
    assert kept and purposes[0]["n"] >= len(kept)
    used = {c.notes["variants"]["advice"] for c in finished(tmp_path / "run") if isinstance(c.notes.get("variants"), dict)}  # type: ignore[index]
    assert "original" in used and len(used) > 1
    assert any("Look at wording" in prompt and "Write another wording" not in prompt for prompt in prompts)
