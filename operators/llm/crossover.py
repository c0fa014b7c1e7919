"""`llm_crossover`: one kernel from two that lie far apart in descriptor space, told what each is good at."""

from __future__ import annotations

from typing import ClassVar

from archive.candidate import Cell, Proposal
from operators.base import Context, View
from operators.llm.base import ModelOperator, parent_of
from operators.llm.studio import Studio
from operators.llm.telling import strengths, tell

__all__ = ["Crossover", "distance", "distant_partner"]


class Crossover(ModelOperator):
    """Keeps a second parent that differs in at least half of the axes; else the elite farthest away takes its place."""

    name = "llm_crossover"
    template = "crossover"
    parents: ClassVar[int] = 2
    weight: ClassVar[float] = 1.0

    def rewrites(self) -> bool:
        return True  # two sources: there is no one text to edit

    def partners(self, parents: tuple[int, ...], view: View) -> tuple[int, ...]:
        if not parents:
            return parents
        home = view.candidate(parents[0]).cell
        if len(parents) > 1 and home is not None and 2 * distance(home, view.candidate(parents[1]).cell)[0] >= len(home):
            return parents
        partner = distant_partner(parents[0], view)
        return parents if partner is None else (parents[0], partner)

    def facts(self, proposal: Proposal, context: Context, studio: Studio) -> dict[str, object]:
        parent, partner = parent_of(proposal, context), parent_of(proposal, context, 1)
        return {
            "parent": tell(parent, context.view),
            "partner": tell(partner, context.view),
            "strengths": strengths(parent, partner),
        }


def distance(one: Cell | None, other: Cell | None) -> tuple[int, int]:
    """(axes in which two cells differ, bins between them)."""
    pairs = list(zip(one or (), other or (), strict=False))
    return sum(a != b for a, b in pairs), sum(abs(a - b) for a, b in pairs)


def distant_partner(number: int, view: View) -> int | None:
    """The elite farthest from a candidate's cell; of equals the faster one. None when there is no other."""
    home = view.candidate(number).cell
    others = [elite for elite in view.archive.elites() if elite.number != number]
    if not others:
        return None
    return max(others, key=lambda elite: (distance(home, elite.candidate.cell), elite.objective, -elite.number)).number
