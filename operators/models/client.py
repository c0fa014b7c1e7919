"""One request through litellm. It is imported here, inside the call: the import takes seconds."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from dataclasses import dataclass
from typing import Any

from operators.models.call import Conversation, ModelError
from operators.models.secrets import scrub
from operators.models.spec import ModelSpec

__all__ = ["Raw", "RequestFailed", "load", "send"]


@dataclass(frozen=True, slots=True)
class Raw:
    """What came back."""

    text: str
    tokens_in: int | None
    """None when the endpoint did not say."""
    tokens_out: int | None
    finish: str


class RequestFailed(Exception):
    """One request failed in a way that another one may not."""

    def __init__(self, reason: str, message: str, *, retry_after: float | None = None, paid: bool = False, again: bool = True) -> None:
        super().__init__(scrub(message))
        self.reason = reason
        self.retry_after = retry_after
        """Seconds the endpoint asked to wait."""
        self.paid = paid
        """Whether the endpoint may have done (and billed) the work."""
        self.again = again
        """Whether the same request may be tried again."""


def load() -> Any:
    """litellm, made quiet: no price list from the network, no advice on standard output, no logs.

    Raises:
        ModelError: it is not installed.
    """
    if "litellm" not in sys.modules:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        os.environ.setdefault("LITELLM_LOG", "ERROR")
    try:
        import litellm
    except ImportError as error:
        raise ModelError(
            "Models need litellm, which is not installed.", found=str(error), remedy="pip install 'litellm>=1.83,<1.91'"
        ) from error
    if not getattr(litellm, "suppress_debug_info", False):
        litellm.suppress_debug_info = True
        litellm.telemetry = False
        litellm.drop_params = True  # a model that takes no temperature is asked without one
        for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    return litellm


async def loaded() -> Any:
    """As `load`, without holding up the event loop."""
    return load() if "litellm" in sys.modules else await asyncio.to_thread(load)


async def send(spec: ModelSpec, conversation: Conversation, *, timeout: float) -> Raw:
    """One HTTP request, no more.

    Args:
        timeout: seconds until it counts as lost.

    Raises:
        RequestFailed: it may be tried again (or says why not).
        ModelError: the endpoint refuses this model or key; every further request would fail as well.
    """
    litellm = await loaded()
    arguments: dict[str, object] = {
        **spec.options,
        "model": spec.name,
        "messages": [{"role": message.role, "content": message.text} for message in conversation],
        "max_tokens": spec.max_tokens,
        "timeout": timeout,
        "max_retries": 0,
        "num_retries": 0,
    }
    optional = {"temperature": spec.temperature, "api_base": spec.base_url, "api_key": spec.secret()}
    arguments |= {name: value for name, value in optional.items() if value is not None}
    failure: Exception | None = None
    try:
        async with asyncio.timeout(timeout):
            response = await litellm.acompletion(**arguments)
    except TimeoutError:
        failure = RequestFailed("timeout", f"no answer within {timeout:.3g} s", paid=True)
    except Exception as error:
        failure = _explained(spec, error)
    if failure is not None:
        raise failure  # out here, so that it does not drag litellm's own along, which may hold the key
    return _raw(response)


def _raw(response: Any) -> Raw:
    try:
        choice = response.choices[0]
        text = choice.message.content
        usage: Any = getattr(response, "usage", None)
        known = usage is not None and bool(usage.prompt_tokens)
        return Raw(
            scrub(text.encode("utf-8", "replace").decode() if isinstance(text, str) else ""),  # lone surrogates cannot be stored
            int(usage.prompt_tokens) if known else None,
            int(usage.completion_tokens) if known else None,
            str(choice.finish_reason or "stop"),
        )
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise RequestFailed("unreadable_answer", f"the answer has not the form of a completion: {error}", paid=True) from error


def _explained(spec: ModelSpec, error: Exception) -> Exception:
    """litellm's exception in our words; without any key, and without what litellm keeps of the request."""
    kind, status = type(error).__name__, getattr(error, "status_code", None)
    said = scrub(str(error)).partition("\n")[0][:400]
    headers = getattr(error, "litellm_response_headers", None)
    if kind in ("AuthenticationError", "PermissionDeniedError") or status in (401, 403):
        return ModelError(
            f"The endpoint refuses the key for model `{spec.name}`.", key="llm", found=said,
            remedy=f"Put a valid key into {spec.key or 'EVO_API_KEY or the variable of the provider'}.",
        )  # fmt: skip
    if kind in ("NotFoundError", "UnsupportedParamsError") or status == 404 or "LLM Provider NOT provided" in str(error):
        return ModelError(
            f"The endpoint does not know model `{spec.name}`.", key="llm.model", found=said,
            expected="PROVIDER/MODEL, e.g. openai/NAME for an OpenAI-compatible endpoint", remedy="Correct llm.model (or EVO_MODEL).",
        )  # fmt: skip
    if kind == "RateLimitError" or status == 429:
        return RequestFailed("rate_limited", said, retry_after=_retry_after(headers))
    if kind == "Timeout" or status == 408:
        return RequestFailed("timeout", said, paid=headers is None)
    if kind == "ContextWindowExceededError":
        return RequestFailed("prompt_too_long", said, again=False)
    if kind == "ContentPolicyViolationError":
        return RequestFailed("refused_request", said, again=False)
    if headers is not None and status is not None and 400 <= status < 500:
        return RequestFailed("refused_request", said, again=False)
    if headers is not None:
        return RequestFailed("server_error", said, retry_after=_retry_after(headers))
    if _unreachable(error):
        return RequestFailed("unreachable", said)
    return RequestFailed("unreadable_answer", said, paid=True)


def _retry_after(headers: Any) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date."""
    value = None if headers is None else headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    import time
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _unreachable(error: BaseException) -> bool:
    """Whether no connection was made, so that nothing was sent."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        if type(at).__name__ in ("ConnectError", "ConnectTimeout", "ClientConnectorError", "ConnectionRefusedError", "gaierror"):
            return True
        at = at.__cause__ or at.__context__
    return False
