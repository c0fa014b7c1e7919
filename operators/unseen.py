"""The last resort of a tunable operator: the first configuration of a kernel that nobody proposed yet."""

from __future__ import annotations

from collections.abc import Iterator

from archive.kernel import Kernel
from archive.space import Key, Space
from operators.base import View

__all__ = ["MOST_VISITED", "Unseen"]

MOST_VISITED = 20_000
"""Configurations looked at in one call."""


class Unseen:
    """Walks the space of each kernel family once.

    A kernel that was seen stays seen (one that the engine forgets again may be missed), so the walk goes on where it
    stopped: a whole run costs one pass over a space, and the answer (the first unseen configuration in the space's own
    order) is a function of the view alone. Once a walk has come to its end, the space is known to be explored.
    """

    def __init__(self) -> None:
        self._view: View | None = None
        self._walks: dict[str, _Walk] = {}
        self._explored: set[str] = set()

    def explored(self, kernel: Kernel, view: View) -> bool:
        """Whether a walk has shown that every configuration of the kernel was proposed."""
        return view is self._view and kernel.family in self._explored

    def first(self, kernel: Kernel, space: Space, view: View) -> Kernel | None:
        """The first unseen configuration; None when there is none, none among the next 20,000, or the space is too large to count."""
        if view is not self._view:
            self._view, self._walks, self._explored = view, {}, set()
        if self.explored(kernel, view) or space.size is None:
            return None
        walk = self._walks.setdefault(kernel.family, _Walk(space.keys()))
        for _ in range(MOST_VISITED):
            key = walk.here()
            if key is None:
                self._explored.add(kernel.family)
                del self._walks[kernel.family]
                return None
            child = kernel.with_key(key)
            if not view.seen(child.id):
                # The engine may yet do without it, so the next walk begins here again.
                return child
            walk.go_on()
        return None


class _Walk:
    """An iterator that stays where it is until told to go on."""

    def __init__(self, keys: Iterator[Key]) -> None:
        self._keys = keys
        self._here = next(keys, None)

    def here(self) -> Key | None:
        """The key it stands at; None at the end."""
        return self._here

    def go_on(self) -> None:
        self._here = next(self._keys, None)
