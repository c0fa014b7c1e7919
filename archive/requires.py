"""Constraints between tunables: `require TILE_M % UNROLL == 0`, checked for types once and compiled once.

An expression is made of tunables' names, literals, `+ - * / // %`, comparisons, `and or not` (or C's `&& || !`),
`in` and `not in` a tuple, and `min max abs`. `/` is true division, `//` and `%` round down as in Python. There are no
powers, shifts, attributes or other calls, so an expression cannot cost more than its length. A division by zero breaks
the constraint.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from archive.values import INTEGER_RANGE, Place, Value, decode_string, read_number

__all__ = ["Require", "compile_requires", "parse_require"]

LONGEST = 1000
"""Characters of an expression."""

DEEPEST = 100
"""Levels of its syntax tree."""

ALLOWED = "names of tunables, literals, + - * / // %, comparisons, and, or, not (&& || !), in (…), min, max, abs"
CALLS: Mapping[str, Callable[..., object]] = {"min": min, "max": max, "abs": abs}
LEXEME = re.compile(
    r"""(?P<space>[ \t]+)
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<number>\.?[0-9](?:(?<![xX])[eE][+-]?(?=[0-9])|[0-9A-Za-z_.'])*)
    |(?P<name>[^\W\d]\w*)
    |(?P<c_operator>&&|\|\||!(?!=))
    |(?P<operator>//|[<>=!]=|[-+*/%<>(),])""",
    re.VERBOSE,
)
C_OPERATORS = {"&&": " and ", "||": " or ", "!": " ~"}
"""`~` binds as tightly as C's `!` and is no operator of ours, so it carries `!` through Python's parser."""

ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod)
ORDERED = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)


@dataclass(frozen=True, slots=True)
class Require:
    """A checked constraint."""

    text: str
    """The expression as written."""
    line: int
    names: frozenset[str]
    """The tunables it speaks of."""
    expression: ast.expr
    """What `compile_requires` compiles; only whitelisted nodes."""


