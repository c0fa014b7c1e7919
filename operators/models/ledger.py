"""The dollar cap: what a request may cost at most is set aside before it is sent, what it did cost is written down after."""

from __future__ import annotations

import asyncio

from operators.models.call import OutOfMoney

__all__ = ["Ledger"]


class Ledger:
    """Money of one run. `spent + reserved <= cap` holds at every moment, however many calls are in flight.

    Args:
        cap: dollars; None for no limit.
        spent: dollars that earlier sessions of the run paid.
    """

    def __init__(self, cap: float | None, spent: float = 0.0) -> None:
        self.cap = cap
        self.spent = spent
        self.reserved = 0.0
        self._changed = asyncio.Condition()
        self._open = 0

    def fits(self, dollars: float) -> bool:
        return self.cap is None or self.spent + self.reserved + dollars <= self.cap * (1 + 1e-12)

    async def reserve(self, dollars: float) -> None:
        """Sets aside what a request may cost at most; waits while requests in flight may give room back.

        Raises:
            OutOfMoney: it does not fit, and nothing in flight can change that.
        """
        async with self._changed:
            while not self.fits(dollars):
                if self._open == 0 or (self.cap is not None and self.spent + dollars > self.cap):
                    cap = self.cap or 0.0
                    raise OutOfMoney(f"${self.spent:.4f} of ${cap:.4f} are spent and the next request may cost up to ${dollars:.4f}")
                await self._changed.wait()
            self.reserved += dollars
            self._open += 1

    async def settle(self, reserved: float, paid: float) -> None:
        """A request is over: its reservation is given back and what it cost is spent."""
        self._open -= 1
        self.reserved = max(0.0, self.reserved - reserved) if self._open else 0.0
        self.spent += paid
        async with self._changed:
            self._changed.notify_all()
