"""The text of a new `problem.py`."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np

from evo.scaffold.signature import Guess, Parameter, Result
from evo.scaffold.subject import Subject
from evo.scaffold.tracing import Graph

__all__ = ["problem_text"]

TOTAL = 1 << 22
"""Elements of the largest argument on a search's shapes, about: 16 MiB of float32 lie beyond most caches."""


def problem_text(subject: Subject, guessed: Guess, graph: Graph | None, measure: Sequence[Mapping[str, int]]) -> str:
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
    reference = _through_torch(subject, guessed) if subject.library == "torch" else f"    return {subject.name}({names})\n"
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
