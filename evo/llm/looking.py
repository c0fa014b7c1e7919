"""A run seen without its evaluator: its state rebuilt from the lineage, for writing prompts and choosing moves anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archive.descriptors import default_descriptors, parse_descriptors
from archive.grid import GridArchive
from archive.kernel import Kernel
from archive.lineage import Lineage
from evo.budget import Budget
from evo.config import Config
from evo.errors import UserError
from evo.llm.studio import learner, writing_studio
from evo.randomness import generator
from evo.replay import replay
from evo.state import State
from evo.strategies.opening import open_strategy
from operators.base import Context, operator
from operators.llm.studio import Studio

__all__ = ["Looking"]


class Looking:
    """What is known of a run: `state`, `studio`, `seeds`.

    Args:
        lineage: of the run; may be read-only.

    Raises:
        UserError: no seed has been evaluated yet, or the config does not fit the run.
    """

    def __init__(self, config: Config, lineage: Lineage) -> None:
        self.config = config
        self.lineage = lineage
        self.seeds = self._seeds()
        entries = config.archive.descriptors
        descriptors = parse_descriptors(list(entries)) if entries else default_descriptors(config.target.name, self.seeds[0].space)
        archive = GridArchive(descriptors, deterministic=self._deterministic())
        self.state = State(archive, open_strategy(config), Budget(config.budget), lambda kernel: kernel.space)
        self.studio: Studio = writing_studio(config, self._facts(), self.seeds[0], lineage)
        self.state.learn = learner(self.studio, self.state.view)
        replay(lineage, self.state)

    def context(self, number: int) -> Context:
        """What an operator gets for proposal `number`, with the random numbers it has in the run."""
        return Context(self.state.view, generator(self.config.seed, "propose", number), self.seeds, self.studio)

    def next_number(self) -> int:
        """The number of the next new proposal."""
        found = self.lineage.select("SELECT max(number) AS last FROM proposals WHERE run = ?", (self.lineage.run,))
        return 0 if found[0]["last"] is None else int(found[0]["last"]) + 1

    def move(self, number: int) -> tuple[int, ...]:
        """The parents that the strategy chooses for proposal `number`; the best elite when it wants a fresh start."""
        move = self.state.strategy.ask(self.state.view, generator(self.config.seed, "ask", number))
        best = self.state.archive.best
        if move.operator == "sample" or not move.parents:
            return () if best is None else (best.number,)
        return operator(move.operator).partners(move.parents, self.state.view)

    def _seeds(self) -> tuple[Kernel, ...]:
        rows = self.lineage.select(
            "SELECT k.language, k.source FROM proposals p JOIN kernels k ON k.id = p.kernel WHERE p.run = ? AND p.operator = 'seed' "
            "ORDER BY p.number",
            (self.lineage.run,),
        )
        if not rows:
            raise UserError(
                "This run has not begun: none of its seeds was evaluated.",
                file=self.lineage.path,
                found="no candidate",
                expected="at least its seed",
                remedy="evo resume RUN, or evo ask CONFIG, which evaluates the seed first.",
            )
        return tuple(Kernel(row["language"], row["source"]) for row in rows)

    def _deterministic(self) -> bool:
        """As the evaluator was: what measures keeps samples, what looks up does not."""
        found = self.lineage.select("SELECT count(*) AS n FROM samples")
        return int(found[0]["n"]) == 0

    def _facts(self) -> Mapping[str, Any]:
        environments = self.lineage.environments()
        return environments[-1].facts if environments else {}
