"""`llm_seed`: a kernel from the problem's specification alone, or a port of one from another target."""

from __future__ import annotations

from typing import ClassVar

from archive.candidate import Proposal
from archive.kernel import Kernel
from operators.base import Context
from operators.llm.base import ModelOperator
from operators.llm.studio import Studio

__all__ = ["SeedByModel"]


class SeedByModel(ModelOperator):
    """Ports one of the studio's foreign kernels in every other call, where there are any. Parents are ignored."""

    name = "llm_seed"
    template = "seed"
    parents: ClassVar[int] = 0
    weight: ClassVar[float] = 0.5

    def rewrites(self) -> bool:
        return True

    def take(self, proposal: Proposal, context: Context) -> tuple[Kernel, ...]:
        return ()

    def facts(self, proposal: Proposal, context: Context, studio: Studio) -> dict[str, object]:
        port = context.rng.choice(studio.ports) if studio.ports and context.rng.random() < 0.5 else ""
        return {"port": port}
