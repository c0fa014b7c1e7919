"""What a run is to do: one strict schema, read from YAML, with `--set` on top, kept resolved in the run's folder.

Unknown keys, duplicate keys and wrong types are errors that name file, line and key. Every key's description below is its
documentation (`describe` lists them).
"""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from evo.document import Document, Key, read_document
from evo.errors import UserError
from evo.llm.section import LlmSection
from fitness.adapters import absolute, is_foreign

if TYPE_CHECKING:
    from fitness.protocol import EvaluationSettings

__all__ = [
    "ArchiveSection",
    "BudgetSection",
    "Config",
    "EvaluationSection",
    "ExecutorSection",
    "StrategySection",
    "TargetSection",
    "describe",
    "explain",
    "load_config",
    "parse_config",
]

Scalar = bool | int | float | str
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


def _by_name(value: object) -> object:
    """A section that is given as a text is its name: `strategy: random`."""
    return {"name": value} if isinstance(value, str) else value


class Section(BaseModel):
    """A part of the config: frozen, strictly typed, without unknown keys."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class TargetSection(Section):
    """The toolchain and device that kernels are made for."""

    name: str = Field(default="cpp", description="Target: cpp, triton, cuda, tabular, …")
    compiler: str = Field(default="auto", description="Compiler command or path; `auto` takes g++, else clang++.")
    threads: Count = Field(default=1, description="Threads a kernel may use, and its baseline too.")
    architecture: str = Field(default="auto", description="GPU architecture to build for (sm_90, gfx942, …); `auto` is the device's own.")


class BudgetSection(Section):
    """What the run may spend, and when it has reached enough. The first limit that is reached ends the run."""

    evaluations: Count | None = Field(default=None, description="Kernels evaluated; duplicates cost nothing.")
    minutes: Positive | None = Field(
        default=None, description="Wall time of the search in minutes, over all resumes; evaluating the seeds comes before it."
    )
    device_seconds: Positive | None = Field(default=None, description="Seconds that the device was held.")
    dollars: Positive | None = Field(default=None, description="Money paid for models.")
    stall: Count | None = Field(default=None, description="Evaluations without an improvement of the best after which the run stops.")
    target_speedup: Positive | None = Field(default=None, description="Speedup over the baseline at which the run stops.")
    barren: Count = Field(default=200, description="Proposals in a row without a new kernel after which the space counts as exhausted.")

    @model_validator(mode="after")
    def _limited(self) -> BudgetSection:
        if self.evaluations is None and self.minutes is None and self.device_seconds is None and self.dollars is None:
            raise ValueError("one of evaluations, minutes, device_seconds, dollars has to limit the run")
        return self


class StrategySection(BaseModel):
    """Who chooses parents and operators. Keys beside `name` are the strategy's own parameters."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    name: str = Field(
        default="auto", description="Strategy: auto, map_elites, random, …, or one from the entry-point group `evo.strategies`."
    )

    @property
    def parameters(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class ArchiveSection(Section):
    """What counts as different, and where the best of each kind is kept."""

    kind: Literal["grid"] = Field(default="grid", description="Archive: grid (MAP-Elites).")
    descriptors: tuple[dict[str, Any], ...] | None = Field(
        default=None,
        description="Axes over profile fields, e.g. {name: tile, field: TILE, kind: log2, low: 1, high: 64}; null takes the target's own.",
    )


class EvaluationSection(Section):
    """How kernels are verified and timed; `target` holds compiler and threads."""

    core: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Measuring core; null takes the last one this process may use."
    )
    repetitions: Annotated[int, Field(ge=2)] = Field(
        default=16,
        description="Cap on timed pairs per shape in the search; on a CPU up to eight times as many while no kernel waits for the device.",
    )
    precision: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.02, description="Relative width of the interval at which repetition stops."
    )
    call_timeout: Positive = Field(default=10.0, description="Seconds one call may take before the candidate counts as hung.")
    build_timeout: Positive = Field(default=60.0, description="Seconds a build may take.")
    memory: Annotated[int, Field(ge=1 << 20)] = Field(default=4 << 30, description="Bytes a runner may hold beyond the shared buffers.")
    sandbox: Annotated[str, Field(pattern=r"^(auto|required:\w[\w-]*)$")] = Field(
        default="auto", description="`auto` (strongest available) or `required:LEVEL` (refuse to run below it)."
    )
    cache: Path | None = Field(default=None, description="Root of build and roofline caches; null is $XDG_CACHE_HOME/evo (~/.cache/evo).")
    certify_processes: Count = Field(default=9, description="Fresh processes a winner is certified in.")
    certify_spacing: Annotated[float, Field(ge=0, le=60)] = Field(
        default=2.0, description="Seconds from the start of one of these to the next, at the least (CPU): machines drift."
    )
    certify_shapes: str = Field(default="held_out", description="Shapes a winner is certified on.")
    remeasure: Annotated[float, Field(ge=0, lt=1)] = Field(default=0.05, description="Share of evaluations that re-measures elites.")


