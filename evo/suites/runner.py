"""Searches what of a suite is not finished yet, one run after the other, and keeps table and picture up to date."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evo.budget import StopReason
from evo.config import Config
from evo.errors import UserError, as_user_error
from evo.reading import DATABASE, open_run
from evo.run import Run
from evo.suites.config import Entry, Suite
from evo.suites.energy import EnergyLog, Meter
from evo.suites.table import Row, as_csv, as_json, as_markdown, is_final, read_row
from evo.summary import Summary

__all__ = ["SuiteRun"]

MEASURED = "Milliseconds are per call, geometric means over shapes that the search never saw; certified, one run each.\n"
NAMED = """
Ceilings are programs that do nothing but what the kernel cannot do without, called interleaved with it on the same cold arguments:
a *plain copy* moves its bytes with ordinary stores, a *streaming copy* with stores past the caches (so a kernel may exceed the plain
copy, and is then held against the streaming one), a *random gather* picks its rows. *FMA peak* is the measured rate of multiply-adds.
On a GPU, *memory bandwidth* is what the bytes take at the device's measured rates of reading, writing and copying, in the mixture that
the problem has, and the *tensor-core peak* the rate of a large matrix product.
"""
OF_DEVICE = """
The roofline is what the problem's bytes take at the device's measured rates of reading, writing and copying, in the mixture that the
problem has, or its operations where they take longer; where rows are picked at random, what picking takes.
"""

Search = Callable[[Run], Summary]


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files of a suite beside its runs' folders."""

    folder: Path

    @property
    def markdown(self) -> Path:
        return self.folder / "suite.md"

    @property
    def csv(self) -> Path:
        return self.folder / "suite.csv"

    @property
    def json(self) -> Path:
        return self.folder / "suite.json"

    @property
    def picture(self) -> Path:
        return self.folder / "suite.png"


class SuiteRun:
    """A suite in a folder: `search` what is missing, read `rows`, `write` table and picture.

    A run that was finished is never touched again, one that was interrupted or killed is resumed.

    Args:
        factory, arguments: as `Run.create`; by default each config's own evaluator.
    """

    def __init__(
        self,
        suite: Suite,
        folder: Path,
        *,
        create: Callable[[Config, Path], Run] = Run.create,
        reopen: Callable[[Path], Run] = Run.open,
        meter: Callable[[], Meter] = Meter,
    ) -> None:
        self.suite = suite
        self.folder = folder
        self.outputs = Outputs(folder)
        self.failures: dict[str, str] = {}
        """Why runs of this session could not be searched, by name."""
        self._create = create
        self._reopen = reopen
        self._meter = meter

    def pending(self) -> list[Entry]:
        """Entries whose run is not finished, in order."""
        return [entry for entry in self.suite.entries if not self._finished(entry)]

    def _finished(self, entry: Entry) -> bool:
        folder = self.folder / entry.name
        if not (folder / DATABASE).is_file():
            return False
        try:
            with open_run(folder) as reader:
                state = reader.state()
        except Exception as error:
            if as_user_error(error) is None:
                raise
            return False
        return is_final(state)

    def search(self, entry: Entry, search: Search) -> bool:
        """Makes or resumes the run of an entry and searches it. False when the user interrupted it.

        An error that the user can put right is kept in `failures`, so that the other runs go on.
        """
        folder = self.folder / entry.name
        energy, meter = EnergyLog(folder), self._meter()
        try:
            run = self._reopen(folder) if (folder / "config.yaml").is_file() else self._create(entry.config, folder)
            if meter.works:
                energy.begin()
            summary = search(run)
        except Exception as error:
            known = as_user_error(error)
            if known is None:
                raise
            said = [line.strip() for line in known.what.splitlines()[:2]]  # what, and the first finding about it
            self.failures[entry.name] = "; ".join([*said, *([known.found] if known.found else [])])
            return True
        if meter.works:
            energy.end(meter.joules())
        if summary.message and summary.best is None:
            self.failures[entry.name] = summary.message.splitlines()[0]
        return summary.stopped_by != StopReason.INTERRUPTED

    def rows(self) -> list[Row]:
        return [read_row(entry.name, self.folder / entry.name, self.failures.get(entry.name, "")) for entry in self.suite.entries]

    def write(self, command: Sequence[str]) -> list[Row]:
        """Writes table and picture as far as they are known; returns the rows.

        Raises:
            UserError: the folder cannot be written.
        """
        rows = self.rows()
        origin = self._origin(rows, command)
        said = f"`{origin['command']}`, {origin['time']}, {origin['device'] or origin['machine']}, evo {origin['evo']}.\n"
        note = MEASURED + (NAMED if any(row.roofline for row in rows) else OF_DEVICE if any(row.roofline_share for row in rows) else "")
        texts = {
            self.outputs.markdown: f"# {self.suite.name}\n\n{as_markdown(rows)}\n{note}\n{said}",
            self.outputs.csv: as_csv(rows),
            self.outputs.json: as_json(rows, origin),
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path, text in texts.items():
                unfinished = path.with_name(path.name + ".new")
                unfinished.write_text(text, encoding="utf-8")
                unfinished.replace(path)
        except OSError as error:
            raise UserError("The suite's folder cannot be written.", file=self.folder, found=error.strerror) from error
        if any(row.roofline_share is not None for row in rows):
            from evo.plots import save
            from evo.plots.suite import draw_suite

            save(draw_suite(self.suite.name, rows), self.outputs.picture)
        return rows

    def _origin(self, rows: Sequence[Row], command: Sequence[str]) -> dict[str, Any]:
        from evo import __version__

        devices = sorted({row.device for row in rows if row.device})
        return {
            "command": shlex.join(command),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": f"{platform.system()} {platform.machine()}",
            "device": ", ".join(devices),
            "evo": __version__,
            "suite": str(self.suite.file),
        }
