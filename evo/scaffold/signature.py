"""What a function's arguments are: guessed from their names and found right by calling it.

Shapes are over named sizes. A guess is an assignment of shapes to parameters; it holds when the function accepts arrays
of these shapes for several extents and returns arrays whose extents are the same expressions of the sizes every time.
"""

from __future__ import annotations

import itertools
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evo.errors import UserError
from evo.scaffold.subject import Subject

__all__ = ["Guess", "Parameter", "Result", "guess"]

TRIALS = (13, 17, 11, 19), (29, 23, 31, 7), (5, 37, 3, 41)
"""Extents of the sizes in the calls that test a guess; primes, so that sums and products are told apart."""
WEIGHTS = ("w", "weight", "gamma", "beta", "bias", "scale", "shift", "kernel", "filter")
POSITIVE = ("var", "variance", "std", "sigma", "temperature", "mass")
INDICES = ("idx", "index", "indices", "labels", "ids", "offsets")
PREFERRED = (("rows", "cols"), ("cols",), ("rows",), ("rows", "1"), ())
"""Shapes tried for each parameter, likeliest first."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """An input as problem.py will have it."""

    name: str
    dtype: str
    dims: tuple[str, ...]
    role: str
    below: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """An output."""

    name: str
    dtype: str
    dims: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Guess:
    sizes: tuple[str, ...]
    inputs: tuple[Parameter, ...]
    outputs: tuple[Result, ...]
    notes: tuple[str, ...] = ()
    """What the reader should check."""

    @property
    def arguments(self) -> tuple[Parameter | Result, ...]:
        """Inputs, then outputs: the kernel's signature."""
        return (*self.inputs, *self.outputs)


def guess(subject: Subject, shapes: Mapping[str, Sequence[str]], dtypes: Mapping[str, str]) -> Guess:
    """Inputs and outputs of `subject`.

    Args:
        shapes: parameter → names of its dimensions, where the user said so.
        dtypes: parameter → dtype, where the user said so; float32 else, int64 for what is named like an index.

    Raises:
        UserError: no guess holds; it quotes what the function said of the likeliest.
    """
    for given in (*shapes, *dtypes):
        if given not in subject.parameters:
            expected = ", ".join(subject.parameters)
            raise UserError(f"`{subject.name}` has no parameter `{given}`.", file=subject.file, found=given, expected=expected)
    first = ""
    for dims in _candidates(subject, shapes):
        inputs = tuple(_parameter(name, one, dtypes) for name, one in zip(subject.parameters, dims, strict=True))
        sizes = tuple(dict.fromkeys(dim for parameter in inputs for dim in parameter.dims if dim.isidentifier())) or ("n",)
        if len(sizes) > len(TRIALS[0]):
            raise UserError("There are too many sizes.", file=subject.file, found=", ".join(sizes), expected=f"at most {len(TRIALS[0])}")
        try:
            return Guess(sizes, inputs, *_outputs(subject, sizes, inputs))
        except (NameError, ImportError) as error:  # no shapes make this right
            frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename == str(subject.file)]
            raise UserError(
                f"`{subject.name}` cannot be run.", file=subject.file, line=frames[-1].lineno if frames else None,
                found=f"{type(error).__name__}: {error}", remedy="Correct it.",
            ) from error  # fmt: skip
        except Exception as error:
            tried = ", ".join(f"{parameter.name}[{', '.join(parameter.dims)}]" for parameter in inputs)
            first = first or f"{type(error).__name__}: {error} (with {tried})"
    raise UserError(
        f"The shapes of `{subject.name}` could not be guessed.",
        file=subject.file,
        found=first.replace("\n", " ")[:300],
        expected="a function of arrays that returns one array, or a tuple of arrays",
        remedy="Say what its arrays look like, e.g. " + " ".join(f"--shape {name}=rows,cols" for name in subject.parameters[:2]) + ".",
    )


def _candidates(subject: Subject, shapes: Mapping[str, Sequence[str]]) -> Iterator[tuple[tuple[str, ...], ...]]:
    options = []
    for position, name in enumerate(subject.parameters):
        if name in shapes:
            options.append([tuple(shapes[name])])
        elif _like(name, WEIGHTS) and position:
            options.append([("cols",), ("rows", "cols"), ("cols", "outs"), ("rows",), ()])
        elif _like(name, INDICES):
            options.append([("rows",), ("rows", "cols")])
        else:
            options.append([*PREFERRED, ("batch", "rows", "cols"), ("cols", "outs")] if len(subject.parameters) < 5 else list(PREFERRED))
    yield from sorted(itertools.product(*options), key=lambda dims: sum(list(o).index(d) for o, d in zip(options, dims, strict=True)))


def _like(name: str, words: Sequence[str]) -> bool:
    return any(part in words for part in name.lower().split("_"))


