"""One array of a kernel's signature: its dtype, its shape as expressions over the problem's sizes, and its role."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import CodeType

import numpy as np

__all__ = ["DTYPES", "ROLES", "Argument", "ExpressionError", "evaluate", "names_in"]

DTYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "bfloat16")
"""Storage types of arguments: what NumPy and C both hold, and bfloat16, which problems for GPUs may use."""

ROLES = {
    "data": "values the kernel works on; every distribution acts on it",
    "weight": "learned parameters: standard normal in every distribution",
    "index": "integers in [0, below)",
    "positive": "strictly positive values, exp of half a standard normal, in every distribution",
    "fixed": "the constant `value` everywhere",
}

_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod, ast.USub)
_FUNCTIONS = {"min": min, "max": max}


class ExpressionError(ValueError):
    """A dimension is not a simple integer expression over the sizes."""


@lru_cache(maxsize=256)
def _compiled(expression: str) -> tuple[CodeType, frozenset[str]]:
    try:
        tree = ast.parse(expression, mode="eval")
    except SyntaxError as error:
        raise ExpressionError(f"{expression!r} is not an expression: {error.msg}") from None
    names: set[str] = set()
    called: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS and not node.keywords:
            called.add(id(node.func))
        elif isinstance(node, ast.Name):
            if id(node) not in called:
                names.add(node.id)
        elif isinstance(node, ast.Constant):
            if type(node.value) is not int:
                raise ExpressionError(f"{expression!r} contains {node.value!r}; only integers are allowed")
        elif not isinstance(node, (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Load, *_OPERATORS)):
            raise ExpressionError(f"{expression!r} contains a {type(node).__name__}; allowed are + - * // % ( ) min() max() over sizes")
    return compile(tree, "<dimension>", "eval"), frozenset(names)


def names_in(expression: str) -> frozenset[str]:
    """Names a dimension expression refers to. Raises ExpressionError where it is no simple expression."""
    return _compiled(expression)[1]


def evaluate(expression: str | int, sizes: Mapping[str, int]) -> int:
    """Value of a dimension such as `rows + 1` for concrete sizes. Raises ExpressionError."""
    if isinstance(expression, int):
        return expression
    code, names = _compiled(expression)
    missing = names - set(sizes)
    if missing:
        raise ExpressionError(f"{expression!r} names {', '.join(sorted(missing))}, which is not among the sizes {', '.join(sizes)}")
    try:
        return int(eval(code, {"__builtins__": {}, **_FUNCTIONS}, dict(sizes)))
    except ZeroDivisionError:
        raise ExpressionError(f"{expression!r} divides by zero for {dict(sizes)}") from None


@dataclass(frozen=True, slots=True)
class Argument:
    """An input or output of the kernel, in ABI order contiguous and C-ordered."""

    name: str
    dtype: str
    """One of DTYPES."""
    dims: tuple[str | int, ...]
    """Expressions over the sizes; () is a single element."""
    role: str
    """One of ROLES for an input, `output` for an output."""
    below: str | int | None = None
    """Role `index`: exclusive upper bound of its values."""
    value: float | None = None
    """Role `fixed`: the value of every element."""

    @property
    def is_float(self) -> bool:
        return self.dtype.startswith(("float", "bfloat"))

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Concrete shape. Raises ExpressionError for a dimension below 1."""
        shape = tuple(evaluate(dim, sizes) for dim in self.dims)
        for dim, extent in zip(self.dims, shape, strict=True):
            if extent < 1:
                raise ExpressionError(f"dimension {dim!r} of {self.name} is {extent} for {dict(sizes)}; at least 1 is needed")
        return shape

    def elements(self, sizes: Mapping[str, int]) -> int:
        count = 1
        for extent in self.shape(sizes):
            count *= extent
        return count

    def nbytes(self, sizes: Mapping[str, int]) -> int:
        """Bytes the argument occupies."""
        return self.elements(sizes) * (2 if self.dtype == "bfloat16" else int(np.dtype(self.dtype).itemsize))
