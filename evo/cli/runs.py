"""Which run is meant: a path, a unique prefix of a name, or `last`."""

from __future__ import annotations

import os
from pathlib import Path

from evo.errors import UserError
from evo.reading import DATABASE
from evo.rundir import runs_folder

__all__ = ["all_runs", "find_run"]

CONFIG = "config.yaml"


def all_runs(folder: Path | None = None) -> list[Path]:
    """Folders that hold a run, oldest first."""
    home = runs_folder() if folder is None else folder
    if not home.is_dir():
        return []
    return sorted((path.parent for path in home.glob(f"*/{DATABASE}")), key=begun)


def begun(run: Path) -> tuple[float, str]:
    """When a run was made: its resolved config is written once, at its start."""
    for name in (CONFIG, DATABASE):
        try:
            return (run / name).stat().st_mtime, run.name
        except OSError:
            continue
    return 0.0, run.name


def find_run(reference: str, folder: Path | None = None) -> Path:
    """The folder of the run that `reference` names.

    Raises:
        UserError: nothing, or more than one run, is meant by it; or the path is not a run's.
    """
    path = Path(reference).expanduser()
    if path.name == DATABASE and path.is_file():
        return path.parent
    if (path / DATABASE).is_file() or (path / CONFIG).is_file():  # one that was killed in its first moment has a config only
        return path
    home = runs_folder() if folder is None else folder
    runs = all_runs(home)
    names = ", ".join(run.name for run in runs[-5:]) or "none"
    if path.exists() and (os.sep in reference or path.is_file()):
        raise UserError(
            "This is not a run.", file=path, found=f"no {DATABASE} in it", expected="a run's folder", remedy="evo ls lists the runs here."
        )
    if reference == "last" and runs:
        return runs[-1]
    matching = [run for run in runs if run.name == reference] or [run for run in runs if run.name.startswith(reference)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise UserError(
            f"More than one run begins with `{reference}`.",
            file=home,
            found=", ".join(run.name for run in matching),
            expected="a prefix that only one run has",
            remedy="Give more of the name, or `last`.",
        )
    raise UserError(
        f"There is no run `{reference}`.",
        file=home,
        found=f"the newest runs: {names}" if runs else "no runs",
        expected="a path, a unique prefix of a run's name, or `last`",
        remedy="evo ls DIR lists the runs of a folder; evo run CONFIG starts one.",
    )
