"""The plain C++ kernel of a traced function: a loop over each outer size, and inside it the reductions and then the results.

As a person would write it first: nothing is kept that can be computed again. Its tunables reach what usually pays: flags,
vectorised loops, a polynomial exp, streaming stores.
"""

from __future__ import annotations

import math

from evo.scaffold.cpp_text import EXP_DOUBLE, EXP_FLOAT, EXP_TUNABLE, EXP_USERS, FLAGS, FUNCTIONS, HEAD, PUT, STREAM_TUNABLES
from evo.scaffold.signature import Guess
from evo.scaffold.tracing import Graph, Node, Untraceable

__all__ = ["lower"]

INFIX = {
    **{"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "greater": ">", "greater_equal": ">=", "less": "<"},
    **{"less_equal": "<=", "equal": "==", "not_equal": "!=", "logical_and": "&&", "logical_or": "||"},
}
CALLS = {
    **{"absolute": "fabs", "fabs": "fabs", "arcsin": "asin", "arccos": "acos", "arctan": "atan", "arctan2": "atan2"},
    **{"arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh", "power": "pow", "float_power": "pow"},
    **{"maximum": "larger", "minimum": "smaller", "exp": "exponential", "expit": "logistic", "tanh": "hyperbolic_tangent"},
}
OWN = frozenset({"larger", "smaller", "exponential", "logistic", "hyperbolic_tangent", "sign"})
"""Functions of the kernel's own text; all others are std::."""
USES_EXP = frozenset({"exp", "expit", "tanh"})


def lower(graph: Graph, guess: Guess, what: str) -> str:
    """The text of `seed.cpp`.

    Args:
        what: one line that says what is computed.

    Raises:
        Untraceable: an operation has no plain counterpart.
    """
    kinds = {parameter.dtype for parameter in guess.inputs} | {result.dtype for result in guess.outputs}
    if kinds not in ({"float32"}, {"float64"}):
        raise Untraceable(f"it mixes {', '.join(sorted(kinds))}")
    return _Writer(graph, guess, kinds.pop()).text(what)


class _Writer:
    def __init__(self, graph: Graph, guess: Guess, dtype: str) -> None:
        self.graph, self.guess = graph, guess
        self.real = "float" if dtype == "float32" else "double"
        self.suffix = "f" if dtype == "float32" else ""
        self.axis = graph.axis
        self.outer = [size for size in guess.sizes if size != self.axis and any(size in node.dims for node in graph.nodes)]
        self.axes = {node: self._axes(node) for node in graph.nodes}
        self.names = {node: f"v{number}" for number, node in enumerate(graph.nodes)}
        self.names |= {
            node: f"{node.name}_" if node.kind == "input" else node.name for node in graph.nodes if node.kind in ("input", "extent")
        }
        self.uses_exp = any(node.kind == "op" and node.name in USES_EXP for node in graph.nodes)
        self.tiled = [node for node in graph.outputs if self._streams(node)]

    def _axes(self, node: Node) -> frozenset[str]:
        """Sizes along which the value changes: those of its operands but the one that is reduced."""
        return frozenset(dim for dim in node.dims if not dim.isdecimal())

    def _streams(self, output: Node) -> bool:
        """Whether results lie one after the other along the inner loop."""
        return bool(output.dims) and output.dims[-1] == self.axis

    def text(self, what: str) -> str:
        inner = [node for node in self.graph.outputs if self.axis in self.axes[node]]
        if inner and any(node.dims.count("1") for node in inner):
            raise Untraceable("a result has an extent of 1 beside others")
        head = [f"// {what}\n//\n// Derived from the NumPy function; the plain kernel, and tunables that reach further.\n\n"]
        head.append(HEAD.replace("FLAGS}", FLAGS + "}"))
        if self.uses_exp and self.real == "float":
            head.append(EXP_TUNABLE)
        elif self.uses_exp:
            head.append("#define EXP 0\n")
        if self.tiled:
            head.append(STREAM_TUNABLES)
        head.append(FUNCTIONS.format(real=self.real))
        if self.uses_exp:
            head += [EXP_FLOAT if self.real == "float" else EXP_DOUBLE, EXP_USERS]
        if self.tiled:
            head.append(PUT)
        return "".join(head) + "\n" + self._kernel()

    def _kernel(self) -> str:
        inputs = [f"const {self.real}* {parameter.name}" for parameter in self.guess.inputs]
        outputs = [f"{self.real}* {result.name}" for result in self.guess.outputs]
        sizes = [f"int64_t {size}" for size in self.guess.sizes]
        lines = [f'extern "C" void kernel({", ".join([*inputs, *outputs, "void*", *sizes])}) {{']
        indent = "    "
        for size in self.outer:
            lines.append(f"{indent}for (int64_t i_{size} = 0; i_{size} < {size}; ++i_{size}) {{")
            indent += "    "
        done: set[Node] = set()
        for node in self.graph.nodes:
            if node.kind == "reduce":
                lines += self._outside(indent, node.operands[0], done)
                lines += self._reduction(indent, node, done)
                done.add(node)
        for output, result in zip(self.graph.outputs, self.guess.outputs, strict=True):
            lines += self._outside(indent, output, done)
            if self.axis not in self.axes[output]:
                lines.append(f"{indent}{result.name}[{self._index(output.dims)}] = {self._use(output)};")
        lines += self._results(indent, done)
        while len(indent) > 4:
            indent = indent[4:]
            lines.append(f"{indent}}}")
        if self.tiled:
            lines += ["#if STREAM && defined(__x86_64__)", "    _mm_sfence();", "#endif"]
        return "\n".join([*lines, "}", ""])

    def _reduction(self, indent: str, node: Node, done: set[Node]) -> list[str]:
        name, operand = self.names[node], node.operands[0]
        starts = {"sum": "0", "prod": "1", "max": "-std::numeric_limits<real>::infinity()", "min": "std::numeric_limits<real>::infinity()"}
        clause = {"sum": "+", "prod": "*", "max": "max", "min": "min"}[node.name]
        step = {
            "sum": f"{name} += {{}};", "prod": f"{name} *= {{}};", "max": f"{name} = {{0}} > {name} ? {{0}} : {name};",
            "min": f"{name} = {{0}} < {name} ? {{0}} : {name};",
        }[node.name]  # fmt: skip
        body = self._inside(indent + "    ", [operand], set(done))
        return [
            f"{indent}real {name} = {starts[node.name]};",
            *_vectorised(f" reduction({clause} : {name})"),
            f"{indent}for (int64_t i_{self.axis} = 0; i_{self.axis} < {self.axis}; ++i_{self.axis}) {{",
            *body,
            f"{indent}    {step.format(self._use(operand))}",
            f"{indent}}}",
        ]

    def _results(self, indent: str, done: set[Node]) -> list[str]:
        """The loop that writes what changes along the inner axis, in tiles and without."""
        pairs = [
            (node, result) for node, result in zip(self.graph.outputs, self.guess.outputs, strict=True) if self.axis in self.axes[node]
        ]
        if not pairs:
            return []
        axis = self.axis
        body = self._inside(indent + "    ", [node for node, _ in pairs], set(done))
        plain = [
            *_vectorised(),
            f"{indent}for (int64_t i_{axis} = 0; i_{axis} < {axis}; ++i_{axis}) {{",
            *body,
            *(f"{indent}    {result.name}[{self._index(node.dims)}] = {self._use(node)};" for node, result in pairs),
            f"{indent}}}",
        ]
        if len(self.tiled) != len(pairs):
            return plain
        deeper = self._inside(indent + "        ", [node for node, _ in pairs], set(done))
        tiled = [
            f"{indent}for (int64_t from = 0; from < {axis}; from += TILE) {{",
            f"{indent}    const int64_t end = std::min<int64_t>(from + TILE, {axis});",
            *(f"{indent}    alignas(64) real buffer_{result.name}[TILE];" for _, result in pairs),
            *_vectorised(),
            f"{indent}    for (int64_t i_{axis} = from; i_{axis} < end; ++i_{axis}) {{",
            *deeper,
            *(f"{indent}        buffer_{result.name}[i_{axis} - from] = {self._use(node)};" for node, result in pairs),
            f"{indent}    }}",
            *(
                f"{indent}    put({result.name} + {self._index(node.dims).replace(f'i_{axis}', 'from')}, buffer_{result.name}, end - from);"
                for node, result in pairs
            ),
            f"{indent}}}",
        ]
        return ["#if TILE == 0", *plain, "#else", *tiled, "#endif"]

    def _outside(self, indent: str, node: Node, done: set[Node]) -> list[str]:
        """What can be computed before the inner loop."""
        early = [each for each in self._needed(node, done) if self.axis not in self.axes[each]]
        done.update(early)
        return [f"{indent}const {'bool' if each.logical else 'real'} {self.names[each]} = {self._expression(each)};" for each in early]

    def _inside(self, indent: str, nodes: list[Node], done: set[Node]) -> list[str]:
        lines = []
        for node in nodes:
            for each in self._needed(node, done):
                done.add(each)
                kind = "bool" if each.logical else "real"
                lines.append(f"{indent}const {kind} {self.names[each]} = {self._expression(each)};")
        return lines

    def _needed(self, node: Node, done: set[Node]) -> list[Node]:
        """Operations and inputs below `node` (itself included) that are not computed yet, in order."""
        wanted: set[Node] = set()
        waiting = [node]
        while waiting:
            each = waiting.pop()
            if each not in done and each not in wanted and each.kind not in ("constant", "extent"):
                wanted.add(each)
                waiting += each.operands if each.kind == "op" else ()
        return [each for each in self.graph.nodes if each in wanted and each.kind != "reduce"]

    def _use(self, node: Node) -> str:
        if node.kind == "constant":
            return self._constant(node.value)
        return f"static_cast<real>({node.name})" if node.kind == "extent" else self.names[node]

    def _constant(self, value: float) -> str:
        if math.isinf(value):
            return ("-" if value < 0 else "") + "std::numeric_limits<real>::infinity()"
        if math.isnan(value):
            return "std::numeric_limits<real>::quiet_NaN()"
        text = repr(value)
        return f"({text}{self.suffix})" if value < 0 else f"{text}{self.suffix}"

    def _expression(self, node: Node) -> str:
        if node.kind == "input":
            return f"{node.name}[{self._index(node.dims)}]"
        used = [self._use(operand) for operand in node.operands]
        name = node.name
        if name in ("view", "positive"):
            return used[0]
        if name in INFIX:
            return f"{used[0]} {INFIX[name]} {used[1]}"
        if name == "where":
            return f"{used[0]} ? {used[1]} : {used[2]}"
        plain = {"negative": "-{0}", "logical_not": "!{0}", "square": "{0} * {0}", "reciprocal": "1 / {0}"}
        if name in plain:
            return plain[name].format(*used)
        if name in ("power", "float_power") and node.operands[1].kind == "constant":
            special = {
                0.5: "std::sqrt({0})",
                1.0: "{0}",
                2.0: "{0} * {0}",
                3.0: "{0} * {0} * {0}",
                -1.0: "1 / {0}",
                -0.5: "1 / std::sqrt({0})",
            }
            if node.operands[1].value in special:
                return special[node.operands[1].value].format(used[0])
        called = CALLS.get(name, name)
        return f"{called if called in OWN else f'std::{called}'}({', '.join(used)})"

    def _index(self, dims: tuple[str, ...]) -> str:
        """Offset of the current element in a contiguous array of these dimensions."""
        terms: list[str] = []
        for position, dim in enumerate(dims):
            if dim.isdecimal():
                if dim != "1":
                    raise Untraceable(f"an extent is {dim}")
                continue
            strides = [other for other in dims[position + 1 :] if other != "1"]
            terms.append(" * ".join([f"i_{dim}", *strides]))
        return " + ".join(terms) or "0"


def _vectorised(clause: str = "") -> list[str]:
    """The request to vectorise the loop that follows."""
    return ["#if SIMD", f"#pragma omp simd{clause}", "#endif"]
