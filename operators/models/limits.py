"""How much one model is asked for: requests at once, requests and tokens in any minute."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

__all__ = ["Limiter"]

MINUTE = 60.0


class Limiter:
    """Holds requests back until they fit; first come, first served.

    Args:
        concurrency: requests at once.
        requests, tokens: per minute, in a sliding window; None for no limit. A request larger than the token limit goes alone.
        clock: seconds, for tests.
    """

    def __init__(
        self, concurrency: int, requests: int | None, tokens: int | None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:  # fmt: skip
        self._slots = asyncio.Semaphore(concurrency)
        self._turn = asyncio.Lock()
        self._requests = requests
        self._tokens = tokens
        self._clock = clock
        self._sent: deque[tuple[float, int]] = deque()
        self._closed_until = 0.0

    @asynccontextmanager
    async def slot(self, tokens: int) -> AsyncIterator[None]:
        """Held while a request of this many tokens (prompt and longest answer) is under way."""
        async with self._slots:
            async with self._turn:
                while (wait := self._wait(tokens)) > 0:
                    await asyncio.sleep(wait)
                self._sent.append((self._clock(), tokens))
            yield

    def pause(self, seconds: float) -> None:
        """The endpoint asked to be left alone: no new request of this model for so long."""
        self._closed_until = max(self._closed_until, self._clock() + seconds)

    def _wait(self, tokens: int) -> float:
        """Seconds until a request may be sent; 0 for now."""
        now = self._clock()
        while self._sent and self._sent[0][0] <= now - MINUTE:
            self._sent.popleft()
        wait = self._closed_until - now
        if self._requests is not None and len(self._sent) >= self._requests:
            wait = max(wait, self._sent[-self._requests][0] + MINUTE - now)
        if self._tokens is not None and self._sent:
            over = sum(used for _, used in self._sent) + tokens - self._tokens
            for at, used in self._sent:
                if over <= 0:
                    break
                over -= used
                wait = max(wait, at + MINUTE - now)
        return wait