class ExecutorSection(Section):
    """Where evaluations run."""

    name: Literal["local", "inline"] = Field(default="local", description="Executor: local (processes), inline (this thread).")
    builders: Count | None = Field(default=None, description="Builds at once; null takes the cores that are not measured on.")
    devices: Count = Field(default=1, description="GPUs of this machine to measure on at once; a processor is one device.")


class Config(Section):
    """One run."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)] = Field(
        default="", description="The run's name, first part of its folder's; empty takes the file's name.", validate_default=False
    )
    problem: str = Field(
        description="A problem's name, the path of its folder or recorded space, or kernelbench:PATH, gpumode:PATH for a file of others."
    )
    target: Annotated[TargetSection, BeforeValidator(_by_name)] = Field(default=TargetSection(), description="Toolchain and device.")
    seed: Annotated[int, Field(ge=0)] = Field(
        default=0, description="Seed of every random decision of the search (never of the evaluator)."
    )
    deterministic: bool = Field(
        default=False, description="Tell results in proposal order; a recorded space is then repeatable bit for bit."
    )
    budget: BudgetSection = Field(description="Limits and goals.")
    strategy: Annotated[StrategySection, BeforeValidator(_by_name)] = Field(
        default=StrategySection(name="auto"), description="Who chooses parents and operators."
    )
    operators: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None = Field(
        default=None, description="Weights of the operators by name; null takes the strategy's own mix."
    )
    archive: ArchiveSection = Field(default=ArchiveSection(), description="Descriptors and archive.")
    evaluation: EvaluationSection = Field(default=EvaluationSection(), description="Verification and timing.")
    executor: Annotated[ExecutorSection, BeforeValidator(_by_name)] = Field(default=ExecutorSection(), description="Where evaluations run.")
    llm: LlmSection = Field(default=LlmSection(), description="Models, for operators that ask one (llm_mutate, llm_repair, …).")

    @field_validator("operators")
    @classmethod
    def _some_weight(cls, weights: dict[str, float] | None) -> dict[str, float] | None:
        if weights is not None and not any(weights.values()):
            raise ValueError("at least one operator needs a weight above 0")
        return weights

    def dump(self) -> str:
        """The resolved config as YAML, every default written out; `parse_config` reads it back to an equal config."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)

    def settings(self) -> EvaluationSettings:
        """What the evaluator needs, picklable."""
        from fitness.protocol import EvaluationSettings

        values = {name: getattr(self.evaluation, name) for name in type(self.evaluation).model_fields if name != "remeasure"}
        target = self.target
        return EvaluationSettings(compiler=target.compiler, threads=target.threads, architecture=target.architecture, **values)


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """Reads a config file and applies `--set` overrides (`a.b=value`) in order.

    A problem given as a relative path is taken relative to the file; one given as a bare name is left to be looked up.

    Raises:
        UserError: with file, line, key, found, expected and remedy.
    """
    path = Path(path)
    document = read_document(path)
    for override in overrides:
        document.override(override)
    document.values.setdefault("name", path.stem)
    problem = document.values.get("problem")
    if is_foreign(problem):
        # of others: relative to the file that says it, or to where the command was given
        beside = path.resolve().parent if not document.overridden(("problem",)) else Path.cwd()
        document.values["problem"] = absolute(str(problem), beside)
    elif isinstance(problem, str) and "problem" in {key[0] for key in document.lines} and not Path(problem).is_absolute():
        beside = path.resolve().parent / problem
        if ("/" in problem or Path(problem).suffix) and beside.exists():
            document.values["problem"] = str(beside)
    return parse_config(document)


def parse_config(document: Document | Mapping[str, Any]) -> Config:
    """Checks plain values against the schema.

    Raises:
        UserError: as `load_config`.
    """
    if not isinstance(document, Document):
        document = Document(dict(document))
    try:
        # JSON mode, because there lists may become tuples and texts paths while everything else stays strict.
        return Config.model_validate_json(json.dumps(document.values))
    except ValidationError as error:
        raise explain(error.errors(include_url=False), document) from error


