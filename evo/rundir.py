"""The folder of a run: what lies in it, how it is made, and how it is found to be whole."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from archive.kernel import Kernel
from evo.config import Config, load_config
from evo.errors import UserError

__all__ = ["RunDir", "runs_folder"]

SUFFIXES = {"cpp": ".cpp", "cuda": ".cu", "hip": ".hip", "triton": ".py", "python": ".py", "tabular": ".py"}


def runs_folder() -> Path:
    """Where runs are made: `$EVO_RUNS`, else `runs/` in the working folder."""
    return Path(os.environ.get("EVO_RUNS") or "runs")


@dataclass(frozen=True, slots=True)
class RunDir:
    """The paths of one run.

    run.db         the lineage; everything else can be made again from it
    config.yaml    the resolved config; its `budget` and `executor` may be edited before a resume
    run.log        what worker processes printed
    seeds/         further kernels that the search starts from, beside the problem's own
    best.EXT       the best kernel's source
    summary.json   how the last session ended
    picture.png    convergence and archive
    """

    path: Path

    @property
    def database(self) -> Path:
        return self.path / "run.db"

    @property
    def config(self) -> Path:
        return self.path / "config.yaml"

    @property
    def log(self) -> Path:
        return self.path / "run.log"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    def best(self, language: str) -> Path:
        """Where the best kernel's source goes."""
        return self.path / f"best{SUFFIXES.get(language, '.txt')}"

    @classmethod
    def create(cls, config: Config, out: Path | None = None) -> RunDir:
        """A new folder with the resolved config: `out`, which must be empty or new, else `runs/NAME-STAMP`.

        Raises:
            UserError: the folder is in use, or cannot be made or written.
        """
        path = out if out is not None else _unused(runs_folder() / f"{config.name or 'run'}-{datetime.now(UTC):%Y%m%d-%H%M%S}")
        try:
            path.mkdir(parents=True, exist_ok=out is not None)
            if any(path.iterdir()):
                raise UserError(
                    "The run's folder is not empty.",
                    file=path,
                    found=", ".join(sorted(entry.name for entry in path.iterdir())[:5]),
                    expected="an empty or new folder",
                    remedy="Choose another, or `evo resume` the run in it.",
                )
            made = cls(path)
            made.write(made.config, config.dump())
        except OSError as error:
            raise UserError(
                "The run's folder cannot be made.",
                file=path,
                found=error.strerror or str(error),
                remedy="Check space and permissions, or put the run elsewhere with -o.",
            ) from error
        return made

    @classmethod
    def open(cls, path: Path) -> tuple[RunDir, Config]:
        """An existing folder (or its `run.db`) and its config.

        Raises:
            UserError: it is not a run's folder, or its config was spoilt.
        """
        if path.name == "run.db":
            path = path.parent
        found = cls(path)
        if not found.config.is_file():
            raise UserError(
                "This is not a run.",
                file=path,
                found="no config.yaml in it" if path.is_dir() else "no such folder",
                expected="a folder that `evo run` made",
                remedy="Check the path; `evo ls` lists runs.",
            )
        return found, load_config(found.config)

    def write(self, path: Path, text: str) -> None:
        """Writes a file of this folder whole or not at all."""
        unfinished = path.with_name(path.name + ".new")
        try:
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            raise

    def read_seeds(self, language: str) -> list[Kernel]:
        """The further kernels in `seeds/`, by file name; none where there is no such folder."""
        files = sorted(path for path in (self.path / "seeds").glob(f"*{SUFFIXES.get(language, '.txt')}") if path.is_file())
        return [Kernel(language, path.read_text(encoding="utf-8"), f"seeds/{path.name}") for path in files]

    def write_seeds(self, kernels: Mapping[str, Kernel]) -> None:
        """Puts kernels into `seeds/`, in this order, each under its name. For a run that has not begun."""
        (self.path / "seeds").mkdir(exist_ok=True)
        for number, (name, kernel) in enumerate(kernels.items()):
            self.write(self.path / "seeds" / f"{number:02}-{name}{SUFFIXES.get(kernel.language, '.txt')}", kernel.source)

    def remove(self) -> None:
        """Takes the whole folder away: for a run that could not begin."""
        shutil.rmtree(self.path, ignore_errors=True)


def _unused(path: Path) -> Path:
    """The path, or the first of PATH-2, PATH-3, … that does not exist."""
    candidate, number = path, 1
    while candidate.exists():
        number += 1
        candidate = path.with_name(f"{path.name}-{number}")
    return candidate
