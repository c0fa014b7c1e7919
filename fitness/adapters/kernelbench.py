"""KernelBench files: a module `Model`, what it is built with (`get_init_inputs`) and called with (`get_inputs`).

The sizes of such a problem are the whole numbers that `get_inputs` depends on: constants of the file, and literals in the function itself.
A search uses them as they are. A lint may scale them down, which changes the text's numbers and nothing else.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import io
import re
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from fitness.adapters.subject import Subject, SubjectError, default_dtype, identifier, run_text, seeded
from fitness.problem import ProblemError, Sizes

__all__ = ["KernelBenchFile", "renamed"]

NEEDED = {"Model": ast.ClassDef, "get_inputs": ast.FunctionDef, "get_init_inputs": ast.FunctionDef}
ENTRY = "ModelNew"
LEAST_LITERAL = 4
"""Whole numbers in `get_inputs` from this on are taken as extents."""
DIVISORS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
LEAST = (32, 16, 8)
"""Extents that a scaled one does not fall below, the more cautious first; a batch falls to BATCH."""
BATCH = 2


class KernelBenchFile(Subject):
    """One file. `overrides` replaces numbers of its text, by the names of `sizes`."""

    scheme = "kernelbench"
    entry = ENTRY

    def __init__(self, path: Path, text: str, overrides: Mapping[str, int] | None = None) -> None:
        """Raises `SubjectError` where the text is no KernelBench file."""
        self.path, self.text, self.overrides = path, text, dict(overrides or {})
        try:
            self._tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError) as error:
            raise SubjectError(f"it is not Python: {error}") from error
        found = {node.name: type(node) for node in self._tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
        missing = [name for name, kind in NEEDED.items() if found.get(name) is not kind]
        if missing:
            raise SubjectError(f"it defines no {', '.join(missing)}; a KernelBench file defines {', '.join(NEEDED)}")
        self.name = identifier(path)
        self.version = hashlib.sha256(text.encode()).hexdigest()[:20]
        node = next(each for each in self._tree.body if isinstance(each, ast.ClassDef) and each.name == "Model")
        said = (ast.get_docstring(node) or "").strip().splitlines() or ["a KernelBench file"]
        self.specification = f"{self.name}: {said[0]}\n\n```python\n{text.strip()}\n```"
        extents = self._extents()
        self.sizes = tuple(extents) or ("calls",)
        full: dict[str, int] = {**extents, **self.overrides} if extents else {"calls": 1}
        self.shapes: tuple[Sizes, ...] = (full,)
        self.small_shapes: tuple[Sizes, ...] = (full,)

    @classmethod
    def read(cls, path: Path) -> KernelBenchFile:
        """Raises `ProblemError`."""
        try:
            return cls(path.resolve(), path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            remedy = "Check the path."
            raise ProblemError(path, "kernelbench", str(error), "a KernelBench file", remedy) from error
        except SubjectError as error:
            raise ProblemError(path, "kernelbench", str(error), "a KernelBench file", "See KernelBench's level1 for examples.") from error

    # ── the text ──

    def _assigned(self) -> dict[str, ast.expr]:
        """Module-level names bound once to an expression."""
        found: dict[str, ast.expr] = {}
        for node in self._tree.body:
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    pairs = [(target, node.value)]
                    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                        pairs = list(zip(target.elts, node.value.elts, strict=False))
                    found |= {one.id: value for one, value in pairs if isinstance(one, ast.Name)}
        return found

    def _function(self, name: str) -> ast.AST:
        return next(node for node in self._tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name)

    def _roots(self, function: str) -> set[str]:
        """Constants that a function depends on and that depend on no others, by name."""
        assigned = self._assigned()
        pending, roots, seen = _names(self._function(function)), set[str](), set[str]()
        while pending:
            name = pending.pop()
            if name in assigned and name not in seen:
                seen.add(name)
                deeper = _names(assigned[name]) & set(assigned)
                pending |= deeper
                if not deeper:
                    roots.add(name)
        return roots

    def _extents(self) -> dict[str, int]:
        """Name → value of every whole number that `get_inputs` depends on, in the file's order."""
        assigned, roots = self._assigned(), self._roots("get_inputs")
        found: dict[str, int] = {}
        for name in (name for name in assigned if name in roots):
            value = _value(assigned[name])
            if type(value) is int and value > 1:
                found[name] = value
            elif isinstance(value, tuple):
                found |= {f"{name}_{i}": each for i, each in enumerate(value) if type(each) is int and each > 1}
        for node in ast.walk(self._function("get_inputs")):
            if isinstance(node, ast.Constant) and type(node.value) is int and node.value >= LEAST_LITERAL:
                found[f"extent_{node.value}"] = node.value
        return found

    @cached_property
    def _module(self) -> ModuleType:
        tree = None
        if self.overrides:
            tree = ast.fix_missing_locations(_Overriding(self.overrides, self._assigned()).visit(copy.deepcopy(self._tree)))
        return run_text(self.text, str(self.path), tree)

    # ── what it offers ──

    def drawn(self, sizes: Sizes, seed: int, device: str) -> Any:
        import torch

        seeded(seed)
        with torch.device(device):
            data = self._module.get_inputs()
        data = list(data) if isinstance(data, (list, tuple)) else [data]
        return [each.to(device) if isinstance(each, torch.Tensor) and each.device.type != device else each for each in data]

    def init(self) -> list[Any]:
        init = self._module.get_init_inputs()
        return list(init) if isinstance(init, (list, tuple)) else [init]

    def function(self, sizes: Sizes, seed: int, device: str, *, double: bool = False) -> Callable[[Any], Any]:
        import torch

        seeded(seed)
        with torch.device(device):
            model = self._module.Model(*self.init())
        if any(each.device.type != device for each in model.state_dict().values()):
            model = model.to(device)
        if double:
            model = model.double()

        def call(data: Any) -> Any:
            with torch.no_grad(), default_dtype(torch.float64 if double else torch.float32):
                return model(*data)

        call.module = model  # type: ignore[attr-defined]
        return call

    def seed_source(self) -> str:
        return renamed(self.text, "Model", ENTRY, without=("get_inputs", "get_init_inputs"))

    def setting(self, seed: int, baseline: bool = False) -> dict[str, Any]:
        from fitness.gpu.module import encoded

        tensors: list[Any] = []
        try:
            init = encoded(self.init(), tensors)
        except TypeError as error:
            raise SubjectError(f"get_init_inputs returns {error}") from error
        if tensors:
            raise SubjectError("get_init_inputs returns tensors; numbers, texts, lists and tuples can be handed to a candidate")
        return {"style": "module", "entry": "Model" if baseline else ENTRY, "seed": seed, "init": init, "data": {}}

    def baseline(self) -> tuple[Path, str]:
        return self.path, "Model"

    def scaled(self) -> Iterator[KernelBenchFile]:
        yield self
        extents, init = self._extents(), self._roots("get_init_inputs") | self._roots("Model")
        free = {name: value for name, value in extents.items() if name not in init and name.rsplit("_", 1)[0] not in init}
        batch = {name: min(value, BATCH) for name, value in free.items() if "batch" in name.lower()}
        tried: list[dict[str, int]] = [self.overrides]
        every = extents | self._constants()
        if batch:
            tried.append(batch)
            yield KernelBenchFile(self.path, self.text, batch)
        plain = {name: value for name, value in every.items() if name in extents or name in self._assigned()}
        # widths that lists hold come last: how deep a network is, and how wide, says how much of its input is left in the end
        for pool, fixed in ((free, batch), (free, {}), (plain, batch), (plain, {}), (every, batch), (every, {})):
            for least in LEAST:
                for divisor in DIVISORS:
                    scaled = {name: max(min(value, least), value // divisor) for name, value in pool.items()}
                    proposal = {name: value for name, value in (scaled | fixed).items() if every[name] != value}
                    if proposal and proposal not in tried:
                        tried.append(proposal)
                        yield KernelBenchFile(self.path, self.text, proposal)
        if batch:
            yield KernelBenchFile(self.path, self.text, dict.fromkeys(batch, 1))

    def _constants(self) -> dict[str, int]:
        """Every whole number above 1 that is bound at module level, elements of tuples and lists included."""
        found: dict[str, int] = {}
        for name, node in self._assigned().items():
            value = _value(node)
            for key, each in enumerate(value) if isinstance(value, tuple) else (("", value),):
                if type(each) is int and each > 1:
                    found[f"{name}_{key}" if key != "" else name] = each
        return found

    def scaling(self) -> str:
        full = KernelBenchFile(self.path, self.text)
        before = full._extents() | full._constants()
        changes = [(re.sub(r"_\d+$", "", name) if name not in full._assigned() else name, before[name], value)
                   for name, value in self.overrides.items()]  # fmt: skip
        counted = Counter(changes)
        return ", ".join(f"{name} {old}→{new}{f' ({count} times)' if count > 1 else ''}" for (name, old, new), count in counted.items())


class _Overriding(ast.NodeTransformer):
    """Replaces numbers: constants at module level, literals in `get_inputs`."""

    def __init__(self, overrides: Mapping[str, int], assigned: Mapping[str, ast.expr]) -> None:
        self._overrides, self._assigned = overrides, assigned
        self._inside = False

    def visit_Module(self, node: ast.Module) -> ast.Module:
        body: list[ast.stmt] = []
        for statement in node.body:
            if isinstance(statement, ast.FunctionDef) and statement.name == "get_inputs":
                self._inside = True
                self.generic_visit(statement)
                self._inside = False
            body.append(statement)
            if isinstance(statement, ast.Assign):
                for name in sorted({each.id for target in statement.targets for each in ast.walk(target) if isinstance(each, ast.Name)}):
                    value = self._value(name)
                    if value is not None:
                        written = ast.parse(repr(value), mode="eval").body
                        body.append(ast.copy_location(ast.Assign([ast.Name(name, ast.Store())], written), statement))
        node.body = body
        return node

    def _value(self, name: str) -> Any:
        if name in self._overrides:
            return self._overrides[name]
        parts = {key: each for key, each in self._overrides.items() if key.rpartition("_")[0] == name and key.rpartition("_")[2].isdigit()}
        before = _value(self._assigned[name]) if parts and name in self._assigned else None
        if not isinstance(before, tuple):
            return None
        made = tuple(parts.get(f"{name}_{i}", each) for i, each in enumerate(before))
        return list(made) if isinstance(self._assigned[name], ast.List) else made

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if self._inside and type(node.value) is int and f"extent_{node.value}" in self._overrides:
            return ast.copy_location(ast.Constant(self._overrides[f"extent_{node.value}"]), node)
        return node


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)}


