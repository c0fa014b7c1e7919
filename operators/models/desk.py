"""The counter that operators ask. It picks a model, reserves, waits for limits, sends, retries, settles, and has the answer stored.

One call costs at most `retries + 1` requests and ends by its deadline, which begins when its first request may be sent.
Whatever may have been billed is counted: a request that was sent and whose answer never came back, or could not be read,
counts with all that was reserved for it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from operators.bandit import chooser
from operators.models.call import Conversation, ModelError, ModelFailure, OutOfMoney, Reply
from operators.models.cassette import Cassette
from operators.models.client import RequestFailed, loaded, send
from operators.models.ledger import Ledger
from operators.models.limits import Limiter
from operators.models.prices import Price, most_tokens, price_of
from operators.models.spec import ModelSpec

__all__ = ["Desk", "Patience", "Record"]

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 30.0
"""Seconds between requests of a call when the endpoint does not say; doubled each time."""
TROUBLES = 5
"""Calls in a row without an answer, beyond one for each slot, after which models count as out of order."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one call is pursued."""

    retries: int = 2
    timeout: float = 180.0
    """Seconds until one request counts as lost."""
    deadline: float = 600.0
    """Seconds for the whole call, pauses included."""
    pause: float = FIRST_PAUSE


@dataclass(frozen=True, slots=True)
class Record:
    """One finished call, as it is to be stored before anything is made of it."""

    asker: int | None
    """The proposal it was made for; None for calls of the run itself (prompt evolution)."""
    purpose: str
    """`llm_mutate`, `correction`, `prompt_evolution`, …"""
    conversation: Conversation
    outcome: Reply | ModelFailure
    model: str
    cached: bool = False


class Desk:
    """Models of one run.

    Args:
        specs: at least one.
        choose: `weights`, `ucb` or `thompson`.
        ledger: holds the dollar cap.
        unknown_is_free: take a model of unknown price for free instead of refusing it.
        cassette: kept answers; None asks always.
        journal: stores a call; whatever it raises ends the call.
        stored: answers that an earlier session paid for and did not use, by proposal, oldest first.
    """

    def __init__(
        self,
        specs: Sequence[ModelSpec],
        *,
        choose: str = "weights",
        patience: Patience = Patience(),
        ledger: Ledger | None = None,
        unknown_is_free: bool = False,
        cassette: Cassette | None = None,
        journal: Callable[[Record], None] = lambda record: None,
        stored: Mapping[int, Sequence[Reply]] | None = None,
    ) -> None:
        if not specs:
            raise ModelError("There is no model to ask.", key="llm.model", expected="at least one", remedy="Set llm.model or EVO_MODEL.")
        self.ledger = ledger or Ledger(None)
        self.patience = patience
        self._specs = {spec.name: spec for spec in specs}
        self._limits = {spec.name: Limiter(spec.concurrency, spec.requests_per_minute, spec.tokens_per_minute) for spec in specs}
        self._chooser = chooser(choose, {spec.name: spec.weight for spec in specs})
        self._unknown_is_free = unknown_is_free
        self._cassette = cassette
        self._journal = journal
        self._stored = {number: list(replies) for number, replies in (stored or {}).items()}
        self._in_a_row = 0
        self.failure: ModelFailure | None = None
        """The last one."""
        self.broke = False
        """Whether a call found no money left."""

    @property
    def slots(self) -> int:
        """Calls worth having under way."""
        return sum(spec.concurrency for spec in self._specs.values())

    @property
    def out_of_order(self) -> bool:
        """Whether so many calls in a row failed that the next ones will too."""
        return self._in_a_row >= TROUBLES + self.slots

    async def check(self) -> None:
        """Looks every price up (and litellm, where it is needed), before anything is spent. Raises ModelError."""
        if self._cassette is None or not self._cassette.replay:
            for spec in self._specs.values():
                await self._price(spec)
                spec.secret()

    def choose(self, rng: random.Random) -> str:
        """The model for the next question."""
        return self._chooser.choose(rng)

    def learn(self, model: str, gain: float, dollars: float, seconds: float) -> None:
        """An answer of `model` improved on its parent by `gain` (ln, at least 0)."""
        free = any(spec.dollars_in == 0 and spec.dollars_out == 0 for spec in self._specs.values())
        self._chooser.learn(model, gain, seconds if free or dollars <= 0 else dollars)

    async def ask(self, conversation: Conversation, *, model: str, purpose: str, asker: int | None = None) -> Reply:
        """An answer, stored before it is returned.

        Raises:
            ModelFailure: there is none.
            OutOfMoney: the dollar cap does not allow it.
            ModelError: models cannot be used as configured.
        """
        kept = self._stored.get(asker, []) if asker is not None else []
        if kept:
            return kept.pop(0)
        spec = self._specs.get(model)
        if spec is None:
            raise ModelError("There is no such model.", found=model, expected=", ".join(self._specs))
        key, found = ("", None) if self._cassette is None else self._cassette.ask(spec, conversation)
        if found is not None and self._cassette is not None:
            if not self._cassette.replay:
                found = _free(found)
            self.ledger.spent += found.dollars
            self._journal(Record(asker, purpose, conversation, found, model, cached=True))
        else:
            found = await self._pursue(spec, conversation, purpose, asker)
            if self._cassette is not None:
                self._cassette.keep(key, found)
        if isinstance(found, ModelFailure):
            self._in_a_row += 1
            self.failure = found
            raise found
        self._in_a_row = 0
        return found

    async def _pursue(self, spec: ModelSpec, conversation: Conversation, purpose: str, asker: int | None) -> Reply | ModelFailure:
        """One call with its retries; journaled whatever happens, cancellation included."""
        call = _Call(spec, conversation, self._limits[spec.name], self.ledger, self.patience)
        try:
            await loaded()  # takes seconds the first time, which are no fault of the endpoint
            call.price = await self._price(spec)
            outcome: Reply | ModelFailure = await call.run()
        except OutOfMoney:
            self.broke = True
            raise
        except ModelFailure as failure:
            outcome = failure
        except asyncio.CancelledError:
            if call.requests:
                cut = ModelFailure("cancelled", "the run ended before the answer came", requests=call.requests, dollars=call.dollars)
                self._journal(Record(asker, purpose, conversation, cut, spec.name))
            raise
        self._journal(Record(asker, purpose, conversation, outcome, spec.name))
        return outcome

    async def _price(self, spec: ModelSpec) -> Price:
        if spec.dollars_in is not None and spec.dollars_out is not None:
            return price_of(spec, {}, unknown_is_free=False)
        litellm = await loaded()
        return price_of(spec, litellm.model_cost, unknown_is_free=self._unknown_is_free)


