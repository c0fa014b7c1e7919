"""The files of a new problem: problem.py, baseline.py, seed.cpp, and a config that searches it."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evo.errors import UserError
from evo.scaffold.lowering import lower
from evo.scaffold.signature import Guess, Parameter, Result, guess
from evo.scaffold.subject import Subject, read_subject
from evo.scaffold.tracing import Graph, Untraceable, trace

__all__ = ["Scaffold", "scaffold"]

KEYS = ("sizes", "inputs", "outputs", "shapes", "small_shapes", "held_out_shapes", "reference", "accumulation", "bytes_moved", "flops",
        "make_inputs", "compute_dtype", "deterministic", "mutants")  # fmt: skip
TOTAL = 1 << 22
"""Elements of the largest argument on a search's shapes, about: 16 MiB of float32 lie beyond most caches."""
MINUTES = 1.0


@dataclass(frozen=True, slots=True)
class Scaffold:
    """What was made."""

    folder: Path
    config: Path
    derived: bool
    """Whether the seed is a kernel that computes the function; a skeleton otherwise."""
    why: str
    """Why it is a skeleton; empty when it is none."""
    guess: Guess
    notes: tuple[str, ...]


def scaffold(
    name: str, file: Path, folder: Path, *, function: str | None = None, shapes: Mapping[str, Sequence[str]] | None = None,
    dtypes: Mapping[str, str] | None = None, measure: Sequence[Mapping[str, int]] = (),
) -> Scaffold:  # fmt: skip
    """Writes the problem `name` for a function of `file` into `folder`, which must be new or empty.

    Args:
        function: which one, where the file has several.
        shapes: parameter → its dimensions, where the guess needs help.
        dtypes: parameter → its dtype.
        measure: sizes the search is to measure on; some that fill a few MiB by default.

    Raises:
        UserError: the function cannot be found, run or understood; the folder is in use or cannot be made.
    """
    subject = read_subject(file, function)
    if subject.name in KEYS:
        subject = _renamed(subject)
    guessed = guess(subject, shapes or {}, dtypes or {})
    for sizes in measure:
        if set(sizes) != set(guessed.sizes):
            raise UserError(
                "These are not the sizes of the problem.",
                file=file,
                key="--measure",
                found=", ".join(sizes),
                expected=", ".join(guessed.sizes),
            )
    graph, why = None, ""
    try:
        graph = trace(subject, guessed)
        seed = lower(graph, guessed, f"{name}: {_sentence(subject)}")
    except Untraceable as error:
        graph, why, seed = None, str(error), _skeleton(subject, guessed, name, str(error))
    notes = [*guessed.notes]
    if any(parameter.role == "index" for parameter in guessed.inputs):
        notes.append("index arguments are drawn from [0, rows): correct `below` in problem.py if they mean something else")
    texts = {
        "problem.py": _problem(subject, guessed, graph, measure),
        "baseline.py": _baseline(subject, guessed),
        "seed.cpp": seed,
        f"{name}.yaml": _config(name),
    }
    _write(folder, texts)
    return Scaffold(folder, folder / f"{name}.yaml", not why, why, guessed, tuple(notes))


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:5])
            raise UserError(
                "The problem's folder is not empty.", file=folder, found=found, expected="an empty or new folder", remedy="Use -o."
            )
        for file, text in texts.items():
            (folder / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            "The problem's folder cannot be written.", file=folder, found=error.strerror, remedy="Choose another with -o."
        ) from error


def _renamed(subject: Subject) -> Subject:
    """The subject with its function under a name that is no key of a problem."""
    new = f"original_{subject.name}"
    import re

    return replace(subject, name=new, text=re.sub(rf"\b{subject.name}\b", new, subject.text))


def _sentence(subject: Subject) -> str:
    return subject.doc.splitlines()[0].strip() if subject.doc.strip() else f"the NumPy function {subject.name}"


# ── problem.py ──


