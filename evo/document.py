"""A YAML document that remembers on which line each key stands, so that an error can point there.

Plain YAML 1.1 as PyYAML's safe loader reads it, except that duplicate keys are errors, keys are strings, and neither
dates nor `1e-3`-like strings are guessed: dates stay strings, and a number in exponent notation is a number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from evo.errors import UserError

__all__ = ["Document", "read_document"]

Key = tuple[str | int, ...]
"""Where in a document: names of keys and positions in lists."""


class _Loader(yaml.SafeLoader):
    """Safe loader without timestamps and with exponent floats."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9_]+)[eE][-+]?[0-9]+$"), list("-+0123456789.")
)


@dataclass
class Document:
    """Plain values and where they came from."""

    values: dict[str, Any]
    file: Path | None = None
    lines: dict[Key, int] = field(default_factory=dict)
    """Line (from 1) of each key and list item that came from the file."""
    assigned: set[Key] = field(default_factory=set)
    """Keys that `override` set."""

    def line(self, key: Sequence[str | int]) -> int | None:
        """The line of `key`, else of the nearest part of the document that holds it; None when nothing of it is in the file."""
        for length in range(len(key), 0, -1):
            if (line := self.lines.get(tuple(key[:length]))) is not None:
                return line
        return None

    def overridden(self, key: Sequence[str | int]) -> bool:
        """Whether the value of `key` came from the command line."""
        return any(tuple(key[:length]) in self.assigned for length in range(1, len(key) + 1)) or any(
            self.line(key) is None and at[: len(key)] == tuple(key) for at in self.assigned
        )

    def override(self, assignment: str) -> None:
        """Applies one `--set` argument, `a.b=value`; the value is read as YAML, `null` included.

        Raises:
            UserError: it is not an assignment, the value is not YAML, or the key goes through something that has no keys.
        """
        dotted, equals, text = assignment.partition("=")
        parts = dotted.strip().split(".")
        if not equals or not all(parts):
            raise UserError(
                "An override is not an assignment.", key="--set", found=assignment, expected="KEY.KEY=VALUE, e.g. budget.minutes=2"
            )
        value = _parse(text, None, f"--set {dotted}")[0]
        section = self.values
        for depth, part in enumerate(parts[:-1]):
            below = section.setdefault(part, {})
            if isinstance(below, str) and depth == 0:
                below = section[part] = {"name": below}  # a section given by its name alone, as in `strategy: random`
            if below is None:
                below = section[part] = {}
            if not isinstance(below, dict):
                raise UserError(
                    f"An override goes through `{'.'.join(parts[: depth + 1])}`, which has no keys.",
                    key=f"--set {dotted}",
                    found=repr(below),
                    expected="a section",
                )
            section = below
        section[parts[-1]] = value
        self.assigned.add(tuple(parts))
        self.lines = {key: line for key, line in self.lines.items() if key[: len(parts)] != tuple(parts)}


def read_document(path: Path) -> Document:
    """Reads a YAML file whose top level is a mapping.

    Raises:
        UserError: the file cannot be read, is empty, is not YAML, repeats a key, or is not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError("The config is not UTF-8 text.", file=path, found=str(error), expected="a YAML file") from error
    except OSError as error:
        raise UserError("The config cannot be read.", file=path, found=error.strerror or str(error), remedy="Check the path.") from error
    values, lines = _parse(text, path, "config")
    if values is None:
        raise UserError(
            "The config is empty.", file=path, found="nothing", expected="at least `problem:` and `budget:`", remedy="See experiments/."
        )
    if not isinstance(values, dict):
        raise UserError("The config is not a mapping.", file=path, line=1, found=_kind(values), expected="`key: value` lines")
    return Document(values, path, lines)


def _parse(text: str, file: Path | None, what: str) -> tuple[Any, dict[Key, int]]:
    """The value of a YAML text and the line of each key in it."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None, {}
        lines: dict[Key, int] = {}
        _walk(node, (), lines, file, set())
        return loader.construct_document(node), lines
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = None if mark is None else mark.line + 1
        source = text.splitlines()[mark.line] if mark is not None and mark.line < len(text.splitlines()) else ""
        tab = "\t" in source[: len(source) - len(source.lstrip())]
        raise UserError(
            f"The {what} is not YAML: {error.problem or error.context}.",
            file=file,
            line=line,
            found=repr(source) if source else None,
            expected="spaces for indentation" if tab else None,
            remedy="Replace the tab by spaces." if tab else "Check indentation, colons and quotes around this line.",
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"The {what} is not YAML.", file=file, found=(str(error) or type(error).__name__).splitlines()[0]) from error
    finally:
        loader.dispose()


def _walk(node: yaml.Node, at: Key, lines: dict[Key, int], file: Path | None, above: set[int]) -> None:
    """Notes the line of every key below `node`; refuses duplicate keys, keys that are not text, and documents that contain themselves."""
    if id(node) in above:
        raise yaml.MarkedYAMLError(problem="an alias refers to what contains it", problem_mark=node.start_mark)
    inside = above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                raise yaml.MarkedYAMLError(problem="a key has to be plain text", problem_mark=key.start_mark)
            name, line = key.value, key.start_mark.line + 1
            if name in seen:
                raise UserError(
                    f"`{name}` is given twice.",
                    file=file,
                    line=line,
                    key=".".join(map(str, (*at, name))),
                    found=f"again on line {line}, first on line {seen[name]}",
                    remedy="Keep one of them.",
                )
            key.tag = "tag:yaml.org,2002:str"  # `1: …` and `on: …` are names here, never numbers or booleans
            seen[name] = lines[*at, name] = line
            _walk(value, (*at, name), lines, file, inside)
    elif isinstance(node, yaml.SequenceNode):
        for position, item in enumerate(node.value):
            lines[*at, position] = item.start_mark.line + 1
            _walk(item, (*at, position), lines, file, inside)


def _kind(value: object) -> str:
    return {list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false"}.get(type(value), type(value).__name__)
