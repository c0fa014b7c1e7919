"""`llm_expose`: literals and choices of a good kernel become tunables, for the cheap operators to tune."""

from __future__ import annotations

from typing import ClassVar

from archive.candidate import Proposal
from operators.base import Context
from operators.llm.base import ModelOperator, parent_of
from operators.llm.studio import Studio
from operators.llm.telling import tell

__all__ = ["Expose"]


class Expose(ModelOperator):
    name = "llm_expose"
    template = "expose"
    weight: ClassVar[float] = 0.5

    def facts(self, proposal: Proposal, context: Context, studio: Studio) -> dict[str, object]:
        return {"parent": tell(parent_of(proposal, context), context.view)}
