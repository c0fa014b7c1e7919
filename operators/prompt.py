"""Prompts from template files: sections, rendered by Jinja2, dropped in a stated order when they are too long.

A template is a text with lines `=== NAME [drop N] [evolvable]`, each of which begins a section. The section `system` becomes
the system message, all others the user's, in their order. When the estimated tokens exceed the budget, whole sections go in
the order of N (1 first; of equal N the later one), until it fits; those without `drop` always stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from operators.base import OperatorError
from operators.models.call import Conversation, Message

if TYPE_CHECKING:
    from jinja2 import Environment, Template

__all__ = ["CHARACTERS_PER_TOKEN", "Library", "Prompt", "Section"]

FOLDER = Path(__file__).resolve().parent / "prompts"
CHARACTERS_PER_TOKEN = 3.5
"""Estimate for code and English; on the safe side of common vocabularies."""
HEADER = re.compile(r"^=== (?P<name>\w+)(?: drop (?P<drop>\d+))?(?P<evolvable> evolvable)?[ \t]*\n", re.MULTILINE)
BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a template."""

    name: str
    drop: int | None
    """Its place in the order of dropping; None: never."""
    evolvable: bool
    template: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is sent, and what had to be left out."""

    conversation: Conversation
    tokens: int
    """Estimated."""
    dropped: tuple[str, ...] = ()
    too_long: bool = False
    """Whether it is over the budget although everything that may be dropped was."""

    def __str__(self) -> str:
        return "\n\n".join(f"[{message.role}]\n{message.text}" for message in self.conversation)


class Library:
    """Templates by name.

    Args:
        folder: the user's own, looked into first; a file there replaces the one of the same name here.
        tokens: budget of one prompt.
    """

    def __init__(self, folder: Path | None = None, *, tokens: int = 24_000) -> None:
        self.folders = (FOLDER,) if folder is None else (folder, FOLDER)
        self.tokens = tokens
        self._sections = cache(self._read)
        self._compiled = cache(self._compile)
        self._environment: Environment | None = None

    def sections(self, name: str) -> tuple[Section, ...]:
        """The sections of template `name`, in order. Raises OperatorError for one that cannot be read."""
        return self._sections(name)

    def evolvable(self, name: str) -> tuple[Section, ...]:
        return tuple(section for section in self.sections(name) if section.evolvable)

    def render(self, name: str, facts: Mapping[str, object], variants: Mapping[str, str] | None = None) -> Prompt:
        """The prompt of template `name`.

        Args:
            facts: what the templates speak of.
            variants: texts that replace evolvable sections, by section name; plain text, not rendered.

        Raises:
            OperatorError: a template is malformed or speaks of something unknown.
        """
        parts: list[tuple[Section, str]] = []
        for section in self.sections(name):
            variant = (variants or {}).get(section.name) if section.evolvable else None
            text = variant if variant is not None else self._rendered(name, section, facts)
            text = BLANK_LINES.sub("\n\n", text).strip()
            if text:
                parts.append((section, text))
        dropped: list[str] = []
        while (tokens := _estimate(parts)) > self.tokens:
            droppable = [(section.drop, -position) for position, (section, _) in enumerate(parts) if section.drop is not None]
            if not droppable:
                break
            position = -min(droppable)[1]
            dropped.append(parts.pop(position)[0].name)
        system = "\n\n".join(text for section, text in parts if section.name == "system")
        user = "\n\n".join(text for section, text in parts if section.name != "system")
        messages = ([Message("system", system)] if system else []) + [Message("user", user)]
        return Prompt(tuple(messages), tokens, tuple(dropped), tokens > self.tokens)

    def text(self, name: str, section: str, facts: Mapping[str, object]) -> str:
        """One section as the template words it."""
        found = next(one for one in self.sections(name) if one.name == section)
        return self._rendered(name, found, facts).strip()

    def _rendered(self, name: str, section: Section, facts: Mapping[str, object]) -> str:
        from jinja2 import TemplateError

        try:
            return self._compiled(section.template).render(facts)
        except TemplateError as error:
            raise OperatorError(f"prompt {name}.j2, section {section.name}: {error}; correct the template") from error

    def _compile(self, text: str) -> Template:
        if self._environment is None:
            from jinja2 import Environment, FileSystemLoader, StrictUndefined

            self._environment = Environment(
                loader=FileSystemLoader([str(folder) for folder in self.folders]),
                undefined=StrictUndefined,
                autoescape=False,
                auto_reload=False,
            )
        return self._environment.from_string(text)

    def _read(self, name: str) -> tuple[Section, ...]:
        path = next((folder / f"{name}.j2" for folder in self.folders if (folder / f"{name}.j2").is_file()), None)
        if path is None:
            known = sorted({file.stem for folder in self.folders for file in folder.glob("*.j2")})
            raise OperatorError(f"prompt: found no template `{name}.j2`, expected one of {', '.join(known)}")
        text = path.read_text(encoding="utf-8")
        headers = list(HEADER.finditer(text))
        if not headers:
            raise OperatorError(f"{path}: found no section, expected lines `=== NAME [drop N] [evolvable]`")
        ends = [*(header.start() for header in headers[1:]), len(text)]
        return tuple(
            Section(
                header["name"],
                None if header["drop"] is None else int(header["drop"]),
                header["evolvable"] is not None,
                text[header.end() : end],
            )
            for header, end in zip(headers, ends, strict=True)
        )


def _estimate(parts: list[tuple[Section, str]]) -> int:
    return int(sum(len(text) + 2 for _, text in parts) / CHARACTERS_PER_TOKEN)
