"""What a proposal by a model costs the framework beside the model: prompt, retrieval, reading, ledger, lineage (CPU).

Real prompts over the softmax problem and a state of 500 candidates; the request itself is answered at once in its place, so
that neither a network nor litellm is in the figure. Also: litellm's own CPU for one request to a server on loopback.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "data")]

import numpy as np  # noqa: E402
from model_server import ModelServer  # noqa: E402

import operators.models.desk as desk_module  # noqa: E402
from archive.candidate import Candidate, Draft, Proposal  # noqa: E402
from archive.descriptors import parse_descriptors  # noqa: E402
from archive.evaluation import Evaluation, Outcome, Samples  # noqa: E402
from archive.grid import GridArchive  # noqa: E402
from archive.kernel import Kernel  # noqa: E402
from archive.lineage import Lineage  # noqa: E402
from evo.budget import Budget  # noqa: E402
from evo.config import BudgetSection, load_config  # noqa: E402
from evo.llm.studio import learner, open_studio  # noqa: E402
from evo.state import State  # noqa: E402
from evo.strategies.opening import open_strategy  # noqa: E402
from fitness.problem import Problem  # noqa: E402
from operators.base import Context, operator  # noqa: E402
from operators.llm.base import ModelOperator  # noqa: E402
from operators.models.call import Message  # noqa: E402
from operators.models.client import Raw, send  # noqa: E402
from operators.models.spec import ModelSpec  # noqa: E402

KNOWN = 500
PROPOSALS = 200
OPERATORS = ("llm_mutate", "llm_universal", "llm_crossover", "llm_expose")


def candidate(number: int, kernel: Kernel, rng: random.Random) -> Candidate:
    objective = rng.uniform(0.0, 2.0)
    profile = {
        "vector_bits": rng.choice((0, 128, 256, 512)), "memory_pattern": rng.choice(("scalar", "vector", "streaming")),
        "roofline_share": 0.4, "bandwidth": 1e10, "library_calls": "expf", "spills": 2, "fma": 30, "instructions": 500,
    }  # fmt: skip
    seconds = np.exp(-objective) * (1 + 0.01 * np.arange(12))
    samples = tuple(Samples(f"rows={2048 << i},cols=2048", seconds, np.ones(12)) for i in range(3))
    evaluation = Evaluation(kernel.id, Outcome.OK, (), objective, (objective - 0.01, objective + 0.01), samples, profile)
    return Candidate(Proposal(number, "seed" if number == 0 else "mutate_many", () if number == 0 else (0,)), kernel, evaluation)


def main() -> None:
    rng = random.Random(1)
    os.environ["EVO_MODEL"] = "openai/none"
    config = load_config(ROOT / "experiments" / "softmax_llm.yaml", ["llm.dollars_in=1", "llm.dollars_out=1", "budget.dollars=1000"])
    seed = Problem.load("softmax").seed_kernel("cpp")
    assert config.archive.descriptors is not None
    archive = GridArchive(parse_descriptors(list(config.archive.descriptors)))
    state = State(archive, open_strategy(config), Budget(BudgetSection(evaluations=10_000)), lambda kernel: kernel.space)

    sources = iter([seed.with_values(seed.space.sample(rng)).source + f"// {number}\n" for number in range(PROPOSALS + 9)])

    async def at_once(spec: ModelSpec, conversation: object, *, timeout: float) -> Raw:
        return Raw(f"Other values.\n```cpp\n{next(sources)}```\n", 4000, 2500, "stop")

    async def nothing() -> object:
        return None

    desk_module.send, desk_module.loaded = at_once, nothing  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder, Lineage.create(Path(folder) / "run.db") as lineage:
        lineage.start_run("{}", 0, "softmax", "cpp")
        studio = open_studio(config, lineage, {"device": {"name": "bench", "kind": "cpu", "vector_bits": 512}}, seed)
        state.learn = learner(studio, state.view)
        for number in range(KNOWN):
            kernel = seed if number == 0 else seed.with_values(seed.space.sample(rng))
            one = candidate(number, kernel, rng)
            state.view.claim(kernel.id, number)
            state.offer(one)
            state.finish(one)
        costs, reasons = [], Counter[str]()
        loop = asyncio.new_event_loop()
        for number in range(KNOWN, KNOWN + PROPOSALS):
            made = operator(OPERATORS[number % len(OPERATORS)])
            assert isinstance(made, ModelOperator)
            elites = state.archive.elites()
            parents = made.partners((rng.choice(elites).number,), state.view)
            proposal = Proposal(number, made.name, parents)
            context = Context(state.view, random.Random(number), (seed,), studio)
            began = time.process_time()
            lineage.propose(proposal)
            draft: Draft = loop.run_until_complete(_wait(made, proposal, context))
            lineage.draft(number, draft.kernel, draft.notes)
            costs.append(time.process_time() - began)
            reasons[draft.reason or "kernel"] += 1
        size = statistics.mean(
            len(str(operator("llm_mutate").letter(Proposal(9999, "llm_mutate", (0,)), context).prompt)) for _ in range(3)
        )  # type: ignore[attr-defined]
    print(f"prompt of llm_mutate                 {size:10.0f} characters")
    print(f"CPU per proposal, median             {1e3 * statistics.median(costs[4:]):10.2f} ms   (bound: 5 ms)")
    slow = sorted(costs[4:])[int(0.95 * len(costs[4:]))]
    print(f"CPU per proposal, mean / 95th of 100 {1e3 * statistics.mean(costs[4:]):10.2f} / {1e3 * slow:.2f} ms")
    print(f"CPU of the first four (templates)    {1e3 * sum(costs[:4]):10.2f} ms")
    print(f"drafts                               {dict(reasons)}")
    with ModelServer(["ok"]) as server:
        spec = ModelSpec("openai/x", base_url=server.url)
        print(f"litellm, CPU per request (client and server) {1e3 * asyncio.run(requests(spec)):10.2f} ms")


async def _wait(made: ModelOperator, proposal: Proposal, context: Context) -> Draft:
    return await made.begin(proposal, context)()


async def requests(spec: ModelSpec) -> float:
    message = (Message("user", "x" * 15_000),)
    for _ in range(3):
        await send(spec, message, timeout=10)
    began = time.process_time()
    for _ in range(20):
        await send(spec, message, timeout=10)
    return (time.process_time() - began) / 20


if __name__ == "__main__":
    main()
