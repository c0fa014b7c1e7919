"""A real C++ kernel evolved from what a scripted server sends: good, wrong, slow and malformed answers, to the right elite."""

from __future__ import annotations

from typing import Any

import doubling
import pytest
from instant_runs import finished
from model_server import ModelServer

from archive.evaluation import Outcome
from evo.config import parse_config
from evo.reading import open_run
from evo.run import Run

pytestmark = pytest.mark.timeout(300)


def fenced(source: str, idea: str) -> str:
    return f"{idea}\n\n```cpp\n{source}```\n"


def test_a_real_kernel_evolves_to_the_right_elite_and_lineage(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("end")
    answers = [
        fenced(doubling.WRONG, "Drop the addition."),
        "The loop should be vectorised, I think.",  # malformed, and again after the complaint
        fenced(doubling.SLOW, "Divide more."),
        fenced(doubling.BROKEN, "A shorter loop head."),
        fenced(doubling.GOOD, "No divisions, no volatile: it vectorises."),
        "<<<<<<< SEARCH\n#define PARTS 1\n=======\n#define PARTS 2\n>>>>>>> REPLACE\n",
    ]
    given = iter(answers)

    def script(body: dict[str, Any]) -> str:
        if "cannot be used" in body["messages"][-1]["content"]:
            return "As I said: vectorise it."
        return next(given, answers[-1])

    with ModelServer(script) as server:
        section = {
            "model": "openai/scripted", "base_url": server.url, "unknown_price": "free", "concurrency": 1, "repair": 0, "edits": 0.0,
            "directed": 0.0,
        }  # fmt: skip
        values = doubling.config(doubling.make_problem(folder), llm=section, deterministic=True, budget={"evaluations": 6, "barren": 12})
        summary = Run.create(parse_config(values), folder / "run").search(picture=False)
        prompts = [server.prompt(number) for number in range(server.requests)]
    candidates = finished(folder / "run")
    outcomes = [c.evaluation.outcome for c in candidates if c.evaluation is not None and not c.evaluation.reused]
    assert {Outcome.OK, Outcome.WRONG, Outcome.BUILD_ERROR} == set(outcomes)
    assert "no_code" in [c.notes["reason"] for c in candidates if c.kernel is None]
    good = next(c for c in candidates if c.kernel is not None and c.kernel.source == doubling.GOOD)
    seed, slow = candidates[0], next(c for c in candidates if c.kernel is not None and c.kernel.source == doubling.SLOW)
    assert good.objective is not None and seed.objective is not None and slow.objective is not None
    # Alone on its machine it is 2.7 times as fast as the seed, and the seed 7 times as fast as the slow one; other tests run beside.
    assert good.objective > seed.objective + 0.2 and seed.objective > slow.objective + 0.5
    with open_run(folder / "run") as reader:
        best = reader.best()
    assert best is not None and "v = v /" not in best.source and best.ancestry.startswith("0 seed > ")
    assert summary.certificate is not None and summary.certificate.ok
    assert 'extern "C" void kernel(const float* x, float* y, void* workspace, int64_t n);' in prompts[0]
    assert "volatile" in prompts[0] and "Twice x plus one" in prompts[0]
    assert any("wrong" in prompt and "What was tried from this kernel before" in prompt for prompt in prompts[1:])