def explain(errors: list[ErrorDetails], document: Document, model: type[BaseModel] = Config) -> UserError:
    """What is wrong with a document of this schema: the first error in full; the others are counted with their keys."""
    unknown_first = sorted(errors, key=lambda error: error["type"] != "extra_forbidden")
    first = unknown_first[0]
    key = _written(first["loc"], document)
    found = "nothing" if first["type"] == "missing" else "(not shown)" if "llm" in key else _short(first.get("input"))  # may be a key
    what, expected, remedy = f"A value of the config is not right: {first['msg']}.", None, None
    if first["type"] == "extra_forbidden":
        known = _keys_beside(key, model)
        elsewhere = [".".join(map(str, at)) for at, _, _ in _fields(model) if at[-1] == key[-1]]
        close = elsewhere or difflib.get_close_matches(str(key[-1]), known, n=1, cutoff=0.5)
        what = f"`{'.'.join(map(str, key))}` is not a key of the config."
        expected = "one of " + ", ".join(known) if known else None
        remedy = f"Did you mean `{close[0]}`?" if close else "Remove it."
    elif first["type"] == "missing":
        what = f"The config lacks `{'.'.join(map(str, key))}`."
        expected = next((text for at, _, text in _fields(model) if at == key), None)
        remedy = f"Add it: {expected[0].lower()}{expected[1:]}" if expected else "Add it."
        expected = f"a line `{key[-1]}: …`"
    elif first["type"] == "value_error":
        what = f"The config's `{'.'.join(map(str, key))}` cannot be used: {first['msg'].removeprefix('Value error, ')}."
    else:
        expected = _expected(first)
        description = next((text for at, _, text in _fields(model) if at == key), None)
        what = f"`{'.'.join(map(str, key))}` has a value it cannot have."
        remedy = f"Correct the value. {description}" if description else "Correct the value."
    overridden = document.overridden(key)
    others = [".".join(map(str, _written(error["loc"], document))) for error in unknown_first[1:]]
    if others:
        what += f" ({len(others)} more: {', '.join(others[:5])}{', …' if len(others) > 5 else ''})"
    return UserError(
        what,
        file=None if overridden else document.file,
        line=None if overridden else document.line(key),
        key=".".join(map(str, key)),
        found=f"{found} (from --set)" if overridden else found,
        expected=expected,
        remedy=remedy,
    )


def _written(location: Sequence[str | int], document: Document) -> Key:
    """A pydantic location without the parts that stand for types and validators, not for what is written in the file."""
    key: list[str | int] = []
    here: Any = document.values
    for part in location:
        if isinstance(here, dict) and isinstance(part, str):
            known = part in here or not any(mark in part for mark in "[(")
        else:
            known = isinstance(here, list) and isinstance(part, int)
        if known:
            key.append(part)
            inside = part in here if isinstance(here, dict) else isinstance(part, int) and part < len(here)
            here = here[part] if inside else None
    return tuple(key)


def _expected(error: ErrorDetails) -> str:
    message = error["msg"]
    for prefix in ("Input should be a valid ", "Input should be ", "Value should "):
        message = message.removeprefix(prefix)
    plain = {"integer": "a whole number", "number": "a number", "string": "a text", "boolean": "true or false"}
    return (plain | {"an object": "keys with values", "array": "a list"}).get(message, message)


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:77] + "…"


def _keys_beside(key: Key, model: type[BaseModel]) -> list[str]:
    above = tuple(part for part in key[:-1] if isinstance(part, str))  # entries of a list have the same keys
    return [str(at[-1]) for at, _, _ in _fields(model) if at[:-1] == above]


def describe(model: type[BaseModel] = Config) -> list[tuple[str, str, str]]:
    """(key, default, description) of every key, in the schema's order: what `evo config` prints."""
    return [(".".join(map(str, at)), default, text) for at, default, text in _fields(model)]


def _fields(model: type[BaseModel], at: Key = ()) -> Iterator[tuple[Key, str, str]]:
    for name, info in model.model_fields.items():
        section = next((part for part in _parts(info.annotation) if isinstance(part, type) and issubclass(part, BaseModel)), None)
        default = "required" if info.is_required() else "" if section else _short(info.get_default())
        yield (*at, name), default, info.description or ""
        if section is not None:
            yield from _fields(section, (*at, name))


def _parts(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, the type itself otherwise."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, tuple):
        return tuple(part for member in typing.get_args(annotation) for part in _parts(member))
    return (annotation,)
