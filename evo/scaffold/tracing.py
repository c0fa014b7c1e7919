"""A function's computation as a graph: what NumPy calls it makes, when these are elementwise or reduce one axis.

Arguments are stand-ins that NumPy hands every call to (NEP 13, NEP 18). Whatever is not understood ends the trace: a seed
is derived completely or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evo.scaffold.signature import Guess
from evo.scaffold.subject import Subject

__all__ = ["ELEMENTWISE", "REDUCTIONS", "Graph", "Node", "Untraceable", "trace"]

_ELEMENTWISE_NAMES = """
    add subtract multiply divide negative positive absolute fabs square sqrt cbrt exp exp2 expm1 log log2 log10 log1p sin cos tan
    arcsin arccos arctan arctan2 sinh cosh tanh arcsinh arccosh arctanh power float_power hypot maximum minimum fmax fmin reciprocal
    sign floor ceil rint trunc greater greater_equal less less_equal equal not_equal logical_and logical_or logical_not where erf
    erfc expit
"""
ELEMENTWISE = frozenset(_ELEMENTWISE_NAMES.split())
REDUCTIONS = {
    **{"sum": "sum", "add": "sum", "mean": "mean", "prod": "prod", "multiply": "prod"},
    **{"max": "max", "amax": "max", "maximum": "max", "min": "min", "amin": "min", "minimum": "min"},
}
_COMPARISON_NAMES = "greater greater_equal less less_equal equal not_equal logical_and logical_or logical_not"
COMPARISONS = frozenset(_COMPARISON_NAMES.split())


class Untraceable(Exception):
    """The function does something that has no place in such a graph; the message says what."""


@dataclass(frozen=True, eq=False)
class Node:
    """A value: an input, a constant, an elementwise operation, or a reduction. Compared by identity."""

    kind: str
    """`input`, `constant`, `op` or `reduce`."""
    name: str
    """Of the input, the operation or the reduction."""
    operands: tuple[Node, ...] = ()
    dims: tuple[str, ...] = ()
    """Name of the size of each dimension; `1` where it is broadcast."""
    value: float = 0.0
    """Of a constant."""
    axis: str = ""
    """Name of the size that a reduction runs over."""

    @property
    def logical(self) -> bool:
        return self.name in COMPARISONS


@dataclass(frozen=True, slots=True)
class Graph:
    """Outputs and, in an order in which they can be computed, everything they need."""

    outputs: tuple[Node, ...]
    nodes: tuple[Node, ...]

    @property
    def axis(self) -> str:
        """The size that every reduction runs over; the last dimension of the largest output where nothing is reduced."""
        found = {node.axis for node in self.nodes if node.kind == "reduce"}
        if len(found) > 1:
            raise Untraceable(f"it reduces over {' and '.join(sorted(found))}; one axis is understood")
        largest = max(self.outputs, key=lambda node: len(node.dims))
        named = [dim for dim in largest.dims if dim != "1"]
        return found.pop() if found else named[-1] if named else ""

    @property
    def operations(self) -> int:
        """Arithmetic operations per element."""
        return sum(node.kind != "input" and node.kind != "constant" and not node.logical for node in self.nodes)


class _Stand(np.lib.mixins.NDArrayOperatorsMixin):
    """Stands for an array while a function is traced."""

    __slots__ = ("book", "node")
    __array_priority__ = 1000

    def __init__(self, node: Node, book: _Book) -> None:
        self.node = node
        self.book = book

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        if method == "reduce":
            return self.book.reduce(ufunc.__name__, inputs[0], settings.get("axis", 0), bool(settings.get("keepdims", False)))
        if method != "__call__" or any(value is not None for value in settings.values()):
            raise Untraceable(f"numpy.{ufunc.__name__} with {method} or {', '.join(settings)} is not understood")
        return self.book.apply(ufunc.__name__, inputs)

    def __array_function__(self, function: Any, kinds: Any, arguments: Any, settings: Any) -> Any:
        return self.book.call(function.__name__, arguments, settings)

    def __bool__(self) -> bool:
        raise Untraceable("it branches on values")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise Untraceable("it turns its argument into an array of its own")

    def __iter__(self) -> Any:
        raise Untraceable("it iterates over an array")

    def __len__(self) -> int:
        raise Untraceable("it asks for an array's length")

    def __getitem__(self, key: Any) -> _Stand:
        return self.book.index(self, key if isinstance(key, tuple) else (key,))

    def __setitem__(self, key: Any, value: Any) -> None:
        raise Untraceable("it assigns into an array")

    def __getattr__(self, name: str) -> Any:
        if name in ("sum", "mean", "max", "min", "prod", "var", "std", "clip"):
            return lambda *arguments, **settings: self.book.call(name, (self, *arguments), settings)
        if name == "astype":
            return lambda *arguments, **settings: self
        if name == "copy":
            return lambda: self
        if name == "ndim":
            return len(self.node.dims)
        if name == "size":
            raise Untraceable("it asks for an array's size")
        raise Untraceable(f"it uses the array's `{name}`")

    @property
    def shape(self) -> tuple[Any, ...]:
        return tuple(self.book.extent(dim) for dim in self.node.dims)


class _Book:
    """Makes nodes, each once."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], Node] = {}

    def node(self, *parts: Any) -> Node:
        key = tuple(tuple(map(id, part)) if isinstance(part, tuple) and part and isinstance(part[0], Node) else part for part in parts)
        if key not in self._made:
            self._made[key] = Node(*parts)
        return self._made[key]

    def stand(self, *parts: Any) -> _Stand:
        return _Stand(self.node(*parts), self)

    def extent(self, dim: str) -> Any:
        return int(dim) if dim.isdecimal() else _Stand(self.node("extent", dim), self)

    def lift(self, value: Any) -> Node:
        if isinstance(value, _Stand):
            return value.node
        if isinstance(value, (bool, int, float, np.generic)) or (isinstance(value, np.ndarray) and value.ndim == 0):
            number = float(value)
            return self.node("constant", repr(number), (), (), number)
        raise Untraceable(f"it combines its arguments with a {type(value).__name__}")

    def apply(self, name: str, operands: Sequence[Any]) -> _Stand:
        name = {"true_divide": "divide", "abs": "absolute"}.get(name, name)
        if name not in ELEMENTWISE:
            raise Untraceable(f"numpy.{name} is not elementwise")
        nodes = tuple(self.lift(operand) for operand in operands)
        dims: tuple[str, ...] = ()
        for node in nodes:
            dims = broadcast(dims, node.dims)
        return self.stand("op", name, nodes, dims)

    def reduce(self, name: str, operand: Any, axis: Any, keepdims: bool) -> _Stand:
        node = self.lift(operand)
        kind = REDUCTIONS.get(name)
        rank = len(node.dims)
        if isinstance(axis, tuple) and len(axis) == 1:
            axis = axis[0]
        if axis is None and rank == 1:
            axis = 0
        if kind is None or not isinstance(axis, int) or not -rank <= axis < rank:
            raise Untraceable(f"the reduction {name} over axis {axis} of {rank} dimensions is not understood")
        axis %= rank
        size = node.dims[axis]
        if size == "1":
            return self.index(_Stand(node, self), ()) if keepdims else self._dropped(node, axis)
        kept = (*node.dims[:axis], "1", *node.dims[axis + 1 :])
        if kind == "mean":
            return self.apply("divide", (self.reduce("sum", operand, axis, keepdims), self.extent(size)))
        made = self.node("reduce", kind, (node,), kept, 0.0, size)
        return _Stand(made, self) if keepdims else self._dropped(made, axis)

    def _dropped(self, node: Node, axis: int) -> _Stand:
        return self.stand("op", "view", (node,), (*node.dims[:axis], *node.dims[axis + 1 :]))

    def index(self, stand: _Stand, key: tuple[Any, ...]) -> _Stand:
        """Only whole axes and new ones."""
        node, dims, at = stand.node, list[str](), 0
        whole = sum(part is not None and part is not Ellipsis for part in key)
        for part in (*key, *(() if Ellipsis in key else (Ellipsis,))):
            if part is None:
                dims.append("1")
            elif part is Ellipsis:
                rest = len(node.dims) - whole
                dims += node.dims[at : at + rest]
                at += rest
            elif part == slice(None):
                dims.append(node.dims[at])
                at += 1
            else:
                raise Untraceable("it takes a part of an array")
        return stand if tuple(dims) == node.dims else self.stand("op", "view", (node,), tuple(dims))

    def call(self, name: str, arguments: Sequence[Any], settings: dict[str, Any]) -> Any:
        settings = {key: value for key, value in settings.items() if value is not None and key not in ("dtype", "copy")}
        if name in REDUCTIONS or name in ("var", "std"):
            axis = arguments[1] if len(arguments) > 1 else settings.pop("axis", None)
            keepdims = bool(settings.pop("keepdims", False))
            if settings.pop("ddof", 0) or settings:
                raise Untraceable(f"numpy.{name} with {', '.join(settings) or 'ddof'} is not understood")
            if name not in ("var", "std"):
                return self.reduce(name, arguments[0], axis, keepdims)
            centred = arguments[0] - self.reduce("mean", arguments[0], axis, True)
            variance = self.reduce("mean", centred * centred, axis, keepdims)
            return variance if name == "var" else np.sqrt(variance)
        if name == "clip":
            low, high = (*arguments[1:], settings.pop("a_min", None), settings.pop("a_max", None))[:2]
            value = arguments[0]
            if low is not None:
                value = self.apply("maximum", (value, low))
            return value if high is None else self.apply("minimum", (value, high))
        if name == "expand_dims" and isinstance(arguments[1] if len(arguments) > 1 else settings.get("axis"), int):
            axis = arguments[1] if len(arguments) > 1 else settings["axis"]
            node = self.lift(arguments[0])
            axis %= len(node.dims) + 1
            return self.stand("op", "view", (node,), (*node.dims[:axis], "1", *node.dims[axis:]))
        if name in ("zeros_like", "ones_like") and not settings:
            return self.apply("multiply", (arguments[0], 0.0)) + (1.0 if name == "ones_like" else 0.0)
        if name in ("where", "abs") and not settings and (name != "where" or len(arguments) == 3):
            return self.apply(name, arguments)
        raise Untraceable(f"numpy.{name} is neither elementwise nor a reduction")


