"""Joules by the processor's own counters (RAPL), where the host lets them be read.

They count whole packages: everything that ran meanwhile, not the kernel alone. Containers and virtual machines mostly hide
them; then there is no figure, rather than a guess.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

__all__ = ["EnergyLog", "Meter"]

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, slots=True)
class Domain:
    counter: Path
    """File with microjoules, which wraps around."""
    wrap: int


class Meter:
    """Reads the counters of all packages.

    Args:
        root: where the kernel shows them.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._domains: list[Domain] = []
        for folder in sorted(root.glob("intel-rapl:*")) if root.is_dir() else []:
            if folder.name.count(":") == 1:  # packages; what lies below them is part of them
                try:
                    wrap = int((folder / "max_energy_range_uj").read_text())
                    int((folder / "energy_uj").read_text())
                except (OSError, ValueError):
                    continue
                self._domains.append(Domain(folder / "energy_uj", wrap))
        self._last = self._read()
        self._total = 0.0

    @property
    def works(self) -> bool:
        return bool(self._domains)

    def joules(self) -> float | None:
        """Since it was made; None where there are no counters. To be asked at least once an hour, since counters wrap around."""
        if not self._domains:
            return None
        now = self._read()
        if now is None or self._last is None:
            return None
        for domain, before, after in zip(self._domains, self._last, now, strict=True):
            self._total += ((after - before) % (domain.wrap + 1)) * 1e-6
        self._last = now
        return self._total

    def _read(self) -> list[int] | None:
        try:
            return [int(domain.counter.read_text()) for domain in self._domains]
        except (OSError, ValueError):
            return None


class EnergyLog:
    """Joules of a run's sessions, in `energy.json` in its folder. A session that was killed leaves the sum unknown."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "energy.json"

    def total(self) -> float | None:
        sessions = self._sessions()
        return None if not sessions or any(each is None for each in sessions) else sum(each for each in sessions if each is not None)

    def begin(self) -> None:
        self._write([*self._sessions(), None])

    def end(self, joules: float | None) -> None:
        self._write([*self._sessions()[:-1], joules])

    def _sessions(self) -> list[float | None]:
        try:
            sessions: list[float | None] = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return []
        return sessions

    def _write(self, sessions: list[float | None]) -> None:
        unfinished = self.path.with_suffix(".new")
        unfinished.write_text(json.dumps(sessions), encoding="utf-8")
        unfinished.replace(self.path)