class _Call:
    """One call under way."""

    price = Price(0.0, 0.0)

    def __init__(self, spec: ModelSpec, conversation: Conversation, limiter: Limiter, ledger: Ledger, patience: Patience) -> None:
        self.spec, self.conversation, self.limiter, self.ledger, self.patience = spec, conversation, limiter, ledger, patience
        self.requests = 0
        self.dollars = 0.0
        self._began: float | None = None

    @property
    def left(self) -> float:
        """Seconds to the deadline."""
        return self.patience.deadline - (0.0 if self._began is None else time.monotonic() - self._began)

    async def run(self) -> Reply:
        """Raises ModelFailure, OutOfMoney, ModelError."""
        tokens = most_tokens(self.conversation)
        failed: RequestFailed | None = None
        for attempt in range(self.patience.retries + 1):
            if failed is not None:
                await self._pause(failed, attempt)
            try:
                # Waiting for our own limits is no fault of the endpoint: the clock starts with the first request.
                async with (
                    asyncio.timeout(None if self._began is None else max(self.left, 0.0)),
                    self.limiter.slot(tokens // 3 + self.spec.max_tokens),
                ):
                    return await self._request(tokens)
            except RequestFailed as error:
                failed = error
                if not error.again:
                    break
                if error.retry_after is not None:
                    self.limiter.pause(min(error.retry_after, max(self.left, 0.0)))
            except TimeoutError:
                raise self._failure("deadline", f"no answer within {self.patience.deadline:.3g} s") from None
        assert failed is not None
        raise self._failure(failed.reason, str(failed))

    async def _request(self, tokens: int) -> Reply:
        reserved = self.price.of(tokens, self.spec.max_tokens)
        await self.ledger.reserve(reserved)
        if self._began is None:
            self._began = time.monotonic()
        began, paid = time.monotonic(), reserved  # until we know better, e.g. when this is cancelled
        try:
            self.requests += 1
            raw = await send(self.spec, self.conversation, timeout=max(0.01, min(self.patience.timeout, self.left)))
            if raw.tokens_in is not None and raw.tokens_out is not None:
                paid = self.price.of(raw.tokens_in, raw.tokens_out)
        except RequestFailed as error:
            paid = reserved if error.paid else 0.0
            raise
        except ModelError:
            paid = 0.0
            raise
        finally:
            self.dollars += paid
            await asyncio.shield(self.ledger.settle(reserved, paid))
        facts = {} if raw.tokens_in is not None else {"assumed": True}
        seconds = time.monotonic() - began
        return Reply(
            self.spec.name, raw.text, raw.tokens_in or 0, raw.tokens_out or 0, self.dollars, seconds, raw.finish, self.requests, facts
        )  # fmt: skip

    async def _pause(self, failed: RequestFailed, attempt: int) -> None:
        seconds = failed.retry_after
        if seconds is None:
            seconds = min(self.patience.pause * 2 ** (attempt - 1), LONGEST_PAUSE)
        if seconds >= self.left:
            reason = failed.reason if failed.retry_after is not None else "deadline"
            raise self._failure(reason, f"{failed}; another request would come after the deadline of {self.patience.deadline:.3g} s")
        if failed.retry_after is None:
            await asyncio.sleep(seconds)  # else the limiter holds back every request of the model

    def _failure(self, reason: str, message: str) -> ModelFailure:
        return ModelFailure(reason, message, requests=self.requests, dollars=self.dollars)


def _free(outcome: Reply | ModelFailure) -> Reply | ModelFailure:
    """A kept answer costs nothing."""
    return replace(outcome, dollars=0.0) if isinstance(outcome, Reply) else ModelFailure(outcome.reason, str(outcome))
