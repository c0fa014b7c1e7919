"""Known programs: what tells that a text is an old kernel in new clothes.

`Kernel.normalised_id` decides, but tokenizes the text, which costs milliseconds; so it is only asked where a quick look, with
comments and blank space taken out by one regular expression, finds the same.
"""

from __future__ import annotations

import re

from archive.kernel import Kernel
from operators.brief import family_of

__all__ = ["Programs", "same_program"]

COMMENTS = {"cpp": re.compile(r"//[^\n]*|/\*.*?\*/|\\$", re.DOTALL | re.MULTILINE), "python": re.compile(r"#[^\n]*|\\$", re.MULTILINE)}


def _glance(kernel: Kernel) -> str:
    """Equal for equal programs (but for those with comment marks in strings), rarely for others."""
    return "".join(COMMENTS[family_of(kernel.language)].sub("", kernel.source).split())


def same_program(one: Kernel, other: Kernel) -> bool:
    """Whether two kernels are the same but for comments and layout."""
    return _glance(one) == _glance(other) and one.normalised_id == other.normalised_id


class Programs:
    """Kernels by program."""

    def __init__(self) -> None:
        self._known: dict[int, list[Kernel]] = {}

    def add(self, kernel: Kernel) -> None:
        self._known.setdefault(hash(_glance(kernel)), []).append(kernel)

    def find(self, kernel: Kernel) -> str | None:
        """The id of a known kernel that is the same program."""
        for other in self._known.get(hash(_glance(kernel)), ()):
            if other.normalised_id == kernel.normalised_id:
                return other.id
        return None
