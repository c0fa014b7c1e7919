"""A model as the config describes it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from operators.models.call import ModelError

__all__ = ["ENVIRONMENT", "ModelSpec", "from_environment"]

ENVIRONMENT = {"model": "EVO_MODEL", "base_url": "EVO_BASE_URL", "key": "EVO_API_KEY"}
"""Environment variables that name a model when the config does not."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model behind one endpoint. Holds the *name* of the variable with its key, never the key."""

    name: str
    """As litellm writes it: `PROVIDER/MODEL`; `openai/NAME` for any OpenAI-compatible endpoint."""
    base_url: str | None = None
    key: str | None = None
    """Environment variable that holds the key; None takes EVO_API_KEY, else, without `base_url`, the provider's usual variable."""
    weight: float = 1.0
    concurrency: int = 4
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_tokens: int = 8192
    """Tokens an answer may have; also what is reserved for it."""
    temperature: float | None = None
    dollars_in: float | None = None
    """Dollars per million tokens; None takes litellm's price list."""
    dollars_out: float | None = None
    options: Mapping[str, object] = field(default_factory=dict)
    """Further arguments of the request (`reasoning_effort`, `top_p`, …)."""

    def secret(self) -> str | None:
        """The key, read now.

        Raises:
            ModelError: the variable that should hold it is not set.
        """
        if self.key is None:
            # An endpoint of one's own never gets the provider's key by accident; clients insist on some key even where none is wanted.
            return os.environ.get(ENVIRONMENT["key"]) or ("none" if self.base_url else None)
        value = os.environ.get(self.key)
        if not value:
            raise ModelError(
                f"The key of model `{self.name}` is not in the environment.",
                key="llm.key", found=f"no variable {self.key}", expected="the key in it", remedy=f"export {self.key}=…",
            )  # fmt: skip
        return value


def from_environment(name: str | None, base_url: str | None) -> tuple[str | None, str | None]:
    """Name and endpoint with the gaps filled from `EVO_MODEL` and `EVO_BASE_URL`."""
    return name or os.environ.get(ENVIRONMENT["model"]) or None, base_url or os.environ.get(ENVIRONMENT["base_url"]) or None
