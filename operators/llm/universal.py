"""`llm_universal`: one adaptive prompt whose parts follow the state of the parent.

After KernelEvolve (Meta, 2025): a single operator for drafting, improving and repairing, steered by what is known.
"""

from __future__ import annotations

from typing import ClassVar

from archive.candidate import Candidate, Proposal
from operators.base import Context
from operators.llm.base import ModelOperator, parent_of
from operators.llm.mutate import aim
from operators.llm.studio import Studio
from operators.llm.telling import NEAR_ROOFLINE, Attempt, inspirations, tell, tried

__all__ = ["Universal", "state_of"]

BARREN = 4
"""Attempts without an improvement after which a parent counts as barren."""
FEW_TUNABLES = 3


class Universal(ModelOperator):
    name = "llm_universal"
    template = "universal"
    weight: ClassVar[float] = 2.0

    def facts(self, proposal: Proposal, context: Context, studio: Studio) -> dict[str, object]:
        parent = parent_of(proposal, context)
        attempts = tried(parent, context.view, max(studio.manner.attempts, BARREN))
        state = state_of(parent, attempts, context)
        return {
            "parent": tell(parent, context.view),
            "state": state,
            "others": [] if state == "failed" else inspirations(parent, context.view, studio.manner.inspirations),
            "tried": attempts[: studio.manner.attempts],
            **({} if state == "failed" else aim(proposal, parent, context, studio)),
        }


def state_of(parent: Candidate, attempts: list[Attempt], context: Context) -> str:
    """`failed`, `near_roofline`, `barren`, `untuned`, or `room`."""
    if not parent.ok:
        return "failed"
    assert parent.evaluation is not None and parent.kernel is not None
    share = parent.evaluation.profile.get("roofline_share")
    if isinstance(share, (int, float)) and share >= NEAR_ROOFLINE:
        return "near_roofline"
    if len(attempts) >= BARREN and parent.objective is not None:
        children = [context.view.candidate(attempt.number).objective for attempt in attempts]
        if all(objective is None or objective <= parent.objective for objective in children):
            return "barren"
    return "untuned" if len(parent.kernel.tunables) < FEW_TUNABLES else "room"
