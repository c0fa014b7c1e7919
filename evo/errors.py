"""What a user did or has that `evo` cannot work with, said so that it can be put right; the command line exits with 2.

Lower floors raise their own errors (`TunableError`, `ProblemError`, `LineageError`, …); `as_user_error` brings them into
this one shape. An error that is not recognised is a defect of `evo` and keeps its traceback.
"""

from __future__ import annotations

import sys
from os import PathLike
from pathlib import Path

__all__ = ["UserError", "as_user_error"]

RECOGNISED: tuple[tuple[str, str], ...] = (
    ("archive.values", "TunableError"),
    ("archive.schema", "LineageError"),
    ("archive.axes", "DescriptorError"),
    ("fitness.problem", "ProblemError"),
    ("fitness.targets.base", "TargetError"),
    ("fitness.targets.flags", "FlagError"),
    ("fitness.sandbox.base", "SandboxError"),
    ("fitness.native.build", "NativeError"),
    ("fitness.cache", "CacheError"),
    ("fitness.device", "DeviceError"),
    ("fitness.lint", "LintError"),
    ("operators.base", "OperatorError"),
    ("operators.models.call", "ModelError"),
)
"""(module, class) of the lower floors' errors that are the user's to put right. Looked up only in loaded modules."""


class UserError(Exception):
    """Something the user can put right.

    Args:
        what: one sentence: what is wrong.
        file: the file it is in.
        line: its line in that file, from 1.
        key: the config key (`budget.minutes`), column or name it is about.
        found: what is there.
        expected: what would be right.
        remedy: what to do.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        file: str | PathLike[str] | None = None,
        line: int | None = None,
        key: str | None = None,
        found: str | None = None,
        expected: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.file = None if file is None else Path(file)
        self.line = line
        self.key = key
        self.found = found
        self.expected = expected
        self.remedy = remedy

    def facts(self) -> dict[str, str]:
        """The labelled parts that are known, in the order in which they are shown."""
        where = None if self.file is None else str(self.file) if self.line is None else f"{self.file}:{self.line}"
        parts = {"file": where, "key": self.key, "found": self.found, "expected": self.expected, "remedy": self.remedy}
        return {label: part for label, part in parts.items() if part is not None}

    def __str__(self) -> str:
        return "\n".join([self.what, *(f"  {label + ':':<10}{part}" for label, part in self.facts().items())])


def as_user_error(error: BaseException) -> UserError | None:
    """`error` as a `UserError` when it is one, or is a lower floor's error about the user's files; else None.

    A lower floor's error may carry `file`, `line`, `key`, `found`, `expected` and `remedy`; what it lacks is left out.
    """
    if isinstance(error, UserError):
        return error
    if not any(_is(error, module, name) for module, name in RECOGNISED):
        return None
    line = getattr(error, "line", None)
    file = getattr(error, "file", None) or getattr(error, "path", None)
    return UserError(
        _text(error, "what") or _text(error, "message") or str(error),
        file=file,
        line=line if isinstance(line, int) else None,
        key=_text(error, "key"),
        found=_text(error, "found"),
        expected=_text(error, "expected"),
        remedy=_text(error, "remedy"),
    )


def _is(error: BaseException, module: str, name: str) -> bool:
    kind = getattr(sys.modules.get(module), name, None)
    return isinstance(kind, type) and isinstance(error, kind)


def _text(error: BaseException, attribute: str) -> str | None:
    value = getattr(error, attribute, None)
    return None if value is None or value == "" else str(value)
