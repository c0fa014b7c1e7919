"""The one place that random numbers come from: a generator per decision, derived from what it decides.

A generator depends on (run seed, purpose, number) alone, never on time or on the order in which results come back, so a
proposal is made with the same random numbers in every run of the same seed, and after every resume.
"""

from __future__ import annotations

from hashlib import blake2b
from random import Random

__all__ = ["generator"]


def generator(seed: int, purpose: str, number: int) -> Random:
    """The random generator for decision `number` of `purpose` (`ask`, `propose`, `remeasure`, …) in a run with this seed."""
    digest = blake2b(f"{seed}/{purpose}/{number}".encode(), digest_size=8).digest()
    return Random(int.from_bytes(digest, "little"))
