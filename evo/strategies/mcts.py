"""Tree search over the lineage: which ancestor's line deserves the next edit, by upper confidence bounds.

L. Kocsis & C. Szepesvári, "Bandit based Monte-Carlo Planning" (UCT), ECML 2006; progressive widening: R. Coulom, "Computing Elo
Ratings of Move Patterns in the Game of Go", 2007; over kernels: KernelEvolve, arXiv:2512.23236, 2025.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random
from typing import Annotated

from pydantic import Field

from archive.candidate import Candidate
from evo.strategies.base import Move, Strategy
from evo.strategies.variation import MUTATIONS, Variation, scored
from operators.base import View

__all__ = ["MCTS"]

ROOT = -1


class Node:
    """A kernel and the search below it."""

    __slots__ = ("best", "children", "parent", "visits")

    def __init__(self, parent: int, objective: float) -> None:
        self.parent = parent
        self.best = objective
        """The highest objective in its subtree: an edit matters for what it leads to."""
        self.visits = 1
        self.children: list[int] = []


class MCTS(Strategy):
    """From the root down to the child with the highest bound, until a kernel may have another child.

    Args:
        exploration: factor of the bound's width, in units of the range of objectives.
        widening: a kernel may have a new child while children < widening × visits ** 0.5.
        adaptive: operators that pay are chosen more often.
        operators: weights by operator name; those with two parents take one at random from the path.
    """

    def __init__(
        self,
        *,
        exploration: Annotated[float, Field(ge=0)] = 0.3,
        widening: Annotated[float, Field(gt=0)] = 1.5,
        adaptive: bool = False,
        operators: Mapping[str, float] | None = None,
    ) -> None:
        self._exploration, self._widening = exploration, widening
        self._variation = Variation(operators or MUTATIONS, adaptive=adaptive)
        self._nodes: dict[int, Node] = {ROOT: Node(ROOT, -math.inf)}
        self._low = math.inf

    def ask(self, view: View, rng: Random) -> Move:
        root = self._nodes[ROOT]
        working = [seed.number for seed in view.seeds if seed.ok] or [seed.number for seed in view.seeds]
        here, path = root, [ROOT]
        while here.children and len(here.children) >= self._widening * math.sqrt(here.visits):
            number = self._descend(here, rng)
            here = self._nodes[number]
            path.append(number)
        if path[-1] == ROOT:  # another first step: from a seed, anywhere
            return Move("sample", (working[rng.randrange(len(working))],))
        return self._variation.move(path[-1], lambda: rng.choice(path[1:]), rng)

    def _descend(self, node: Node, rng: Random) -> int:
        span = max(self._nodes[ROOT].best - self._low, 1e-9)
        logs = math.log(node.visits + 1)
        first = rng.randrange(len(node.children))  # of equals, any
        best, chosen = -math.inf, node.children[first]
        for number in (*node.children[first:], *node.children[:first]):
            child = self._nodes[number]
            bound = (child.best - self._low) / span + self._exploration * math.sqrt(logs / child.visits)
            if bound > best:
                best, chosen = bound, number
        return chosen

    def tell(self, candidate: Candidate) -> None:
        self._variation.tell(candidate)
        found = scored(candidate)
        parents = candidate.proposal.parents
        parent = parents[0] if parents and candidate.proposal.operator != "sample" and parents[0] in self._nodes else ROOT
        if found is not None:
            self._nodes[candidate.number] = Node(parent, found[0])
            self._nodes[parent].children.append(candidate.number)
            self._low = min(self._low, found[0])
        objective = -math.inf if found is None else found[0]
        while True:
            node = self._nodes[parent]
            node.visits += 1
            node.best = max(node.best, objective)
            if parent == ROOT:
                return
            parent = node.parent
