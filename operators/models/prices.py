"""What a request may cost and did cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from operators.models.call import Conversation, ModelError
from operators.models.spec import ModelSpec

__all__ = ["Price", "most_tokens", "price_of"]

PER_MESSAGE = 16
"""Tokens that a message's envelope may take."""


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per token."""

    prompt: float
    answer: float

    def of(self, tokens_in: int, tokens_out: int) -> float:
        return tokens_in * self.prompt + tokens_out * self.answer


def most_tokens(conversation: Conversation) -> int:
    """An upper bound of a prompt's tokens: byte-level vocabularies have a token for every byte, so none has more tokens than bytes."""
    return sum(len(message.text.encode("utf-8", "surrogatepass")) + PER_MESSAGE for message in conversation)


def price_of(spec: ModelSpec, table: Any, *, unknown_is_free: bool) -> Price:
    """The model's price: the config's, else from litellm's table.

    Args:
        table: `litellm.model_cost`: entries by model name.

    Raises:
        ModelError: nobody knows it, and that is not allowed.
    """
    if spec.dollars_in is not None and spec.dollars_out is not None:
        return Price(spec.dollars_in / 1e6, spec.dollars_out / 1e6)
    bare = spec.name.partition("/")[2]
    # A private endpoint may serve anything under a famous name: its price is not the famous one's.
    for name in () if spec.base_url else (spec.name, bare):
        entry = table.get(name)
        if entry and entry.get("input_cost_per_token") is not None and entry.get("output_cost_per_token") is not None:
            return Price(float(entry["input_cost_per_token"]), float(entry["output_cost_per_token"]))
    if unknown_is_free:
        return Price(0.0, 0.0)
    raise ModelError(
        f"The price of model `{spec.name}` is not known, so no dollar cap could hold.",
        key="llm.models", found="neither dollars_in and dollars_out in the config nor an entry in litellm's price list",
        expected="dollars per million tokens",
        remedy="Set llm.dollars_in and llm.dollars_out (0 for a model of your own), or llm.unknown_price=free.",
    )  # fmt: skip