def _problem(subject: Subject, guessed: Guess, graph: Graph | None, measure: Sequence[Mapping[str, int]]) -> str:
    names = ", ".join(parameter.name for parameter in guessed.inputs)
    sizes = ", ".join(guessed.sizes)
    reduces = graph is not None and any(node.kind == "reduce" for node in graph.nodes)
    full, small, held_out = _shapes(guessed, measure, least=1 if reduces else 16)
    moved = " + ".join(_bytes(each) for each in guessed.arguments)
    work = " + ".join(_elements(result) for result in guessed.outputs)
    flops, said = f"{work}", "one operation per result, which is certainly needed: raise it to what the computation takes"
    summed, why = _longest(guessed), "terms of the longest sum; the tolerance depends on it"
    if graph is not None:
        flops = f"{max(1, graph.operations)} * ({_largest(guessed)})"
        said = "operations of the traced function, each counted once per element"
        reduced = {node.axis for node in graph.nodes if node.kind == "reduce"}
        summed = reduced.pop() if reduced else "1"
    else:
        why += "; a guess, since the function could not be followed"
    constants = f"\nParameters with defaults stay at them: {', '.join(subject.constants)}.\n" if subject.constants else ""
    document = textwrap.indent(subject.doc.strip() or f"The function {subject.name} of {subject.file.name}.", "").replace('"""', "'''")
    document = document.replace("\\", "\\\\")
    call = f"{subject.name}({names})"
    reference = f"    return {call}\n"
    if subject.library == "torch":
        reference = _through_torch(subject, guessed)
    inputs = "\n".join(f"    {parameter.name!r}: {_declaration(parameter)}," for parameter in guessed.inputs).replace("'", '"')
    outputs = "\n".join(f"    {r.name!r}: {{'dtype': {r.dtype!r}, 'shape': {_dims(r.dims)}}}," for r in guessed.outputs).replace("'", '"')
    names_of_sizes = _dims(guessed.sizes).replace("'", '"')
    arrays_in, arrays_out = (_signature(group) for group in (guessed.inputs, guessed.outputs))
    return f'''"""{document}

{arrays_in} -> {arrays_out}; arrays are contiguous, row-major, and do not overlap.
{constants}"""

{subject.text}

sizes = {names_of_sizes}
inputs = {{
{inputs}
}}
outputs = {{
{outputs}
}}
# What the search measures: put the shapes here that you care about.
shapes = [
{full}
]
# Awkward little ones, to verify on.
small_shapes = [
{small}
]
# What only a certification sees.
held_out_shapes = [
{held_out}
]


def accumulation({sizes}):
    """{why[0].upper()}{why[1:]}."""
    return {summed}


def bytes_moved({sizes}):
    """Every input read once, every output written once."""
    return {moved}


def flops({sizes}):
    """{said[0].upper()}{said[1:]}."""
    return {flops}


def reference({names}):
    """Called with float64 arrays."""
{reference}'''


def _signature(arguments: Sequence[Parameter | Result]) -> str:
    return ", ".join(f"{each.name}[{', '.join(each.dims)}]" for each in arguments)


def _through_torch(subject: Subject, guessed: Guess) -> str:
    arguments = ", ".join(f"torch.as_tensor({parameter.name})" for parameter in guessed.inputs)
    convert = "tuple(each.numpy() for each in results)" if len(guessed.outputs) > 1 else "results.numpy()"
    return f"    import torch\n\n    results = {subject.name}({arguments})\n    return {convert}\n"


def _declaration(parameter: Parameter) -> str:
    below = f", 'below': {parameter.below!r}" if parameter.role == "index" else ""
    return f"{{'dtype': {parameter.dtype!r}, 'shape': {_dims(parameter.dims)}, 'role': {parameter.role!r}{below}}}"


def _dims(dims: Sequence[str]) -> str:
    shown = [dim if dim.isdecimal() else repr(dim) for dim in dims]
    return f"({', '.join(shown)}{',' if len(shown) == 1 else ''})"


def _elements(argument: Parameter | Result) -> str:
    return " * ".join(f"({dim})" if " " in dim else dim for dim in argument.dims) or "1"


def _bytes(argument: Parameter | Result) -> str:
    return f"{np.dtype(argument.dtype).itemsize} * {_elements(argument)}"


def _largest(guessed: Guess) -> str:
    """Elements of the argument with most dimensions."""
    return _elements(max(guessed.arguments, key=lambda argument: len(argument.dims)))


def _longest(guessed: Guess) -> str:
    return guessed.sizes[0] if len(guessed.sizes) == 1 else f"max({', '.join(guessed.sizes)})"


