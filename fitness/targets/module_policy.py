"""What a candidate in the shape of others may contain: a module `ModelNew` or a function `custom_kernel` of torch and Triton.

Such a file computes with torch wherever it likes: it is measured against torch, so that wins nothing. What it may not do is reach for what
measures it: patch torch, choose streams, change precision for the process, ask for addresses, open files, compile at run time. Advisory,
never the only guard: data, clock and verdict are in another process.
"""

from __future__ import annotations

import ast

from archive.evaluation import Diagnostic

__all__ = ["check_module"]

MAX_SOURCE = 1 << 20
_MODULES = """
    __future__ math numpy typing functools itertools collections collections.abc dataclasses operator numbers enum abc task utils einops
    torch torch.nn torch.nn.functional torch.nn.init torch.nn.parameter torch.autograd
    triton triton.language triton.language.extra triton.tools.tensor_descriptor
"""
MODULES = frozenset(_MODULES.split())
"""What may be imported."""
TORCH_REFUSED = {
    "backends": "it changes how every operator of the process computes",
    "set_float32_matmul_precision": "it changes how every operator of the process computes",
    "set_default_dtype": "it changes how every operator of the process computes",
    "compile": "compiling at run time is a baseline's business, not a kernel's",
    "jit": "compiling at run time is a baseline's business, not a kernel's",
    "_dynamo": "compiling at run time is a baseline's business, not a kernel's",
    "_inductor": "compiling at run time is a baseline's business, not a kernel's",
    "utils": "compiling at run time takes a compiler that the runner does not have; write kernels in Triton",
    "library": "operators that outlive a call are no part of a kernel",
    "overrides": "it puts itself between torch and its caller",
    "multiprocessing": "a kernel starts no processes",
    "distributed": "a kernel talks to nobody",
    "hub": "a kernel loads nothing",
    "load": "a kernel loads nothing",
    "save": "a kernel writes nothing",
    "from_file": "a kernel loads nothing",
    "ops": "only torch's own functions may be called",
    "classes": "only torch's own functions may be called",
    "_C": "only torch's own functions may be called",
    "cuda": "streams, events, graphs and the allocator are the evaluator's; work runs on the current stream",
}
"""Attributes of the module `torch` that are refused, and why."""
CUDA_ALLOWED = frozenset({"get_device_properties", "current_device", "get_device_capability", "is_available", "device", "FloatTensor"})
_NAMES = """
    eval exec compile open __import__ __builtins__ globals locals vars dir setattr delattr input breakpoint exit quit memoryview
    os sys subprocess ctypes gc inspect importlib id
"""
FORBIDDEN_NAMES = frozenset(_NAMES.split())
FORBIDDEN_ATTRIBUTES = {
    "data_ptr": "contents and addresses are fresh in every call; what is kept by address is wrong the next time",
    "untyped_storage": "an argument is the memory it describes and nothing beside it",
    "storage": "an argument is the memory it describes and nothing beside it",
    "set_": "an argument is the memory it describes and nothing beside it",
    "record_stream": "work runs on the current stream",
    "register_forward_hook": "hooks have no part in a kernel",
    "register_forward_pre_hook": "hooks have no part in a kernel",
    "Stream": "work runs on the current stream",
    "CUDAGraph": "graphs are the evaluator's",
    "load_inline": "compiling at run time takes a compiler that the runner does not have; write kernels in Triton",
}
DUNDERS = frozenset({"__init__", "__call__", "__name__", "__class__", "__post_init__", "__len__", "__getitem__", "__setitem__", "__repr__",
                     "__annotations__", "__future__", "__version__"})  # fmt: skip


