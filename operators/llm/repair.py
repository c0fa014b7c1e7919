"""`llm_repair`: a failed kernel with everything that was found out about its failure."""

from __future__ import annotations

from typing import ClassVar

from archive.candidate import Candidate, Proposal, Repair
from operators.base import Context, OperatorError
from operators.llm.base import ModelOperator, parent_of
from operators.llm.studio import Studio
from operators.llm.telling import tell

__all__ = ["RepairByModel"]


class RepairByModel(ModelOperator):
    """The first parent is the failed candidate (also named by a `Repair` goal); how often is the strategy's affair."""

    name = "llm_repair"
    template = "repair"
    weight: ClassVar[float] = 0.0

    def facts(self, proposal: Proposal, context: Context, studio: Studio) -> dict[str, object]:
        failed = parent_of(proposal, context)
        if isinstance(proposal.goal, Repair) and proposal.goal.candidate != failed.number:
            raise OperatorError(
                f"proposal {proposal.number}: found goal {proposal.goal} and parent {failed.number}, expected the failed candidate in both"
            )
        ancestor = _working_ancestor(failed, context)
        changes = "" if ancestor is None or ancestor.kernel is None or failed.kernel is None else ancestor.kernel.diff(failed.kernel)
        return {"parent": tell(failed, context.view), "ancestor": changes}


def _working_ancestor(failed: Candidate, context: Context) -> Candidate | None:
    """The nearest ancestor along first parents that is right."""
    at = failed
    while at.proposal.parents:
        at = context.view.candidate(at.proposal.parents[0])
        if at.ok:
            return at
    return None