def _shapes(guessed: Guess, measure: Sequence[Mapping[str, int]], least: int) -> tuple[str, str, str]:
    """Search, small and held-out shapes as source text; the largest argument has about TOTAL elements.

    Errors are judged by the scale of a row: where a row is one value of an elementwise function, that is its own scale, and
    what cancels in float32 (1 + tanh(-9)) could not be forgiven. So the last size is `least` at least.
    """
    sizes = guessed.sizes
    full: list[tuple[int, ...]]
    small: list[tuple[int, ...]]
    held_out: list[tuple[int, ...]]
    if len(sizes) == 1:
        powers = max(len([dim for dim in each.dims if dim == sizes[0]]) for each in guessed.arguments) or 1
        base = round(TOTAL ** (1 / powers))
        full = [(base,), (base // 4,)]
        small = [(7,), (1,), (33,), (128,), (251,)]
        held_out = [(base * 3 // 4 + 1,), (base // 2 + 7,)]
    elif len(sizes) == 2:
        full = [(2048, 2048), (16384, 256), (256, 16384)]
        small = [(7, 33), (1, 127), (33, 1), (5, 64), (31, 16), (2, 259)]
        held_out = [(1500, 3000), (331, 12347), (4096, 1000)]
    else:
        side = round((TOTAL / 256) ** (1 / (len(sizes) - 1)))
        full = [(*([side] * (len(sizes) - 1)), 256), (*([side // 2] * (len(sizes) - 1)), 1024)]
        small = [tuple(itertools.islice(itertools.cycle(start), len(sizes))) for start in ((3, 5, 7), (1, 2, 17), (2, 9, 4))]
        held_out = [tuple(extent + 3 for extent in full[0]), tuple(max(2, extent - 5) for extent in full[1])]
    small = [(*row[:-1], max(least, row[-1])) for row in small]
    if measure:
        full = [tuple(one[size] for size in sizes) for one in measure]
        held_out = [tuple(extent * 3 // 4 + 1 for extent in full[0]), tuple(extent * 9 // 8 + 3 for extent in full[-1])]
    return _rows(sizes, full), _rows(sizes, small), _rows(sizes, [row for row in held_out if row not in full])


def _rows(sizes: Sequence[str], rows: Sequence[Sequence[int]]) -> str:
    """Shapes as source lines."""
    pairs = (", ".join(f'"{size}": {extent}' for size, extent in zip(sizes, row, strict=True)) for row in rows)
    return "\n".join(f"    {{{each}}}," for each in pairs)


# ── baseline.py, seed.cpp, config ──


def _baseline(subject: Subject, guessed: Guess) -> str:
    names = ", ".join(parameter.name for parameter in guessed.inputs)
    results = ", ".join(result.name for result in guessed.outputs)
    call = f"{subject.name}({names})"
    if subject.library == "torch":
        call = f"{subject.name}({', '.join(f'torch.from_numpy({p.name})' for p in guessed.inputs)})"
    if len(guessed.outputs) == 1:
        body = f"    {results}[...] = {call}\n"
    else:
        body = "    results = " + call + "\n" + "".join(f"    {r.name}[...] = results[{n}]\n" for n, r in enumerate(guessed.outputs))
    imports = "import torch\n\n" if subject.library == "torch" and "import torch" not in subject.text.splitlines() else ""
    return f'''"""What it is to be faster than: the function as it was, into the destination.

Improve it where that can be done without a compiler.
"""

{imports}{subject.text}

def numpy({names}, {results}):
{body}'''


def _skeleton(subject: Subject, guessed: Guess, name: str, why: str) -> str:
    pointers = [f"const {_c_type(parameter.dtype)}* {parameter.name}" for parameter in guessed.inputs]
    pointers += [f"{_c_type(result.dtype)}* {result.name}" for result in guessed.outputs]
    sizes = [f"int64_t {size}" for size in guessed.sizes]
    layout = "\n".join(f"//   {each.name}: {each.dtype}[{', '.join(each.dims)}], contiguous, row-major" for each in guessed.arguments)
    return f"""\
// {name}: {_sentence(subject)}
//
// A SKELETON, not yet a kernel: it could not be derived from the function, because {why}.
// Write the plain loops that compute what problem.py's docstring says, then run `evo lint` on this folder:
{layout}
// Inputs must not be written; every element of the outputs must be. Pointers are 256-byte aligned and do not overlap.
// Scratch memory: define  extern "C" size_t workspace({", ".join(sizes)})  that returns bytes, and use `workspace`.
// Declare what the search may change as tunables, on the line of the literal:
//   #define TILE 64  // evo: {{16, 32, 64, 128}}      #define UNROLL 1  // evo: 2**[0..3]

#include <cmath>
#include <cstddef>
#include <cstdint>

#define EVO_FLAGS "-O3"  // evo: {{"-O2", "-O3", "-O3 -fno-math-errno -fno-trapping-math", "-O3 -ffast-math"}}

extern "C" void kernel({", ".join([*pointers, "void* workspace", *sizes])}) {{
    // TODO: the loops.
}}
"""


def _c_type(dtype: str) -> str:
    return {"float32": "float", "float64": "double", "bool": "bool", "float16": "_Float16"}.get(dtype, f"{dtype}_t")


def _config(name: str) -> str:
    return f"""\
# evo run {name}/{name}.yaml
problem: ./
target: {{name: cpp, threads: 1}}
budget: {{minutes: {MINUTES:g}, stall: 150}}
evaluation: {{repetitions: 12}}
"""
