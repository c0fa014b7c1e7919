"""A run's lineage, opened to go on with: what was decided when the run was started still holds."""

from __future__ import annotations

import contextlib
import json

from archive.lineage import Lineage
from archive.reading import Reading
from evo.config import Config
from evo.errors import UserError
from evo.rundir import RunDir

__all__ = ["open_history"]

MAY_CHANGE = ("name", "budget", "executor", "llm")
"""Sections of a run's config that may be edited between sessions."""
GROUP_MS = 100.0
"""How long transactions of an inline run may wait for each other; such an evaluation is cheaper to repeat than to sync."""


def open_history(folder: RunDir, config: Config) -> Lineage:
    """The run's lineage, open for this process alone, with a session begun.

    Raises:
        UserError: the config was changed in a way that contradicts the history.
        LineageError: another process has it, it is of a newer schema, or it cannot be written.
    """
    group = GROUP_MS if config.executor.name == "inline" or config.target.name == "tabular" else 0.0
    if not folder.database.exists():
        lineage = Lineage.create(folder.database, group_ms=group)
    else:
        lineage = Lineage.open(folder.database, group_ms=group)
    try:
        if lineage.run == 0:  # new, or killed before its first transaction
            lineage.start_run(
                config.model_dump_json(),
                config.seed,
                config.problem,
                config.target.name,
                strategy=config.strategy.name,
                version=_version(),
            )
        else:
            _check_unchanged(lineage, folder, config)
            lineage.start_session()
    except BaseException:
        lineage.close()
        raise
    return lineage


def _check_unchanged(lineage: Reading, folder: RunDir, config: Config) -> None:
    then = json.loads(lineage.run_record().config_json)
    with contextlib.suppress(ValueError):  # a key that is newer than the run has its default
        then = Config.model_validate(then).model_dump(mode="json")
    now = config.model_dump(mode="json")
    for key in now:
        if key not in MAY_CHANGE and then.get(key) != now[key]:
            raise UserError(
                f"`{key}` was changed since the run was started.",
                file=folder.config,
                key=key,
                found=json.dumps(now[key]),
                expected=json.dumps(then.get(key)),
                remedy="Change it back, or start a new run; only name, budget, executor and llm may change between sessions.",
            )


def _version() -> str:
    from evo import __version__

    return __version__
