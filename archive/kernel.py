"""A kernel: language and source text. The text is the whole genome; its hash is its identity."""

from __future__ import annotations

import ast
import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

from archive.lexing import normalised
from archive.requires import Require
from archive.space import Key, Space
from archive.tunables import LANGUAGES, Tunable, parse
from archive.values import TunableError, Value, show

__all__ = ["Kernel", "Template"]

ID_LENGTH = 20
"""Hexadecimal digits kept of a SHA-256: 80 bits."""

KEPT = 16
"""Templates remembered, so that kernels read back from a run (resume, worker processes) are matched instead of parsed."""

_recent: tuple[Template, ...] = ()  # replaced as a whole, so that threads need no lock


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:ID_LENGTH]


class Template:
    """A parsed source with holes where its tunables' literals stand; shared by all kernels that differ in values alone.

    Raises:
        TunableError: a malformed declaration.
    """

    def __init__(self, language: str, source: str, file: str) -> None:
        declarations = parse(source, language, file)
        self.language = language
        self.tunables: tuple[Tunable, ...] = declarations.tunables
        self.requires: tuple[Require, ...] = declarations.requires
        self.space = Space([one.name for one in self.tunables], [one.domain for one in self.tunables], self.requires)
        self.positions = {tunable.name: position for position, tunable in enumerate(self.tunables)}
        self.indices: tuple[dict[Value, int], ...] = tuple(
            {value: index for index, value in enumerate(one.domain)} for one in self.tunables
        )
        self.pieces: list[str] = []
        """Text before the first literal, "", text before the second, "", …, text behind the last."""
        last = 0
        for tunable in self.tunables:
            self.pieces += [source[last : tunable.span[0]], ""]
            last = tunable.span[1]
        self.pieces.append(source[last:])
        self.family = _hash(language, *self.pieces)

    @property
    def key(self) -> Key:
        """Key of the values in the source that was parsed."""
        return tuple(indices[tunable.value] for indices, tunable in zip(self.indices, self.tunables, strict=True))

    def match(self, source: str) -> Key | None:
        """The key whose text is `source`; None when there is none, or when it breaks a constraint."""
        if not source.startswith(self.pieces[0]):
            return None
        at, key = len(self.pieces[0]), []
        for tunable, following in zip(self.tunables, self.pieces[2::2], strict=True):
            for index, spelling in enumerate(tunable.spellings):
                if source.startswith(spelling, at) and source.startswith(following, at + len(spelling)):
                    key.append(index)
                    at += len(spelling) + len(following)
                    break
            else:
                return None
        return tuple(key) if at == len(source) and self.space.legal_key(tuple(key)) else None

    def render(self, key: Key) -> str:
        pieces = self.pieces.copy()
        pieces[1::2] = [tunable.spellings[index] for tunable, index in zip(self.tunables, key, strict=True)]
        return "".join(pieces)


class Kernel:
    """One kernel; immutable, equal to another of the same language and text. Parsed only when its tunables are asked for.

    Args:
        language: one of `archive.tunables.LANGUAGES`.
        source: the text.
        file: what error messages call it; no part of the identity.
    """

    __slots__ = ("__dict__", "file", "language", "source")

    def __init__(self, language: str, source: str, file: str = "<kernel>") -> None:
        self.language, self.source, self.file = language, source, file

    @cached_property
    def id(self) -> str:
        """First 20 hexadecimal digits of SHA-256 over language, NUL, source."""
        return _hash(self.language, self.source)

    @cached_property
    def normalised_id(self) -> str:
        """As `id`, blind to comments and layout but not to tunables' domains and constraints: equal means the same program.

        A source that cannot be tokenized has its `id`.
        """
        try:
            code = normalised(self.source, LANGUAGES.get(self.language, "c"))
            domains = [f"{one.name} {{{', '.join(map(show, one.domain))}}}" for one in self.tunables]
            requires = [ast.unparse(one.expression) for one in self.template.requires]
        except TunableError:
            return self.id
        return _hash(self.language, code, *domains, *requires)

    @cached_property
    def template(self) -> Template:
        """Raises `TunableError` for a malformed declaration."""
        global _recent
        for template in _recent:
            key = template.match(self.source) if template.language == self.language else None
            if key is not None:
                self.__dict__["key"] = key
                return template
        template = Template(self.language, self.source, self.file)
        _recent = (template, *_recent[: KEPT - 1])
        self.__dict__["key"] = template.key
        return template

    @cached_property
    def key(self) -> Key:
        """Indices of the current values in their domains (a key of `space`)."""
        template = self.template
        key: Key = self.__dict__.get("key", template.key)
        return key

    @property
    def family(self) -> str:
        """Hash of the text without its tunables' literals: equal for kernels that differ in values alone."""
        return self.template.family

    @cached_property
    def tunables(self) -> tuple[Tunable, ...]:
        """Raises `TunableError` for a malformed declaration."""
        template, moved, tunables = self.template, 0, []
        for tunable, index in zip(template.tunables, self.key, strict=True):
            start, end = tunable.span
            grown = len(tunable.spellings[index]) - (end - start)
            tunables.append(replace(tunable, value=tunable.domain[index], span=(start + moved, end + moved + grown)))
            moved += grown
        return tuple(tunables)

    @property
    def values(self) -> dict[str, Value]:
        """The current value of each tunable, a fresh dictionary. Raises `TunableError` for a malformed declaration."""
        return self.template.space.values(self.key)

    @property
    def space(self) -> Space:
        """What the text itself allows. Raises `TunableError` for a malformed declaration."""
        return self.template.space

    def with_values(self, values: Mapping[str, Value]) -> Kernel:
        """The kernel with some tunables set to other values; only their literals change.

        Raises:
            TunableError: an unknown name, a value outside its domain, or a broken constraint.
        """
        template, key = self.template, list(self.key)
        try:
            for name, value in values.items():
                position = template.positions[name]
                key[position] = template.indices[position][value]
        except (KeyError, TypeError):
            why = template.space.why_illegal({**self.values, **values}) or "an unusable value"
            raise TunableError(
                "these values cannot be set", file=self.file, found=why, expected="tunables of this kernel and values of their domains"
            ) from None
        return self.with_key(tuple(key))

    def with_key(self, key: Key) -> Kernel:
        """As `with_values`, from a complete key of `space`."""
        template = self.template
        if key == self.key:
            return self
        if not template.space.legal_key(key):
            why = template.space.why_illegal(template.space.values(key)) or "an illegal configuration"
            raise TunableError("these values cannot be set together", file=self.file, found=why, expected="a legal configuration")
        child = Kernel(self.language, template.render(key), self.file)
        child.__dict__["template"] = template
        child.__dict__["key"] = key
        return child

    def diff(self, other: Kernel) -> str:
        """Unified diff from this kernel's text to the other's."""
        lines = difflib.unified_diff(self.source.splitlines(), other.source.splitlines(), self.id, other.id, lineterm="")
        return "\n".join(lines)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Kernel) and self.source == other.source and self.language == other.language

    def __hash__(self) -> int:
        return hash((self.language, self.source))

    def __reduce__(self) -> tuple[object, ...]:
        return Kernel, (self.language, self.source, self.file)

    def __repr__(self) -> str:
        return f"Kernel({self.language}, {self.id})"
