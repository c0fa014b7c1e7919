"""`llm_mutate`: a new kernel from one good one, often aimed at a neighbouring cell that is empty or weak."""

from __future__ import annotations

from typing import ClassVar

from archive.candidate import Candidate, Proposal, VisitCell
from operators.base import Context
from operators.llm.aiming import choose_cell, goal_in_words
from operators.llm.base import ModelOperator, parent_of
from operators.llm.studio import Studio
from operators.llm.telling import inspirations, tell, tried

__all__ = ["Mutate"]


class Mutate(ModelOperator):
    """Goal `VisitCell` names the cell; without a goal the operator directs a share of its mutations itself."""

    name = "llm_mutate"
    template = "mutate"
    weight: ClassVar[float] = 3.0

    def facts(self, proposal: Proposal, context: Context, studio: Studio) -> dict[str, object]:
        parent = parent_of(proposal, context)
        return {
            "parent": tell(parent, context.view),
            "others": inspirations(parent, context.view, studio.manner.inspirations),
            "tried": tried(parent, context.view, studio.manner.attempts),
            **aim(proposal, parent, context, studio),
        }


def aim(proposal: Proposal, parent: Candidate, context: Context, studio: Studio) -> dict[str, object]:
    """The cell to reach, and the goal in words; nothing when the mutation is undirected."""
    goal = proposal.goal if isinstance(proposal.goal, VisitCell) else None
    if goal is None and parent.ok and context.rng.random() < studio.manner.directed:
        goal = choose_cell(parent, context.view, context.rng)
    words = "" if goal is None else goal_in_words(goal.cell, parent, context.view)
    return {"goal": words, "cell": goal.cell} if goal is not None and words else {}