def check_module(source: str, entry: str) -> Diagnostic | None:
    """Why this text is refused, or None. entry: what it has to define."""
    if len(source) > MAX_SOURCE:
        return _found("source_too_long", f"{len(source)} bytes; at most {MAX_SOURCE} are read", 1)
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        return Diagnostic("build", "syntax_error", f"line {line}: {error}", {"line": line})
    visitor = _Visitor()
    visitor.visit(tree)
    defined = {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
    if visitor.finding is None and entry not in defined:
        return _found("no_entry", f"the file defines no `{entry}`", 1)
    return visitor.finding


def _found(reason: str, text: str, line: int) -> Diagnostic:
    return Diagnostic("policy", reason, f"line {line}: {text}", {"line": line})


class _Visitor(ast.NodeVisitor):
    """Keeps the first finding."""

    def __init__(self) -> None:
        self.finding: Diagnostic | None = None
        self._modules: set[str] = set()

    def refuse(self, node: ast.AST, reason: str, text: str) -> None:
        if self.finding is None:
            self.finding = _found(reason, text, getattr(node, "lineno", 1))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._import(node, alias.name)
            self._modules.add(alias.asname or alias.name.split(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = node.module or ""
        self._import(node, "." * node.level + module)
        for alias in node.names:
            if alias.name == "*":
                self.refuse(node, "forbidden_import", f"imports * from {module}")
            if module == "torch" and alias.name in TORCH_REFUSED:
                self.refuse(node, "forbidden_import", f"imports torch.{alias.name}: {TORCH_REFUSED[alias.name]}")
            if alias.name[:1].isupper() is False or module in ("torch", "triton"):
                self._modules.add(alias.asname or alias.name)

    def _import(self, node: ast.AST, name: str) -> None:
        if name not in MODULES:
            part = name.split(".")[1] if name.startswith("torch.") else ""
            why = f": {TORCH_REFUSED[part]}" if part in TORCH_REFUSED else f"; allowed are {', '.join(sorted(MODULES))}"
            self.refuse(node, "forbidden_import", f"imports {name}{why}")

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in FORBIDDEN_NAMES or (node.id.startswith("__") and node.id.endswith("__") and node.id not in DUNDERS):
            self.refuse(node, "forbidden_name", f"uses `{node.id}`; a kernel's file needs no such thing")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        path = _path(node)
        if node.attr in FORBIDDEN_ATTRIBUTES:
            self.refuse(node, "forbidden_attribute", f"uses `.{node.attr}`: {FORBIDDEN_ATTRIBUTES[node.attr]}")
        elif node.attr.startswith("__") and node.attr not in DUNDERS:
            self.refuse(node, "forbidden_attribute", f"uses the private attribute `{node.attr}`")
        elif path[:1] == ["torch"] and len(path) > 1 and path[1] in TORCH_REFUSED:
            if path[1] != "cuda" or len(path) < 3 or path[2] not in CUDA_ALLOWED:
                self.refuse(node, "forbidden_attribute", f"uses {'.'.join(path[:3])}: {TORCH_REFUSED[path[1]]}")
        elif path[:1] == ["triton"] and path[1:2] in (["autotune"], ["heuristics"], ["testing"], ["runtime"], ["compiler"]):
            text = f"uses triton.{path[1]}: tuning is the search's job and hides cost from the clock; declare tunables instead"
            self.refuse(node, "autotune" if path[1] in ("autotune", "heuristics") else "forbidden_attribute", text)
        self.generic_visit(node)

    def _written(self, target: ast.expr) -> None:
        """Nothing of an imported module may be assigned to."""
        for each in ast.walk(target):
            if isinstance(each, ast.Attribute) and isinstance(each.ctx, (ast.Store, ast.Del)):
                path = _path(each)
                if path and path[0] in self._modules:
                    self.refuse(target, "monkeypatch", f"assigns to {'.'.join(path)}: what others define is not a kernel's to change")

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._written(target)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._written(node.target)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._written(node.target)
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self._written(target)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self.refuse(node, "forbidden_statement", "global: nothing may be kept from one call to the next")


def _path(node: ast.expr) -> list[str]:
    """`torch.nn.functional` as a list; empty where the root is no name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []
