"""What a Triton file may contain: an allow-list over its syntax tree. Advisory, never the only guard.

Inside functions compiled by `triton.jit` everything public of the language is allowed: they never run as Python. Outside of them a file
may define constants, compute launch grids and launch; it imports triton and math, and touches of a tensor only what describes it.
"""

from __future__ import annotations

import ast

from archive.evaluation import Diagnostic

__all__ = ["MODULES", "TENSOR_FACTS", "check_python"]

MAX_SOURCE = 1 << 20
MODULES = frozenset({"__future__", "math", "triton", "triton.language", "triton.language.extra", "triton.tools.tensor_descriptor"})
"""What may be imported."""
TRITON_NAMES = frozenset({"jit", "cdiv", "next_power_of_2", "language", "Config", "constexpr_function", "set_allocator", "tools"})
"""What may be used of the module `triton` itself."""
TENSOR_FACTS = frozenset({"shape", "stride", "size", "numel", "dim", "ndim", "dtype", "element_size", "data_ptr", "value", "bit_length"})
"""Attributes that host code may use of tensors, numbers and containers."""
_NAMES = """
    eval exec compile open __import__ __builtins__ globals locals vars dir getattr setattr delattr hasattr input breakpoint exit quit type
    memoryview object super classmethod staticmethod property help id torch os sys subprocess ctypes numpy
"""
FORBIDDEN_NAMES = frozenset(_NAMES.split())


def check_python(source: str) -> Diagnostic | None:
    """Why this text is refused, or None."""
    if len(source) > MAX_SOURCE:
        return _found("source_too_long", f"{len(source)} bytes; at most {MAX_SOURCE} are read", 1)
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        return Diagnostic("build", "syntax_error", f"line {line}: {error}", {"line": line})
    visitor = _Visitor()
    visitor.visit(tree)
    if visitor.finding is None and not visitor.launch:
        return _found("no_launch", "the file defines no function `launch(inputs…, outputs…, workspace)`", 1)
    return visitor.finding


def _found(reason: str, text: str, line: int) -> Diagnostic:
    return Diagnostic("policy", reason, f"line {line}: {text}", {"line": line})


class _Visitor(ast.NodeVisitor):
    """Keeps the first finding."""

    def __init__(self) -> None:
        self.finding: Diagnostic | None = None
        self.launch = False
        self._compiled = 0
        self._modules: dict[str, str] = {}

    def refuse(self, node: ast.AST, reason: str, text: str) -> None:
        if self.finding is None:
            self.finding = _found(reason, text, getattr(node, "lineno", 1))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name not in MODULES:
                self.refuse(node, "forbidden_import", f"imports {alias.name}; allowed are {', '.join(sorted(MODULES))}")
            self._modules[alias.asname or alias.name.split(".")[0]] = alias.name if alias.asname else alias.name.split(".")[0]

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        if node.level or module not in MODULES:
            self.refuse(node, "forbidden_import", f"imports from {module or '.'}; allowed are {', '.join(sorted(MODULES))}")
        for alias in node.names:
            if alias.name == "*" or (module == "triton" and alias.name not in TRITON_NAMES):
                self.refuse(node, "forbidden_import", f"imports {alias.name} from {module}")

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        compiled = False
        for decorator in node.decorator_list:
            name = ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator)
            if name in ("triton.jit", "jit"):
                compiled = True
            elif "autotune" in name or "heuristics" in name:
                text = f"@{name} is not allowed: tuning is the search's job and hides cost from the clock; declare tunables instead"
                self.refuse(decorator, "autotune", text)
            elif name not in ("triton.constexpr_function", "constexpr_function"):
                self.refuse(decorator, "forbidden_decorator", f"@{name} is not allowed; only @triton.jit")
        self.launch = self.launch or (node.name == "launch" and not compiled and self._compiled == 0)
        self._compiled += compiled
        for child in (*node.args.defaults, *(d for d in node.args.kw_defaults if d is not None), *node.body):
            self.visit(child)
        self._compiled -= compiled

    def _forbidden(self, node: ast.AST) -> None:
        self.refuse(node, "forbidden_statement", f"{type(node).__name__} is not allowed in a kernel's file")

    visit_ClassDef = _forbidden
    visit_AsyncFunctionDef = _forbidden
    visit_Global = _forbidden
    visit_Nonlocal = _forbidden
    visit_Try = _forbidden
    visit_With = _forbidden
    visit_Delete = _forbidden
    visit_Await = _forbidden
    visit_Yield = _forbidden
    visit_YieldFrom = _forbidden

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in FORBIDDEN_NAMES or (node.id.startswith("__") and node.id.endswith("__")):
            self.refuse(node, "forbidden_name", f"uses `{node.id}`; a kernel's file launches kernels and needs no such thing")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.visit(node.value)
        if node.attr.startswith("_"):
            self.refuse(node, "forbidden_attribute", f"uses the private attribute `{node.attr}`")
        root = node
        while isinstance(root.value, ast.Attribute):
            root = root.value
        base = root.value.id if isinstance(root.value, ast.Name) else None
        if self._compiled or base in self._modules:
            if self._modules.get(base or "") == "triton" and root.attr not in TRITON_NAMES:
                text = f"uses triton.{root.attr}; allowed are {', '.join(sorted(TRITON_NAMES))}"
                self.refuse(node, "autotune" if root.attr in ("autotune", "heuristics") else "forbidden_attribute", text)
            return
        if node.attr not in TENSOR_FACTS:
            text = f"uses `.{node.attr}` outside a compiled function; host code may only ask for {', '.join(sorted(TENSOR_FACTS))}"
            self.refuse(node, "library_call", text)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.MatMult) and not self._compiled:
            self.refuse(node, "library_call", "uses the operator @ outside a compiled function")
        self.generic_visit(node)
