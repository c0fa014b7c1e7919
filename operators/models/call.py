"""What goes to a model and what comes back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Conversation", "Message", "ModelError", "ModelFailure", "OutOfMoney", "Reply"]


@dataclass(frozen=True, slots=True)
class Message:
    role: str
    """`system`, `user` or `assistant`."""
    text: str


Conversation = tuple[Message, ...]


def digest(conversation: Conversation) -> str:
    """The conversation's identity: 20 hexadecimal digits."""
    text = json.dumps([(message.role, message.text) for message in conversation], ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:20]


@dataclass(frozen=True, slots=True)
class Reply:
    """A model's answer and what it took."""

    model: str
    text: str
    tokens_in: int = 0
    tokens_out: int = 0
    dollars: float = 0.0
    """Everything paid for it, requests that failed before it included."""
    seconds: float = 0.0
    """From the first request to the answer, waiting for limits not included."""
    finish: str = "stop"
    """Why the model stopped: `stop`, or `length` when it ran into the token limit."""
    requests: int = 1
    """HTTP requests sent; 0 when the answer came from a cassette or the lineage."""
    facts: Mapping[str, object] = field(default_factory=dict)


class ModelError(Exception):
    """Models cannot be used as configured: no model, no key, no price, a name nobody knows. The user's to put right."""

    def __init__(self, what: str, *, key: str = "", found: str = "", expected: str = "", remedy: str = "") -> None:
        super().__init__(
            "; ".join(part for part in (what, found and f"found {found}", expected and f"expected {expected}", remedy) if part)
        )
        self.what, self.key, self.found, self.expected, self.remedy = what, key, found, expected, remedy


class ModelFailure(Exception):
    """One call brought no answer although everything is configured: the endpoint failed, or time ran out."""

    def __init__(self, reason: str, message: str, *, requests: int = 0, dollars: float = 0.0) -> None:
        super().__init__(message)
        self.reason = reason
        """A stable slug: `rate_limited`, `server_error`, `unreachable`, `unreadable_answer`, `timeout`, `deadline`, `refused_request`, …"""
        self.requests = requests
        self.dollars = dollars
        """What has to be assumed paid."""


class OutOfMoney(Exception):
    """The next request might exceed the dollar cap, and nothing in flight can make room for it."""
