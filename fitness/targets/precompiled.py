"""Precompiled headers: <immintrin.h> and friends are most of a small kernel's compile time (0.65 s → 0.24 s with GCC 12).

A set of headers is precompiled for exact flags, from the second kernel on that asks for both. Only headers that the text
itself includes for certain are taken, so a kernel never builds with one that it would not build without. GCC only.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from pathlib import Path

from fitness.cache import Cache, Entry, content_key
from fitness.targets.commands import CommandRunner
from fitness.targets.ctokens import Directive, Text
from fitness.targets.toolchain import Toolchain

__all__ = ["PrecompiledHeaders", "certain_headers"]

KIND = "headers"
KEEP = 16
"""Sets kept in the cache; each has some 25 to 60 MB."""
SECONDS = 60.0
MEMORY = 2 << 30
_RESERVED = re.compile(r"_[A-Z_]\w*")


class PrecompiledHeaders:
    """Makes and finds precompiled headers in a cache. Thread-safe."""

    def __init__(self, cache: Cache, toolchain: Toolchain, run: CommandRunner) -> None:
        self._cache, self._toolchain, self._run = cache, toolchain, run
        self._asked: dict[str, int] = {}
        self._lock = threading.Lock()

    def folder(self, text: Text, flags: Sequence[str]) -> Path | None:
        """Folder with `headers.h` and its precompiled form for this text and these flags, or None: then compile as it is."""
        headers = certain_headers(text, self._toolchain.macros)
        if self._toolchain.family != "gcc" or not headers:
            return None
        key = content_key(self._toolchain.identity, *flags, "\0", *headers)
        with self._lock:
            self._asked[key] = self._asked.get(key, 0) + 1
            mine = self._asked[key] == 2
        entry = self._cache.get(KIND, key)
        if entry is None and mine:
            entry = self._make(key, headers, flags)
        return entry.folder if entry is not None else None

    def _make(self, key: str, headers: Sequence[str], flags: Sequence[str]) -> Entry | None:
        with self._cache.scratch() as scratch:
            source, made = scratch / "headers.h", scratch / "headers.h.gch"
            source.write_text("".join(f"#include <{name}>\n" for name in headers))
            argv = [str(self._toolchain.command), *flags, "-x", "c++-header", str(source), "-o", str(made)]
            done = self._run(argv, write=scratch, timeout=SECONDS, memory=MEMORY, output_limit=1 << 16)
            if done.ended != "exit" or done.status != 0 or not made.is_file():
                return None
            entry = self._cache.put(KIND, key, {"headers.h": source, "headers.h.gch": made})
        self._cache.trim(KIND, KEEP)
        return entry


def certain_headers(text: Text, predefined: frozenset[str]) -> tuple[str, ...]:
    """Headers that the text includes whatever its own macros say: outside #if, or inside tests of predefined macros only.

    Empty when the text meddles with reserved names, which could change what a header means.
    """
    found: set[str] = set()
    open_: list[bool] = []
    for directive in text.directives:
        if directive.name in ("define", "undef") and directive.tokens and _RESERVED.fullmatch(directive.tokens[0].text):
            return ()
        if directive.name in ("if", "ifdef", "ifndef"):
            open_.append(_holds(directive, predefined))
        elif directive.name in ("elif", "else", "elifdef", "elifndef") and open_:
            open_[-1] = False
        elif directive.name == "endif" and open_:
            open_.pop()
        elif directive.name == "include" and all(open_) and directive.tokens and directive.tokens[0].kind == "header":
            found.add(directive.tokens[0].text[1:-1].strip())
    return tuple(sorted(found))


def _holds(directive: Directive, predefined: frozenset[str]) -> bool:
    """Whether the condition is for certain true: `#ifdef M`, `#if defined(M)` with M predefined."""
    words = [token.text for token in directive.tokens if token.text not in ("(", ")")]
    if directive.name == "if" and words[:1] == ["defined"]:
        words = words[1:]
    elif directive.name != "ifdef":
        return False
    return len(words) == 1 and words[0] in predefined and bool(_RESERVED.fullmatch(words[0]))