def _parameter(name: str, dims: tuple[str, ...], dtypes: Mapping[str, str]) -> Parameter:
    if _like(name, INDICES) and dtypes.get(name, "int64").startswith(("int", "uint")):
        return Parameter(name, dtypes.get(name, "int64"), dims, "index", "rows")
    role = "weight" if _like(name, WEIGHTS) else "positive" if _like(name, POSITIVE) else "data"
    return Parameter(name, dtypes.get(name, "float32"), dims, role)


def _outputs(subject: Subject, sizes: tuple[str, ...], inputs: tuple[Parameter, ...]) -> tuple[tuple[Result, ...], tuple[str, ...]]:
    """Outputs of the function under a guess, and notes. Raises whatever the function raises, or ValueError."""
    found: list[list[tuple[int, ...]]] = []
    values: list[dict[str, int]] = []
    arrays: list[NDArray[Any]] = []
    for trial in TRIALS:
        extents = dict(zip(sizes, trial, strict=False))
        arrays = call(subject, inputs, extents, double=False)
        found.append([array.shape for array in arrays])
        values.append(extents)
    if len({len(one) for one in found}) != 1 or not arrays:
        raise ValueError("the number of outputs changes")
    names = ["y"] if len(arrays) == 1 else [f"y{number}" for number in range(len(arrays))]
    taken = {*sizes, *(parameter.name for parameter in inputs)}
    results = []
    for number, (name, array) in enumerate(zip(names, arrays, strict=True)):
        while name in taken:
            name = f"{name}_out"
        dims = _expressions([one[number] for one in found], values)
        results.append(Result(name, str(array.dtype), dims))
    notes = []
    floats = [parameter.dtype for parameter in inputs if parameter.dtype.startswith("float")]
    for result, array in zip(results, call(subject, inputs, values[-1], double=True), strict=True):
        if floats and array.dtype.kind == "f" and array.dtype != np.float64:
            notes.append(
                f"{subject.name} returns {array.dtype} for float64 inputs: take that cast out of problem.py, it spoils the reference"
            )
        if floats and array.dtype.kind == "f" and result.dtype == "float64" and "float64" not in floats:
            notes.append(f"{subject.name} returns float64 for {floats[0]} inputs; the output is declared {floats[0]}")
    kind = floats[0] if floats else ""
    declared = [Result(r.name, kind if kind and r.dtype == "float64" and "float64" not in floats else r.dtype, r.dims) for r in results]
    return tuple(declared), tuple(notes)


def call(subject: Subject, inputs: Sequence[Parameter], extents: Mapping[str, int], *, double: bool) -> list[NDArray[Any]]:
    """The function's outputs for random arrays; in float64 where `double`."""
    rng = np.random.default_rng(0)
    arguments: list[Any] = []
    for parameter in inputs:
        shape = tuple(extents[dim] if dim in extents else int(dim) for dim in parameter.dims)
        if parameter.role == "index":
            arguments.append(rng.integers(0, extents.get(parameter.below, 3), shape).astype(parameter.dtype))
            continue
        drawn = rng.standard_normal(shape)
        drawn = np.exp(0.5 * drawn) if parameter.role == "positive" else drawn
        kind = "float64" if double and parameter.dtype.startswith("float") else parameter.dtype
        arguments.append(np.asarray(drawn if kind.startswith("float") else 10 * drawn).astype(kind))
    if subject.library == "torch":
        import torch

        arguments = [torch.from_numpy(np.asarray(array)) for array in arguments]
    before = [np.array(array) for array in arguments]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        returned = subject.function(*arguments)
    if any(not np.array_equal(np.asarray(array), old, equal_nan=True) for array, old in zip(arguments, before, strict=True)):
        raise ValueError("it changes its arguments; it has to leave them alone and return its result")
    several = returned if isinstance(returned, (tuple, list)) else (returned,)
    outputs = [np.asarray(each) for each in several]
    if any(array.dtype.kind not in "fiub" for array in outputs):
        raise ValueError("it returns something that is no array of numbers")
    return outputs


def _expressions(shapes: list[tuple[int, ...]], values: list[dict[str, int]]) -> tuple[str, ...]:
    """Each extent as an expression of the sizes that holds in every trial. Raises ValueError when there is none."""
    if len({len(shape) for shape in shapes}) != 1:
        raise ValueError("the number of dimensions changes")
    return tuple(_expression([shape[axis] for shape in shapes], values) for axis in range(len(shapes[0])))


def _expression(extents: list[int], values: list[dict[str, int]]) -> str:
    names = list(values[0])
    options = [*names, *(f"{a} * {b}" for a, b in itertools.combinations_with_replacement(names, 2))]
    options += [f"{name} {sign} {k}" for name in names for sign in "+-*" for k in (1, 2, 3, 4)]
    options += [f"{name} // {k}" for name in names for k in (2, 4)]
    options += [f"{a} + {b}" for a, b in itertools.combinations(names, 2)]
    if len(set(extents)) == 1:
        return str(extents[0])
    for option in options:
        if all(eval(option, {"__builtins__": {}}, dict(each)) == extent for each, extent in zip(values, extents, strict=True)):
            return option
    raise ValueError(f"an output extent ({', '.join(map(str, extents))}) is no simple expression of the sizes")
