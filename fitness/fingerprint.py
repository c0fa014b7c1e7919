"""The fingerprint of an output: whether anybody wrote to it after the call that produced it had ended.

All threads of the runner are stopped by then, by the kernel's own word, and the filter of system calls leaves it no other process and
no request under way: nobody is there who could write. Where there is no filter a process may be that shares the mapping. Then, and
wherever it costs next to nothing, the fingerprint is of every byte; else of one secret word in each of POSITIONS equal parts, others
each time, so that whatever is written to more than two parts in a row is noticed for certain, and of every byte in one call of six,
secretly chosen (`Vigil`), so that whoever writes late in every call is found out by a single byte before the kernel is believed. The
words are read first, at once, before a writer that races ahead of the referee's own reading gets far.
"""

from __future__ import annotations

import os
import secrets

import numpy as np
from numpy.typing import NDArray

from fitness.native import library

__all__ = ["Fingerprint", "Vigil"]

POSITIONS = 512
WHOLE = 256 << 10
"""Bytes up to which every byte counts, whoever ran."""
WORD = 8
EVERY = 6
"""Calls on a large shape of which one is looked at to the last byte: as many as a kernel has at least, two proofs and four rounds."""


class Fingerprint:
    """Of one buffer, `payload` (bytes,), 8-byte aligned. Not thread-safe."""

    def __init__(self, payload: NDArray[np.uint8]) -> None:
        self._payload = payload
        self._key = int.from_bytes(os.urandom(8), "little")
        self._words = payload[: payload.size // WORD * WORD].view(np.uint64)
        count = min(POSITIONS, self._words.size)
        rng = np.random.default_rng(int.from_bytes(os.urandom(8), "little"))
        bounds = np.linspace(0, self._words.size, count + 1).astype(np.int64)
        self._first, self._width = bounds[:-1], np.diff(bounds)
        self._offsets = rng.integers(0, self._width)
        self.positions: NDArray[np.int64] = self._first + self._offsets
        """Of the words looked at, one in each part; others with every `take` of a large output."""
        self._taken: tuple[bytes, int | None] | None = None

    @property
    def sampled(self) -> bool:
        """Whether it is large enough that not every byte counts always."""
        return self._payload.size > WHOLE

    def take(self, *, whole: bool) -> None:
        """Keeps what the payload is now; the runner is frozen. whole: every byte of it, however large."""
        if self.sampled:
            self.positions = self._first + (self._offsets + secrets.randbits(32)) % self._width
        words = self._words[self.positions].tobytes()
        whole |= not self.sampled
        self._taken = words, library().checksum(self._payload, self._key) if whole else None

    def drop(self) -> None:
        """Forgets: the payload is about to be written by the referee."""
        self._taken = None

    def changed(self, *, thoroughly: bool) -> bool:
        """Whether the payload differs from what `take` saw. thoroughly: in whatever it kept; else only the secret words are read."""
        if self._taken is None:
            return False
        words, checksum = self._taken
        if self._words[self.positions].tobytes() != words:
            return True
        return thoroughly and checksum is not None and library().checksum(self._payload, self._key) != checksum


class Vigil:
    """Which calls on large shapes are looked at to the last byte: one of every EVERY, nobody knows which."""

    def __init__(self) -> None:
        self._calls = 0
        self._chosen = secrets.randbelow(EVERY)

    def close_look(self) -> bool:
        """Whether this call is one of them. Asked once a call."""
        chosen = self._calls == self._chosen
        self._calls += 1
        if self._calls == EVERY:
            self._calls, self._chosen = 0, secrets.randbelow(EVERY)
        return chosen
