"""Reads a problem folder strictly: every missing, unknown or wrong key of problem.py is an error that says what to do."""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib.util
import keyword
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from fitness.argument import DTYPES, ROLES, Argument, ExpressionError, names_in
from fitness.problem import COMPUTE_DTYPES, Problem, ProblemError, Sizes

__all__ = ["KEYS", "execute", "read"]

KEYS: Mapping[str, str] = {
    "sizes": 'a tuple of names of the trailing int64_t parameters, in ABI order, e.g. ("rows", "cols")',
    "inputs": 'a dict name -> {"dtype", "shape", "role"}, in ABI order',
    "outputs": 'a dict name -> {"dtype", "shape"}, in ABI order',
    "shapes": "a list of dicts size -> extent that a search measures on",
    "small_shapes": "a list of small, awkward shapes for verification",
    "held_out_shapes": "a list of shapes that only a certification sees",
    "reference": "a function of the inputs that returns the output, or a tuple of outputs",
    "accumulation": "a function of the sizes: terms of the longest sum",
    "bytes_moved": "a function of the sizes: bytes read plus bytes written",
    "flops": "a function of the sizes: floating-point operations",
    "make_inputs": "a function (rng, sizes) that returns a dict name -> array",
    "compute_dtype": f"one of {', '.join(COMPUTE_DTYPES)}",
    "gather": "a dict of one entry, table -> index: rows of that input are picked by the integers in the other",
    "deterministic": "True or False",
    "mutants": "a dict name -> a wrong variant of the reference",
}
FUNCTIONS = ("reference", "accumulation", "bytes_moved", "flops", "make_inputs")
"""Keys that a function is given for: another function is mistaken for none but these."""
OPTIONAL = ("make_inputs", "compute_dtype", "gather", "deterministic", "mutants")
SMALL_BYTES = 4 << 20
"""A small shape's footprint may be at most this, so that 30 cases per shape stay cheap."""


