"""What a run came to: printed at its end, kept as `summary.json` beside its database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fitness.protocol import Certificate

__all__ = ["Summary"]


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended and what it found."""

    run: str
    """The run's name."""
    path: Path
    """Its folder."""
    stopped_by: str
    """A `StopReason`: evaluations, minutes, device_seconds, dollars, stall, target_speedup, exhausted, interrupted,
    infrastructure, models."""
    evaluations: int
    proposals: int
    outcomes: Mapping[str, int] = field(default_factory=dict)
    """Evaluated candidates by outcome (duplicates and reused evaluations are not among them)."""
    duplicates: int = 0
    """Proposals whose kernel, or whose built artifact, was already known."""
    best: int | None = None
    """Number of the best candidate: the certified one when there is a certificate."""
    kernel_id: str = ""
    speedup: float | None = None
    """Of `best` over the problem's baseline, as the search measured it."""
    interval: tuple[float, float] | None = None
    """95 % bootstrap interval of `speedup`."""
    certificate: Certificate | None = None
    source: Path | None = None
    """The best kernel's source file."""
    picture: Path | None = None
    coverage: float = 0.0
    cells: int = 0
    seconds: float = 0.0
    """Wall time of the search, over all its resumes."""
    message: str = ""
    """What the reader should know beyond the figures (why it stopped, what failed), else empty."""
    resume: str = ""
    """The command that continues this run; empty when it is finished."""

    @property
    def finished(self) -> bool:
        """Whether the run came to its own end, so that resuming it would add nothing."""
        return not self.resume

    def facts(self) -> dict[str, Any]:
        """Everything as JSON-able values."""
        certificate = None if self.certificate is None else asdict(self.certificate)
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "certificate"}
        return {**plain, "outcomes": dict(self.outcomes), "certificate": certificate}

    def dump(self) -> str:
        """JSON text, as in `summary.json`."""
        return json.dumps(self.facts(), indent=2, default=str) + "\n"
