"""`asked`: a proposal that was handed to a person or a coding agent, whose answer comes whenever it comes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ClassVar

from archive.candidate import Draft, Proposal
from operators.base import Context, OperatorError
from operators.llm.universal import Universal

__all__ = ["Asked"]


class Asked(Universal):
    """Has the prompt of `llm_universal`. No strategy chooses it and no model is asked: `evo ask` writes it, `evo tell` reads the answer."""

    name = "asked"
    weight: ClassVar[float] = 0.0
    costs_money = False

    def rewrites(self) -> bool:
        return True

    def begin(self, proposal: Proposal, context: Context) -> Callable[[], Awaitable[Draft]]:
        raise OperatorError(f"proposal {proposal.number}: `asked` is answered through `evo tell`, not by a model")
