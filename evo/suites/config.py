"""Which runs a suite makes, and what they have in common."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from evo.config import Config, Scalar, explain, load_config
from evo.document import read_document
from evo.errors import UserError

__all__ = ["Entry", "Suite", "load_suite"]

Overrides = dict[str, Scalar | None]


def _by_path(value: object) -> object:
    """An entry that is given as a text is its config's path."""
    return {"config": value} if isinstance(value, str) else value


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class _Run(_Section):
    config: str = Field(description="A run's config, relative to the suite's file.")
    set: Overrides = Field(default={}, description="Keys of that config to override, dotted: {budget.minutes: 4}.")


class _Suite(_Section):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)] = Field(default="", validate_default=False)
    runs: tuple[Annotated[_Run, BeforeValidator(_by_path)], ...] = Field(min_length=1, description="The runs, in their order.")
    set: Overrides = Field(default={}, description="Keys to override in every run.")


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of a suite."""

    name: str
    """Its folder's, within the suite's."""
    config: Config


@dataclass(frozen=True, slots=True)
class Suite:
    name: str
    file: Path
    entries: tuple[Entry, ...]


def load_suite(path: Path, overrides: Sequence[str] = ()) -> Suite:
    """Reads a suite and every config it names; `overrides` (`a.b=value`) come last.

    Raises:
        UserError: as `evo.config.load_config`, or two runs have the same name.
    """
    document = read_document(path)
    document.values.setdefault("name", path.stem)
    try:
        read = _Suite.model_validate_json(json.dumps(document.values))
    except ValidationError as error:
        raise explain(error.errors(include_url=False), document, _Suite) from error
    entries: dict[str, Entry] = {}
    for number, run in enumerate(read.runs):
        file = (path.resolve().parent / run.config).resolve()
        shared = [f"{key}={json.dumps(value)}" for key, value in {**read.set, **run.set}.items()]
        config = load_config(file, [*shared, *overrides])
        if config.name in entries:
            raise UserError(
                "Two runs of the suite have the same name.", file=path, line=document.line(("runs", number)), key=f"runs.{number}",
                found=config.name, expected="a name of its own", remedy="Give one of them `set: {name: …}`.",
            )  # fmt: skip
        entries[config.name] = Entry(config.name, config)
    return Suite(read.name, path, tuple(entries.values()))