def broadcast(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    """The dimensions of an operation on both. Raises Untraceable."""
    length = max(len(one), len(other))
    first, second = (("1",) * (length - len(dims)) + dims for dims in (one, other))
    for a, b in zip(first, second, strict=True):
        if a != b and "1" not in (a, b):
            raise Untraceable(f"it combines dimensions {a} and {b}")
    return tuple(b if a == "1" else a for a, b in zip(first, second, strict=True))


def trace(subject: Subject, guess: Guess) -> Graph:
    """The graph of `subject` for these arguments.

    Raises:
        Untraceable: it is not made of elementwise operations and reductions over one axis; the message says what it does.
    """
    if subject.library != "numpy":
        raise Untraceable("only NumPy functions are traced")
    book = _Book()
    arguments = []
    for parameter in guess.inputs:
        named = [dim for dim in parameter.dims if dim != "1"]
        if not parameter.dtype.startswith("float") or len(set(named)) != len(named):
            raise Untraceable(f"{parameter.name} is {parameter.dtype}[{', '.join(parameter.dims)}]")
        arguments.append(book.stand("input", parameter.name, (), parameter.dims))
    try:
        returned = subject.function(*arguments)
    except Untraceable:
        raise
    except Exception as error:
        raise Untraceable(f"it cannot be followed: {type(error).__name__}: {error}") from error
    several = returned if isinstance(returned, (tuple, list)) else (returned,)
    if not all(isinstance(each, _Stand) for each in several):
        raise Untraceable("a result does not come from its arguments by NumPy operations")
    outputs = tuple(each.node for each in several)
    for node, result in zip(outputs, guess.outputs, strict=True):
        if node.dims != result.dims or node.logical or not result.dtype.startswith("float"):
            raise Untraceable(f"the result {result.name} is {result.dtype}[{', '.join(result.dims)}]")
    ordered: dict[Node, None] = {}

    def visit(node: Node) -> None:
        for operand in node.operands:
            if operand not in ordered:
                visit(operand)
        ordered.setdefault(node)

    for output in outputs:
        visit(output)
    graph = Graph(outputs, tuple(ordered))
    _ = graph.axis  # one axis at most
    return graph
