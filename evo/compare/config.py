"""What is compared: strategies × problems × seeds, each run under the same budget. Read from YAML like a run's config."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from evo.config import ArchiveSection, Count, EvaluationSection, Positive, Section, StrategySection, TargetSection, explain
from evo.document import Document, read_document
from evo.strategies.registry import strategy_names

__all__ = ["ALWAYS", "CompareBudget", "CompareConfig", "ProblemEntry", "StrategyEntry", "load_comparison", "parse_comparison"]

ALWAYS: tuple[Literal["random", "best_of_n"], ...] = ("random", "best_of_n")
"""Strategies that are in every comparison unless it says otherwise: who does not beat these has shown nothing."""

RECORDED = (".csv", ".gz", ".json")


def _problem(value: object) -> object:
    return {"problem": value} if isinstance(value, str) else value


def _strategy(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


def _target(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


class ProblemEntry(Section):
    """One problem, recorded or measured."""

    problem: str = Field(description="A recorded space's file, or a problem's name or folder (measured on this machine).")
    name: str = Field(default="", description="What tables and pictures call it; by default the file's or the folder's name.")
    target: Annotated[TargetSection | None, BeforeValidator(_target)] = Field(
        default=None, description="Toolchain and device; by default `tabular` for a file, `cpp` else."
    )
    archive: ArchiveSection | None = Field(default=None, description="Descriptors for this problem; by default those of the comparison.")
    evaluation: EvaluationSection = Field(default=EvaluationSection(), description="Verification and timing of a measured problem.")

    @property
    def recorded(self) -> bool:
        return self.toolchain.name == "tabular"

    @property
    def toolchain(self) -> TargetSection:
        if self.target is not None:
            return self.target
        return TargetSection(name="tabular" if Path(self.problem).suffix in RECORDED else "cpp")

    @property
    def label(self) -> str:
        if self.name:
            return self.name
        name = Path(self.problem).name
        for suffix in (".gz", ".csv", ".json"):
            name = name.removesuffix(suffix)
        return name


class MeasuringSection(Section):
    """What measured problems are measured with."""

    builders: Count | None = Field(default=None, description="Builds at once; null takes the cores that are not measured on.")
    devices: Count = Field(default=1, description="GPUs of this machine to measure on at once; a processor is one device.")


class StrategyEntry(StrategySection):
    """One strategy. Keys beside these are its own parameters."""

    label: str = Field(default="", description="What tables and pictures call it; needed when one strategy is in with several settings.")
    operators: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = Field(
        default=None, description="Weights of the operators by name; null takes the strategy's own mix."
    )

    @property
    def shown(self) -> str:
        return self.label or (self.name.rpartition(":")[2] if ".py:" in self.name else self.name)


class CompareBudget(Section):
    """What each run may spend; the first limit that is reached ends it. The first one given is the axis of the comparison."""

    evaluations: Count | None = Field(default=None, description="Kernels evaluated; repeats are free, failures cost one.")
    seconds: Positive | None = Field(
        default=None, description="What recording the evaluated configurations took; on a measured problem, what measuring them took."
    )
    dollars: Positive | None = Field(default=None, description="Money paid for models.")

    @model_validator(mode="after")
    def _limited(self) -> CompareBudget:
        if self.evaluations is None and self.seconds is None and self.dollars is None:
            raise ValueError("one of evaluations, seconds, dollars has to limit the runs")
        return self


class CompareConfig(Section):
    """One comparison."""

    name: str = Field(default="", description="Its name; empty takes the file's.", validate_default=False)
    problems: Annotated[tuple[Annotated[ProblemEntry, BeforeValidator(_problem)], ...], Field(min_length=1)] = Field(
        description="Files, names, or entries with problem, name, target, archive, evaluation."
    )
    strategies: tuple[Annotated[StrategyEntry, BeforeValidator(_strategy)], ...] = Field(
        description="Names, or entries with name, label, operators and the strategy's own parameters; `controls` are in as well."
    )
    seeds: Count | tuple[int, ...] = Field(default=10, description="How many seeds (0, 1, …), or a list of them.")
    budget: CompareBudget = Field(description="What each run may spend.")
    checkpoints: tuple[Count, ...] = Field(
        default=(),
        description="Evaluations at which best/found is tabulated; by default five. A budget of seconds or dollars is tabulated at a"
        " quarter, a half and all of it instead.",
    )
    targets: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=(0.9, 0.95, 0.99), description="Shares of the best known speed for the ECDF of evaluations to target."
    )
    test: Literal["mann_whitney", "wilcoxon"] = Field(
        default="mann_whitney", description="Test per problem: mann_whitney (independent seeds) or wilcoxon (runs paired by seed)."
    )
    significance: Annotated[float, Field(gt=0, lt=0.5)] = Field(default=0.05, description="Level of the tests, after Holm's correction.")
    resamples: Annotated[int, Field(ge=100)] = Field(default=2000, description="Bootstrap resamples behind each interval.")
    deterministic: bool = Field(default=False, description="Refuse what cannot be repeated bit for bit: measured problems.")
    jobs: Count | None = Field(default=None, description="Runs at once on recorded problems; null takes every core.")
    executor: MeasuringSection = Field(
        default=MeasuringSection(), description="For measured problems, whose runs share the devices: as many at once as keep them busy."
    )
    controls: tuple[Literal["random", "best_of_n"], ...] = Field(
        default=ALWAYS, description="Strategies that are in without being asked for; where measuring is dear, [random]."
    )
    archive: ArchiveSection = Field(default=ArchiveSection(), description="Descriptors and archive of every run.")
    remeasure_elites: bool = Field(
        default=True, description="On measured problems, measure every final elite afresh for QD-score and coverage without luck."
    )

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: int | tuple[int, ...]) -> int | tuple[int, ...]:
        if isinstance(seeds, tuple) and (not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0):
            raise ValueError("seeds are distinct whole numbers from 0, at least one")
        return seeds

    @field_validator("controls")
    @classmethod
    def _somebody(
        cls, controls: tuple[Literal["random", "best_of_n"], ...], others: ValidationInfo
    ) -> tuple[Literal["random", "best_of_n"], ...]:
        if not controls and others.data.get("strategies") == ():
            raise PydanticCustomError("nobody", "at least one strategy, here or in `strategies`")
        return controls

    @model_validator(mode="after")
    def _apart(self) -> CompareConfig:
        for what, labels in (("problems", [p.label for p in self.problems]), ("strategies", [s.shown for s in self.strategies])):
            twice = sorted({label for label in labels if labels.count(label) > 1})
            if twice:
                raise ValueError(f"two {what} are called {twice[0]}; give one of them a {'name' if what == 'problems' else 'label'}")
        measured = [problem.label for problem in self.problems if not problem.recorded]
        if self.deterministic and measured:
            raise ValueError(f"`deterministic` needs recorded problems, and {measured[0]} is measured")
        return self

    @property
    def seed_list(self) -> tuple[int, ...]:
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def contestants(self) -> tuple[StrategyEntry, ...]:
        """The strategies asked for and those that are always in, which come last."""
        names = {entry.name for entry in self.strategies}
        return (*self.strategies, *(StrategyEntry(name=name) for name in self.controls if name not in names and name in strategy_names()))

    @property
    def axis(self) -> Literal["evaluations", "seconds", "dollars"]:
        """What the runs are compared along."""
        if self.budget.evaluations is not None:
            return "evaluations"
        return "seconds" if self.budget.seconds is not None else "dollars"


def load_comparison(path: Path | str, overrides: Sequence[str] = ()) -> CompareConfig:
    """Reads a comparison's file and applies `--set` overrides; relative paths in it are relative to the file.

    Raises:
        UserError: with file, line, key, found, expected and remedy.
    """
    path = Path(path)
    document = read_document(path)
    for override in overrides:
        document.override(override)
    document.values.setdefault("name", path.stem)
    entries = document.values.get("problems")
    if isinstance(entries, list):
        document.values["problems"] = [_located(entry, "problem", path.resolve().parent) for entry in entries]
    contestants = document.values.get("strategies")
    if isinstance(contestants, list):
        document.values["strategies"] = [_located(entry, "name", path.resolve().parent) for entry in contestants]
    return parse_comparison(document)


def parse_comparison(document: Document | dict[str, Any]) -> CompareConfig:
    """Checks plain values against the schema. Raises `evo.errors.UserError`."""
    if not isinstance(document, Document):
        document = Document(dict(document))
    try:
        return CompareConfig.model_validate_json(json.dumps(document.values))
    except ValidationError as error:
        raise explain(error.errors(include_url=False), document, CompareConfig) from error


def _located(entry: object, key: str, folder: Path) -> object:
    """An entry whose file, when there is one beside the config, is named absolutely (`FILE.py:CLASS` too)."""
    if isinstance(entry, dict):
        return {**entry, key: _located(entry[key], key, folder)} if isinstance(entry.get(key), str) else entry
    if isinstance(entry, str):
        file, colon, name = entry.partition(":") if ".py:" in entry else (entry, "", "")
        if ("/" in file or Path(file).suffix) and (folder / file).exists():
            return f"{folder / file}{colon}{name}"
    return entry
