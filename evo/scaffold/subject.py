"""The function a user wants faster: found in its file, runnable here, and cut out of it with all that its text refers to."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evo.errors import UserError

__all__ = ["Subject", "read_subject"]


@dataclass(frozen=True, slots=True)
class Subject:
    """One function of a user's file."""

    file: Path
    name: str
    function: Callable[..., Any]
    parameters: tuple[str, ...]
    """Those that arrays are passed to; a parameter with a default stays at it."""
    constants: tuple[str, ...]
    """`eps=1e-05`: the parameters that stay at their defaults, for the reader."""
    text: str
    """Source of the function and of everything in its file that it needs; runs by itself."""
    doc: str
    library: str
    """`numpy` or `torch`: whose arrays it works on."""


def read_subject(file: Path, function: str | None = None) -> Subject:
    """The only public function of `file`, or the one that is named.

    Runs the file: it is the user's own code.

    Raises:
        UserError: the file cannot be run, or it does not say which function is meant.
    """
    source = _source(file)
    tree = ast.parse(source, str(file))
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]
    public = [name for name in defined if not name.startswith("_")]
    if function is None and file.stem in public:
        function = file.stem
    if function is None and len(public) == 1:
        function = public[0]
    if function is None or function not in defined:
        raise UserError(
            "It is not clear which function is meant." if function is None else f"There is no function `{function}` in the file.",
            file=file,
            found=", ".join(defined) or "no function",
            expected="one public function, or one called like the file",
            remedy="Name it with --function.",
        )
    namespace: dict[str, Any] = {"__name__": file.stem, "__file__": str(file)}
    try:
        exec(compile(source, str(file), "exec"), namespace)
    except Exception as error:
        raise UserError("The file cannot be run.", file=file, found=f"{type(error).__name__}: {error}", remedy="Correct it.") from error
    found = namespace[function]
    parameters = inspect.signature(found).parameters.values()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arrays = tuple(each.name for each in parameters if each.kind in positional and each.default is inspect.Parameter.empty)
    if not arrays:
        raise UserError(
            f"`{function}` takes no array.", file=file, found=str(inspect.signature(found)), expected="parameters without defaults",
            remedy="Give every array a parameter of its own; parameters with defaults stay at them.",
        )  # fmt: skip
    constants = tuple(f"{each.name}={each.default!r}" for each in parameters if each.default is not inspect.Parameter.empty)
    text = _Slice(file, source, tree).of(function)
    library = "torch" if "torch" in _modules(ast.parse(text)) else "numpy"
    return Subject(file, function, found, arrays, constants, text, inspect.getdoc(found) or "", library)


def _source(file: Path) -> str:
    try:
        source = file.read_text(encoding="utf-8")
        ast.parse(source, str(file))
    except OSError as error:
        raise UserError("The file cannot be read.", file=file, found=error.strerror, remedy="Check the path.") from error
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise UserError("The file is not Python.", file=file, line=line, found=str(error), remedy="Correct it.") from error
    return source


def _modules(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


class _Slice:
    """The statements of a module that one of its functions needs, in their order."""

    def __init__(self, file: Path, source: str, tree: ast.Module) -> None:
        self.file = file
        self.source = source
        self.tree = tree

    def of(self, function: str) -> str:
        definitions: dict[str, list[ast.stmt]] = {}
        for statement in self.tree.body:
            for name in _defines(statement):
                definitions.setdefault(name, []).append(statement)
        needed: set[ast.stmt] = set()
        waiting = [function]
        seen: set[str] = set()
        while waiting:
            name = waiting.pop()
            if name in seen:
                continue
            seen.add(name)
            for statement in definitions.get(name, ()):
                needed.add(statement)
                waiting += [node.id for node in ast.walk(statement) if isinstance(node, ast.Name)]
        kept = [statement for statement in self.tree.body if statement in needed]
        settings = [name for name in seen for one in definitions.get(name, ()) if isinstance(one, ast.Assign | ast.AnnAssign)]
        imports = [self._text(statement) for statement in kept if isinstance(statement, ast.Import | ast.ImportFrom)]
        others = [self._text(statement, settings) for statement in kept if not isinstance(statement, ast.Import | ast.ImportFrom)]
        return "\n".join(imports) + "\n\n\n" * bool(imports) + "\n\n\n".join(others) + "\n"

    def _text(self, statement: ast.stmt, settings: list[str] = ()) -> str:  # type: ignore[assignment]
        """Its source, in which module-level settings are in capitals: lower-case ones would be taken for keys of a problem."""
        first = min([statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", ()))])
        lines = self.source.splitlines()[first - 1 : statement.end_lineno]
        shadowed = {node.arg for node in ast.walk(statement) if isinstance(node, ast.arg)}
        edits = [
            (node.lineno - first, node.col_offset, node.id)
            for node in ast.walk(statement)
            if isinstance(node, ast.Name) and node.id in settings and node.id not in shadowed and not node.id.isupper()
        ]
        for row, column, name in sorted(edits, reverse=True):
            encoded = lines[row].encode()
            lines[row] = (encoded[:column] + name.upper().encode() + encoded[column + len(name.encode()) :]).decode()
        return "\n".join(lines)


def _defines(statement: ast.stmt) -> list[str]:
    """Names that a module-level statement binds."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.Import):
        return [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
    if isinstance(statement, ast.ImportFrom):
        return [alias.asname or alias.name for alias in statement.names]
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target] if isinstance(statement, ast.AnnAssign) else []
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]
