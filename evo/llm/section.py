"""The `llm` section of a config: which models are asked, how, for how much."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from operators.models.secrets import NAMES

__all__ = ["LlmSection", "ModelSection"]

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=1)]
VARIABLE = r"^[A-Z_][A-Z0-9_]*$"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


def _plain_url(url: str | None) -> str | None:
    if url is not None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a URL that begins with http:// or https:// is needed")
        if "@" in parts.netloc or parts.query:
            raise ValueError("a URL may hold neither user, password nor query: keys come from the environment")
    return url


class ModelSection(Strict):
    """One model."""

    name: str = Field(min_length=1, description="As litellm writes it: PROVIDER/MODEL; openai/NAME for any OpenAI-compatible endpoint.")
    base_url: str | None = Field(default=None, description="The endpoint; null takes the provider's own.")
    key: Annotated[str, Field(pattern=VARIABLE)] | None = Field(
        default=None,
        description="NAME of the environment variable with the key; null takes $EVO_API_KEY, else (no base_url) the provider's.",
    )
    weight: Positive = Field(default=1.0, description="Share of the calls.")
    concurrency: Count = Field(default=4, description="Calls at once.")
    requests_per_minute: Count | None = Field(default=None, description="Requests in any minute.")
    tokens_per_minute: Count | None = Field(default=None, description="Tokens, prompts and longest answers together, in any minute.")
    max_tokens: Count = Field(default=8192, description="Tokens an answer may have.")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(default=None, description="Sampling temperature; null leaves it out.")
    dollars_in: Price | None = Field(default=None, description="Dollars per million prompt tokens; null takes litellm's price list.")
    dollars_out: Price | None = Field(default=None, description="Dollars per million answer tokens.")
    options: dict[str, Any] = Field(default_factory=dict, description="Further arguments of the request, e.g. {reasoning_effort: low}.")

    _url = field_validator("base_url")(_plain_url)

    @field_validator("options")
    @classmethod
    def _no_keys(cls, options: dict[str, Any]) -> dict[str, Any]:
        for name in options:
            if (NAMES.search(name) and name != "max_tokens") or "header" in name.lower():
                raise ValueError(f"`{name}` would put a key into a file; keys come from the environment")
        return options

    @model_validator(mode="after")
    def _both_prices(self) -> ModelSection:
        if (self.dollars_in is None) != (self.dollars_out is None):
            raise ValueError("dollars_in and dollars_out go together")
        return self


class LlmSection(Strict):
    """Models and how they are used. `model`, `base_url` and `key` describe a single model; `models` several."""

    model: str | None = Field(default=None, description="The model, as PROVIDER/MODEL; null takes $EVO_MODEL.")
    base_url: str | None = Field(default=None, description="Its endpoint; null takes $EVO_BASE_URL, else the provider's own.")
    key: Annotated[str, Field(pattern=VARIABLE)] | None = Field(
        default=None,
        description="NAME of the environment variable with its key; null takes $EVO_API_KEY, else (no base_url) the provider's.",
    )
    concurrency: Count = Field(default=4, description="Calls at once.")
    max_tokens: Count = Field(default=8192, description="Tokens an answer may have.")
    dollars_in: Price | None = Field(default=None, description="Its dollars per million prompt tokens; null takes litellm's price list.")
    dollars_out: Price | None = Field(default=None, description="Its dollars per million answer tokens.")
    models: tuple[ModelSection, ...] = Field(default=(), description="An ensemble instead of the one model above.")
    choose: Literal["weights", "ucb", "thompson"] = Field(
        default="weights", description="How a model is chosen: fixed weights, or a bandit on improvement per dollar (per second if free)."
    )
    schedule: Literal["strategy", "weights", "ucb", "thompson"] = Field(
        default="strategy", description="Who chooses operators: the strategy, or weights or a bandit over `operators`."
    )
    credit: Literal["dollars", "seconds"] = Field(default="seconds", description="What that bandit divides improvements by.")
    unknown_price: Literal["error", "free"] = Field(default="error", description="What to do with a model of unknown price.")
    retries: Annotated[int, Field(ge=0, le=20)] = Field(default=2, description="Further requests of a call that failed.")
    timeout: Positive = Field(default=180.0, description="Seconds until one request counts as lost.")
    deadline: Positive = Field(default=600.0, description="Seconds for one call, retries and pauses included.")
    mode: Literal["live", "cache", "record", "replay"] = Field(
        default="live",
        description="cache: known questions are not asked again; record: from scratch into the cassette; replay: no network.",
    )
    cassette: Path | None = Field(default=None, description="File with the answers of cache, record and replay (.jsonl).")
    prompt_tokens: Annotated[int, Field(ge=500)] = Field(default=24_000, description="Longest prompt; sections are dropped to fit.")
    edits: Share = Field(default=0.7, description="Share of calls that ask for SEARCH/REPLACE edits instead of the whole source.")
    directed: Share = Field(default=0.5, description="Share of mutations aimed at a neighbouring cell that is empty or weak.")
    inspirations: Annotated[int, Field(ge=0)] = Field(default=3, description="Other elites shown in a prompt.")
    attempts: Annotated[int, Field(ge=0)] = Field(default=6, description="Earlier attempts from the same parent shown in a prompt.")
    passages: Annotated[int, Field(ge=0)] = Field(default=3, description="Passages of knowledge shown in a prompt.")
    repair: Annotated[int, Field(ge=0, le=10)] = Field(default=1, description="Attempts to repair a model's kernel that failed.")
    prompts: Path | None = Field(default=None, description="Folder with templates of your own; each replaces the one of its name.")
    knowledge: tuple[Path, ...] = Field(default=(), description="Folders with notes of your own.")
    ports: tuple[Path, ...] = Field(default=(), description="Kernels of other targets that llm_seed may port.")
    evolve: Share = Field(default=0.0, description="Share of model proposals after which a new wording of their prompt is bred.")

    _url = field_validator("base_url")(_plain_url)

    @model_validator(mode="after")
    def _consistent(self) -> LlmSection:
        if self.model is not None and self.models:
            raise ValueError("`model` and `models` exclude each other")
        if (self.dollars_in is None) != (self.dollars_out is None):
            raise ValueError("dollars_in and dollars_out go together")
        if self.mode != "live" and self.cassette is None:
            raise ValueError(f"mode {self.mode} needs a `cassette`")
        names = [model.name for model in self.models]
        if len(set(names)) != len(names):
            raise ValueError("two models have the same name")
        return self
