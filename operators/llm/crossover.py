"""`llm_crossover`: one kernel from two that lie far apart in descriptor space, told what each is good at."""

from __future__ import annotations

from typing import ClassVar

from archive.candidate import Candidate, Proposal
from operators.base import Context, View
from operators.llm.base import ModelOperator, parent_of
from operators.llm.studio import Studio
from operators.llm.telling import strengths, tell

__all__ = ["Crossover", "distant_partner"]


class Crossover(ModelOperator):
    """The second parent of the proposal is kept when it is of another cell; else the elite farthest away takes its place."""

    name = "llm_crossover"
    template = "crossover"
    parents: ClassVar[int] = 1
    weight: ClassVar[float] = 1.0

    def rewrites(self) -> bool:
        return True  # two sources: there is no one text to edit

    def facts(self, proposal: Proposal, context: Context, studio: Studio) -> dict[str, object]:
        parent = parent_of(proposal, context)
        partner = parent_of(proposal, context, 1) if len(proposal.parents) > 1 else None
        if partner is None or partner.kernel is None or partner.cell == parent.cell:
            partner = distant_partner(parent, context.view) or partner or parent
        return {
            "parent": tell(parent, context.view),
            "partner": tell(partner, context.view),
            "strengths": strengths(parent, partner),
            "partner_number": partner.number,
        }


def distant_partner(parent: Candidate, view: View) -> Candidate | None:
    """The elite that differs in the most axes (then by the most bins); of equals the faster one. None when there is no other."""
    others = [elite for elite in view.archive.elites() if elite.number != parent.number and elite.candidate.cell is not None]
    if not others:
        return None
    home = parent.cell or ()

    def distance(cell: tuple[int, ...] | None) -> tuple[int, int]:
        pairs = list(zip(home, cell or (), strict=False))
        return sum(a != b for a, b in pairs), sum(abs(a - b) for a, b in pairs)

    return max(others, key=lambda elite: (distance(elite.candidate.cell), elite.objective, -elite.number)).candidate