def parse_require(text: str, domains: Mapping[str, Sequence[Value]], place: Place) -> Require:
    """Parses and checks one expression over the tunables in `domains`.

    Raises:
        TunableError: a syntax error, an unknown name, an expression that is not allowed, or mismatched types.
    """
    text = text.strip()
    if not text or len(text) > LONGEST:
        place.fail(
            "malformed require",
            found=f"{len(text)} characters" if text else "no expression",
            expected=f"1 to {LONGEST} characters",
            remedy="write `evo: require A % B == 0`",
        )
    try:
        tree = ast.parse(_as_python(text, place), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        place.fail("malformed require", found=f"`{text}` ({message})", expected=f"an expression of {ALLOWED}", remedy="mend the expression")
    if _depth(tree) > DEEPEST:
        place.fail(
            "a require nested too deeply",
            found=f"`{text[:40]}…`",
            expected=f"at most {DEEPEST} levels",
            remedy="split it into several requires",
        )
    checker = Checker(text, domains, place)
    expression = checker.condition(tree)
    if not checker.names:
        place.fail(
            "a require that names no tunable",
            found=f"`{text}`",
            expected="a condition on at least one tunable",
            remedy="remove it, or name the tunables it is about",
        )
    return Require(text, place.line, frozenset(checker.names), expression)


def _depth(tree: ast.AST) -> int:
    depth, level = 0, [tree]
    while level:
        depth, level = depth + 1, [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _as_python(text: str, place: Place) -> str:
    """The expression with C's operators and every literal respelled for Python's parser."""
    pieces, position = [], 0
    while position < len(text):
        match = LEXEME.match(text, position)
        if match is None:
            place.fail(
                "not allowed in a require", found=f"`{text[position]}` in `{text}`", expected=ALLOWED, remedy="rewrite the condition"
            )
        position = match.end()
        piece = match[0]
        if match["c_operator"]:
            piece = C_OPERATORS[piece]
        elif match["string"]:
            decoded = decode_string(piece[1:-1])
            if decoded is None:
                place.fail(
                    "unknown escape in a string of a require",
                    found=piece,
                    expected=r"\n, \t, \\, \", \xHH, \uHHHH",
                    remedy="double the backslash",
                )
            piece = repr(decoded)
        elif match["number"]:
            number = read_number(piece, c=True) or read_number(piece, c=False)
            if number is None or not (isinstance(number.value, float) or number.value <= INTEGER_RANGE[1]):
                place.fail(
                    "malformed number in a require",
                    found=f"`{piece}`",
                    expected="an integer of 64 bits or a float",
                    remedy="mend the number",
                )
            piece = f" {number.value!r} "
        elif piece in ("true", "false"):
            piece = piece.capitalize()
        pieces.append(piece)
    return "".join(pieces).strip()


class Checker:
    """Walks an expression, refuses what is not whitelisted or mistyped, and gives back a tree of fresh nodes."""

    def __init__(self, text: str, domains: Mapping[str, Sequence[Value]], place: Place) -> None:
        self.text, self.domains, self.place = text, domains, place
        self.names: set[str] = set()

    def condition(self, node: ast.expr) -> ast.expr:
        """The node as a truth value; numbers count as true when not zero, as in C."""
        built, kind = self.visit(node)
        if kind == "string":
            self.refuse("a string as a condition", node)
        return built

    def visit(self, node: ast.expr) -> tuple[ast.expr, str]:
        """The node rebuilt, and whether it is a `number`, a `string` or a `truth` value."""
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str):
            return ast.Constant(node.value), _category(node.value)
        if isinstance(node, ast.Name):
            self.known(node.id)
            return ast.Name(node.id, ast.Load()), _category(self.domains[node.id][0])
        if isinstance(node, ast.BinOp) and isinstance(node.op, ARITHMETIC):
            return ast.BinOp(self.number(node.left), node.op, self.number(node.right)), "number"
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            return ast.UnaryOp(node.op, self.number(node.operand)), "number"
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
            return ast.UnaryOp(ast.Not(), self.condition(node.operand)), "truth"
        if isinstance(node, ast.BoolOp):
            # `bool` of each part, so that `(A and B) + 1` means what it means in C.
            parts: list[ast.expr] = [ast.UnaryOp(ast.Not(), ast.UnaryOp(ast.Not(), self.condition(part))) for part in node.values]
            return ast.BoolOp(node.op, parts), "truth"
        if isinstance(node, ast.Compare):
            return self.comparison(node), "truth"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CALLS and not node.keywords:
            count = len(node.args)
            if count >= 1 and (count == 1) == (node.func.id == "abs"):
                return ast.Call(ast.Name(node.func.id, ast.Load()), [self.number(part) for part in node.args], []), "number"
        self.refuse(_describe(node), node)

    def known(self, name: str) -> None:
        if name not in self.domains:
            known = ", ".join(self.domains) or "no tunables here"
            self.place.fail(
                "require names no tunable",
                found=f"`{name}` in `{self.text}`",
                expected=f"one of {known}",
                remedy="declare it with an `evo:` domain, or correct the name",
            )
        self.names.add(name)

    def number(self, node: ast.expr) -> ast.expr:
        built, kind = self.visit(node)
        if kind == "string":
            self.refuse("arithmetic on a string", node)
        return built

    def comparison(self, node: ast.Compare) -> ast.expr:
        left, left_kind = self.visit(node.left)
        comparators: list[ast.expr] = []
        for operator, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(operator, ast.In | ast.NotIn):
                if not isinstance(right, ast.Tuple) or not right.elts:
                    self.refuse("`in` without a tuple such as `(8, 16)`", right)
                parts = [self.visit(part) for part in right.elts]
                built: ast.expr = ast.Tuple([part for part, _ in parts], ast.Load())
                kinds = {kind for _, kind in parts}
                if len(node.ops) > 1:
                    self.refuse("`in` within a chain of comparisons", node)
            elif isinstance(operator, ast.Eq | ast.NotEq | ORDERED[0] | ORDERED[1] | ORDERED[2] | ORDERED[3]):
                built, kind = self.visit(right)
                kinds = {kind}
                if isinstance(operator, ORDERED) and "string" in (kind, left_kind):
                    self.refuse("an order of strings", node)
            else:
                self.refuse(_describe(node), node)
            if ("string" in kinds) != (left_kind == "string") or len({kind == "string" for kind in kinds}) > 1:
                self.refuse("a comparison of a string with a number", node)
            comparators.append(built)
            left_kind = next(iter(kinds))
        return ast.Compare(left, node.ops, comparators)

    def refuse(self, what: str, node: ast.expr) -> NoReturn:
        source = ast.unparse(node).replace("~", "!")
        self.place.fail(
            "not allowed in a require", found=f"{what}: `{source}` in `{self.text}`", expected=ALLOWED, remedy="rewrite the condition"
        )


def _category(value: object) -> str:
    return "string" if isinstance(value, str) else "number"


def _describe(node: ast.expr) -> str:
    return f"a {type(node).__name__.lower()} expression"


def compile_requires(requires: Sequence[Require], names: Sequence[str]) -> Callable[..., object] | None:
    """One function of all tunables' values, in the order of `names`, true when every constraint holds; None for no constraint.

    The function may raise ZeroDivisionError or OverflowError, which break a constraint too.
    """
    if not requires:
        return None
    positions = {name: f"t{index}" for index, name in enumerate(names)}

    class Rename(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.Name:
            return ast.Name(positions[node.id], ast.Load())

        def visit_Call(self, node: ast.Call) -> ast.Call:
            return ast.Call(node.func, [self.visit(part) for part in node.args], [])

    parts: list[ast.expr] = [Rename().visit(ast.parse(ast.unparse(require.expression), mode="eval").body) for require in requires]
    body = parts[0] if len(parts) == 1 else ast.BoolOp(ast.And(), parts)
    arguments = ast.arguments(posonlyargs=[], args=[ast.arg(positions[name]) for name in names], kwonlyargs=[], kw_defaults=[], defaults=[])
    code = compile(ast.fix_missing_locations(ast.Expression(ast.Lambda(arguments, body))), "<require>", "eval")
    function: Callable[..., object] = eval(code, {"__builtins__": {}, **CALLS})  # only nodes that Checker built
    return function
