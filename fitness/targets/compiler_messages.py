"""What a compiler or linker said, made into a diagnostic: how many errors, the first ones in its own words, the line marked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from archive.evaluation import Diagnostic

__all__ = ["Message", "explain", "read_messages"]

_LINE = re.compile(
    r"^(?P<file>[^:\n]*):(?P<line>\d+):(?:(?P<column>\d+):)? (?P<kind>fatal error|error|warning|note|sorry, unimplemented): (?P<text>.*)$"
)
_LINKER = re.compile(r"(undefined reference to|undefined symbol:?|multiple definition of|hidden symbol) [`'\"]?(?P<name>[^'`\"\n]+)")
_SHOWN = 5

_HINTS = (
    (
        r"inlining failed in call to .?always_inline.*target specific option mismatch|requires target feature",
        "This CPU, or the flags in EVO_FLAGS, lack the feature that this intrinsic needs.",
    ),
    (
        r"exception handling disabled|cannot use '(try|throw)' with exceptions disabled",
        "Kernels are compiled without exceptions; use return values.",
    ),
    (
        r"template instantiation depth|recursive template instantiation|constexpr.* (depth|evaluation operation count) exceeds",
        "The compiler's own limit on templates or constexpr evaluation was reached.",
    ),
    (
        r"bad value \('[^']*'\) for '-m|unrecognized command-line option|unknown argument|unsupported argument",
        "This compiler does not know a flag in EVO_FLAGS.",
    ),
    (r"does not name a type|was not declared|has not been declared|undeclared identifier", "Is its header included?"),
)
"""Words of a message → what to think of."""


@dataclass(frozen=True, slots=True)
class Message:
    kind: str
    line: int | None
    """Line in the kernel, None where the message is about another file."""
    column: int | None
    text: str
    file: str


def read_messages(output: str, file: str = "kernel.cpp") -> tuple[Message, ...]:
    """The messages of GCC or Clang (plain text, no colours), in order."""
    found = []
    for text in output.splitlines():
        match = _LINE.match(text)
        if match is None:
            continue
        own = match["file"].rsplit("/", 1)[-1] == file
        kind = "error" if match["kind"] in ("fatal error", "sorry, unimplemented") else match["kind"]
        column = int(match["column"]) if match["column"] else None
        found.append(Message(kind, int(match["line"]) if own else None, column, match["text"], match["file"]))
    return tuple(found)


def explain(output: str, source: str, *, stage: str = "compile", file: str = "kernel.cpp") -> Diagnostic:
    """One diagnostic for a failed compile or link. `source` is the kernel's text, for marking lines."""
    messages = read_messages(output, file)
    errors = [each for each in messages if each.kind == "error"]
    undefined = list(dict.fromkeys(match["name"] for match in _LINKER.finditer(output)))
    if stage == "link" and undefined:
        names = ", ".join(undefined[:10])
        text = f"The linker found no definition of {names}. Kernels link to nothing but libm: define it in the kernel, or do not use it."
        if "__dso_handle" in undefined:
            text = "A global or static object has a destructor, which kernels may not have: use plain data, or the workspace argument."
        return Diagnostic("build", "undefined_symbol", text, {"symbols": undefined[:20], "output": output[-4000:]})
    if not errors:
        tail = output.strip()[-2000:] or "(it said nothing)"
        text = f"The {stage} failed without naming a line:\n{tail}{_hint(output)}"
        return Diagnostic("build", f"{stage}_error", text, {"output": output[-4000:]})
    lines = source.splitlines()
    shown = "\n".join(_marked(each, lines) for each in errors[:_SHOWN])
    count = f"{len(errors)} error{'s' if len(errors) != 1 else ''}"
    more = f"\n… and {len(errors) - _SHOWN} more." if len(errors) > _SHOWN else ""
    first = next((each for each in errors if each.line is not None), errors[0])
    details = {
        "errors": len(errors),
        "line": first.line,
        "column": first.column,
        "messages": [[each.line, each.column, each.text[:500]] for each in errors[:20]],
        "output": output[:4000],
    }
    return Diagnostic("build", f"{stage}_error", f"The compiler found {count}:\n{shown}{more}{_hint(output)}", details)


def _marked(message: Message, lines: list[str]) -> str:
    if message.line is None or not 0 < message.line <= len(lines):
        return f"{message.file.rsplit('/', 1)[-1]}: {message.text[:500]}"
    place = f"line {message.line}" + (f", column {message.column}" if message.column else "")
    line = lines[message.line - 1].expandtabs(1)[:200]
    mark = f"\n    {' ' * (message.column - 1)}^" if message.column and message.column <= len(line) + 1 else ""
    return f"{place}: {message.text[:500]}\n    {line}{mark}"


def _hint(output: str) -> str:
    hint = next((text for pattern, text in _HINTS if re.search(pattern, output)), "")
    return f"\n{hint}" if hint else ""