def _value(node: ast.expr) -> Any:
    """The value of an expression of numbers alone; None for any other."""
    allowed = (ast.Constant, ast.Tuple, ast.List, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.expr_context)
    if not all(isinstance(each, allowed) for each in ast.walk(node)):
        return None
    constants = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
    if not all(isinstance(each, int) and abs(each) < 1 << 40 for each in constants) or any(isinstance(e, ast.Pow) for e in ast.walk(node)):
        return None
    try:
        value = eval(compile(ast.Expression(node), "<constant>", "eval"), {"__builtins__": {}})
    except (ArithmeticError, TypeError, ValueError):
        return None
    return tuple(value) if isinstance(value, list) else value


def renamed(text: str, name: str, new: str, without: tuple[str, ...]) -> str:
    """A file's text with a name replaced, and without the functions and assignments at its top level that define others."""
    gone: set[int] = set()
    for node in ast.parse(text).body:
        defined = {node.name} if isinstance(node, (ast.FunctionDef, ast.ClassDef)) else set()
        if isinstance(node, ast.Assign):
            defined = {each.id for each in node.targets if isinstance(each, ast.Name)}
        if defined & set(without):
            first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
            gone |= set(range(first, (node.end_lineno or first) + 1))
    lines = text.splitlines()
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(text).readline))):
        if token.type == tokenize.NAME and token.string == name:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column] + new + lines[row - 1][column + len(name) :]
    return "\n".join(line for number, line in enumerate(lines, 1) if number not in gone).rstrip() + "\n"
