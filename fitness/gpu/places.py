"""What the words mean that a CUDA file's host code hands to its kernels: told from two processes whose made-up addresses differ."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fitness.gpu.plan import Unplannable

__all__ = ["WINDOW", "Places"]

WINDOW = 1 << 40
"""Bytes around a made-up address that count as its buffer's."""


class Places:
    """What words mean that two processes with different addresses handed to the same parameter."""

    def __init__(self, one: Sequence[int], two: Sequence[int]) -> None:
        self._one, self._two = one, two

    def pointer(self, one: int, two: int) -> tuple[int, int] | None:
        """(buffer, byte offset), the workspace the last buffer."""
        for index, (base, other) in enumerate(zip(self._one, self._two, strict=True)):
            if one - base == two - other and abs(one - base) < WINDOW:
                return index, one - base
        return None

    def address(self, one: str, two: str) -> list[int]:
        found = self.pointer(int(one, 16), int(two, 16))
        if found is None:
            raise Unplannable("it sets or copies memory that is no argument of `kernel`")
        return list(found)

    def parameter(self, one: bytes, two: bytes) -> list[Any]:
        pieces: list[list[Any]] = []
        for at in range(0, len(one), 8):
            word, twin = one[at : at + 8], two[at : at + 8]
            if word == twin:
                if pieces and pieces[-1][0] == "value":
                    pieces[-1][1] += word.hex()
                else:
                    pieces.append(["value", word.hex()])
                continue
            found = self.pointer(int.from_bytes(word, "little"), int.from_bytes(twin, "little")) if len(word) == 8 else None
            if found is None:
                raise Unplannable("a kernel is given a number that depends on an address")
            pieces.append(["pointer", *found])
        return pieces[0] if len(pieces) == 1 else ["pieces", pieces] if pieces else ["value", ""]