def execute(file: Path) -> ModuleType:
    """Runs a Python file as a module of its own name. Raises ProblemError with the line for whatever it raises."""
    name = "evo_problem_" + hashlib.sha256(str(file).encode()).hexdigest()[:16]
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None or not file.is_file():
        raise ProblemError(file, "", "no such file", "a Python file", f"Write {file.name}.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        # compiled from the text, never from a .pyc: nothing is written beside a problem, and an edit within one second counts
        exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[name]
        line = error.lineno if isinstance(error, SyntaxError) else _line_in(error, file)
        raise ProblemError(
            file, "", f"{type(error).__name__}: {error}", "a file that Python can run", "Correct that line.", line
        ) from error
    return module


def _line_in(error: BaseException, file: Path) -> int | None:
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(file):
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def read(folder: Path) -> Problem:
    """The problem in a folder. Raises ProblemError."""
    file = folder / "problem.py"
    module = execute(file)
    reader = _Reader(file, {name: value for name, value in vars(module).items() if not name.startswith("_")})
    reader.refuse_unknown()
    specification = (module.__doc__ or "").strip()
    if not specification:
        raise reader.error(
            "__doc__", "no docstring", "a docstring: it is the specification that people and models read", "Describe the computation."
        )
    sizes = reader.sizes()
    inputs = reader.arguments("inputs", sizes)
    outputs = reader.arguments("outputs", sizes)
    shared = {argument.name for argument in inputs} & {argument.name for argument in outputs}
    if shared:
        raise reader.error(
            "outputs", f"{sorted(shared)} also among the inputs", "distinct names", "Outputs never alias inputs; rename them."
        )
    shapes = {key: reader.shapes(key, sizes, (*inputs, *outputs)) for key in ("shapes", "small_shapes", "held_out_shapes")}
    reader.check_small(shapes["small_shapes"], (*inputs, *outputs))
    overlap = [dict(shape) for shape in shapes["held_out_shapes"] if shape in shapes["shapes"]]
    if overlap:
        raise reader.error("held_out_shapes", f"{overlap}, also in `shapes`", "shapes that the search never saw", "Change them.")
    hooks = {key: reader.function(key) for key in ("reference", "accumulation", "bytes_moved", "flops")}
    if "make_inputs" in reader.values:
        hooks["make_inputs"] = reader.function("make_inputs")
    baseline = folder / "baseline.py"
    problem = Problem(
        name=folder.name,
        folder=folder,
        specification=specification,
        sizes=sizes,
        inputs=inputs,
        outputs=outputs,
        shapes=shapes["shapes"],
        small_shapes=shapes["small_shapes"],
        held_out_shapes=shapes["held_out_shapes"],
        version=_version(file, baseline),
        compute_dtype=reader.one_of("compute_dtype", COMPUTE_DTYPES, "float32"),
        gather=reader.gather(inputs),
        deterministic=reader.flag("deterministic"),
        mutants=reader.mutants(),
        baselines=dict.fromkeys(_functions(baseline), baseline),
        hooks=hooks,
    )
    for shape in (shape for group in shapes.values() for shape in group):
        problem.accumulation(shape), problem.bytes_moved(shape), problem.flops(shape)
    return problem


def _version(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes() if file.is_file() else b""
        digest.update(f"{file.name}:{len(content)}:".encode() + content)
    return digest.hexdigest()[:20]


def _functions(file: Path) -> tuple[str, ...]:
    """Public top-level functions of a file that may import torch: parsed, not run."""
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ProblemError(
            file, "numpy", "no such file", "`def numpy(inputs..., outputs...)`", "Write the strongest NumPy version there."
        ) from None
    except (SyntaxError, ValueError) as error:
        raise ProblemError(
            file, "", f"{error}", "a file that Python can run", "Correct that line.", getattr(error, "lineno", None)
        ) from error
    names = tuple(node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"))
    if not {"numpy", "gpu"} & set(names):
        raise ProblemError(
            file,
            "numpy",
            f"functions {', '.join(names) or 'none'}",
            "`def numpy(inputs..., outputs...)`, or `def gpu(inputs...)` for a problem of GPUs alone",
            "Every problem has a baseline; helpers begin with an underscore.",
        )
    return names


class _Reader:
    """The public names of one problem.py, read key by key."""

    def __init__(self, file: Path, values: dict[str, Any]) -> None:
        self.file, self.values = file, values

    def error(self, key: str, found: str, expected: str, remedy: str) -> ProblemError:
        return ProblemError(self.file, key, found, expected, remedy)

    def refuse_unknown(self) -> None:
        """Settings that nobody reads are typing mistakes; constants in capitals and helper functions are not settings."""
        for name, value in self.values.items():
            if name in KEYS or name.isupper() or isinstance(value, (ModuleType, type)) or type(value).__module__ == "__future__":
                continue
            close = difflib.get_close_matches(name, FUNCTIONS if callable(value) else KEYS, n=1, cutoff=0.8)
            own = isinstance(value, FunctionType) and value.__code__.co_filename == str(self.file)
            if callable(value) and not (own and close):
                continue
            hint = f"Did you mean `{close[0]}`?" if close else "Remove it, prefix it with an underscore, or write a constant in capitals."
            raise self.error(name, "an unknown key", f"one of {', '.join(KEYS)}", hint)

    def get(self, key: str) -> Any:
        if key not in self.values:
            raise self.error(key, "nothing", KEYS[key], f"Define `{key}` in problem.py.")
        return self.values[key]

    def function(self, key: str) -> Callable[..., Any]:
        value = self.get(key)
        if not callable(value):
            raise self.error(key, repr(value), KEYS[key], "Define it with def.")
        result: Callable[..., Any] = value
        return result

    def sizes(self) -> tuple[str, ...]:
        value = self.get("sizes")
        if not isinstance(value, tuple) or not value or not all(isinstance(name, str) and _is_name(name) for name in value):
            raise self.error("sizes", repr(value), KEYS["sizes"], 'One name needs a comma: ("n",).')
        if len(set(value)) != len(value):
            raise self.error("sizes", repr(value), "distinct names", "Rename one.")
        return value

    def arguments(self, key: str, sizes: tuple[str, ...]) -> tuple[Argument, ...]:
        value = self.get(key)
        if not isinstance(value, dict) or not value:
            raise self.error(key, repr(value), KEYS[key], "List at least one.")
        return tuple(self._argument(key, name, spec, sizes) for name, spec in value.items())

    def _argument(self, key: str, name: Any, spec: Any, sizes: tuple[str, ...]) -> Argument:
        where = f"{key}.{name}"
        if not isinstance(name, str) or not _is_name(name) or name in (*sizes, "workspace", "kernel"):
            raise self.error(where, repr(name), "a C identifier that is no size and not `workspace` or `kernel`", "Rename it.")
        if not isinstance(spec, dict):
            raise self.error(where, repr(spec), KEYS[key], "Write a dict.")
        role = spec.get("role") if key == "inputs" else "output"
        needed = (
            {"dtype", "shape"} | ({"role"} if key == "inputs" else set()) | {"index": {"below"}, "fixed": {"value"}}.get(str(role), set())
        )
        if set(spec) != needed:
            raise self.error(
                where,
                f"keys {sorted(map(str, spec))}",
                f"exactly the keys {sorted(needed)}",
                "Add what is missing, remove what is not listed.",
            )
        if key == "inputs" and role not in ROLES:
            raise self.error(f"{where}.role", repr(role), "; ".join(f"{role} ({text})" for role, text in ROLES.items()), "Choose one.")
        dtype = spec["dtype"]
        if dtype not in DTYPES:
            raise self.error(
                f"{where}.dtype",
                repr(dtype),
                f"one of {', '.join(DTYPES)}",
                "Choose one; lower precision inside goes into `compute_dtype`.",
            )
        if role == "index" and "int" not in dtype:
            raise self.error(f"{where}.dtype", repr(dtype), "an integer type for role `index`", "Use int32 or int64.")
        if role == "positive" and not dtype.startswith("float"):
            raise self.error(f"{where}.dtype", repr(dtype), "a floating-point type for role `positive`", "Use float32.")
        shape = spec["shape"]
        if not isinstance(shape, (tuple, list)) or not all(isinstance(dim, (str, int)) and not isinstance(dim, bool) for dim in shape):
            raise self.error(
                f"{where}.shape", repr(shape), 'a tuple of sizes, integers or simple expressions such as "rows+1"', "Correct it."
            )
        dims = (*shape, *([spec["below"]] if role == "index" else []))
        for dim in dims:
            self._expression(where, dim, sizes)
        value = spec.get("value")
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise self.error(f"{where}.value", repr(value), "a number", "Correct it.")
        return Argument(name, dtype, tuple(shape), str(role), spec.get("below"), value)

    def _expression(self, where: str, dim: Any, sizes: tuple[str, ...]) -> None:
        try:
            unknown = names_in(dim) - set(sizes) if isinstance(dim, str) else set()
        except ExpressionError as error:
            raise self.error(where, str(error), "a simple expression over the sizes", "Correct it.") from None
        if unknown:
            raise self.error(
                where,
                f"{dim!r} with the unknown name {', '.join(sorted(unknown))}",
                f"names among {', '.join(sizes)}",
                "Add it to `sizes`.",
            )

    def shapes(self, key: str, sizes: tuple[str, ...], arguments: tuple[Argument, ...]) -> tuple[Sizes, ...]:
        value = self.get(key)
        if not isinstance(value, (list, tuple)) or not value:
            raise self.error(key, repr(value), KEYS[key], "List at least one shape.")
        result: list[Sizes] = []
        for number, shape in enumerate(value):
            where = f"{key}[{number}]"
            if not isinstance(shape, dict) or set(shape) != set(sizes):
                raise self.error(where, repr(shape), f"a dict with exactly the sizes {', '.join(sizes)}", "Add or remove sizes.")
            if not all(type(extent) is int and extent >= 1 for extent in shape.values()):
                raise self.error(where, repr(shape), "whole numbers of at least 1", "Correct the extents.")
            ordered = {name: shape[name] for name in sizes}
            if ordered in result:
                raise self.error(where, repr(shape), "distinct shapes", "Remove the repetition.")
            try:
                for argument in arguments:
                    argument.shape(ordered)
            except ExpressionError as error:
                raise self.error(where, str(error), "arguments of at least one element", "Change the shape or the expression.") from None
            result.append(ordered)
        return tuple(result)

    def check_small(self, shapes: tuple[Sizes, ...], arguments: tuple[Argument, ...]) -> None:
        for shape in shapes:
            footprint = sum(argument.nbytes(shape) for argument in arguments)
            if footprint > SMALL_BYTES:
                raise self.error(
                    "small_shapes", f"{dict(shape)} with {footprint} bytes", f"at most {SMALL_BYTES} bytes", "Choose smaller extents."
                )

    def one_of(self, key: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.values.get(key, default)
        if value not in allowed:
            raise self.error(key, repr(value), KEYS[key], "Choose one.")
        return str(value)

    def flag(self, key: str) -> bool:
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise self.error(key, repr(value), KEYS[key], "Write True or False.")
        return value

    def gather(self, inputs: tuple[Argument, ...]) -> tuple[str, str] | None:
        value = self.values.get("gather")
        if value is None:
            return None
        if not isinstance(value, dict) or len(value) != 1:
            raise self.error("gather", repr(value), KEYS["gather"], 'For example {"table": "indices"}.')
        ((table, index),) = value.items()
        roles = {argument.name: argument.role for argument in inputs}
        if roles.get(table) in (None, "index") or roles.get(index) != "index":
            known = ", ".join(f"{name} ({role})" for name, role in roles.items())
            expected = f"an input, and an input of role `index` that picks its rows, among {known}"
            raise self.error("gather", repr(value), expected, "Correct the names.")
        return table, index

    def mutants(self) -> dict[str, Callable[..., Any]]:
        value = self.values.get("mutants", {})
        if not isinstance(value, dict) or not all(isinstance(name, str) and callable(mutant) for name, mutant in value.items()):
            raise self.error("mutants", repr(value), KEYS["mutants"], "Map names to functions of the inputs.")
        return dict(value)


def _is_name(text: str) -> bool:
    return text.isidentifier() and text.isascii() and not keyword.iskeyword(text)
