"""Cases: secret inputs of one call, with the answer the referee expects.

Seeds come from the operating system's entropy, never from a run's seed, so no kernel and no search can foresee a case.
References are computed once per case, in float64. What a case forgives for ill-conditioned inputs (`Case.slack`) costs four more
references and can only make the verdict milder, so it is computed when an output would fail without it: the verdict is the same.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fitness.distributions import DISTRIBUTIONS, adapt, draw, generator
from fitness.problem import Problem, ProblemError, Sizes, shape_label
from fitness.rounding import MANTISSA

__all__ = ["DISTRIBUTIONS", "Case", "adopted_case", "make_case"]

Array = NDArray[Any]

SLACK_DRAWS = 4
MORE_DRAWS = 12
"""Further draws before an output is called wrong: where one pair of near-equal scores decides a row, four draws may all happen to move
both alike (one honest attention in twenty failed on x100 data)."""
SLACK_FACTOR = 8.0
ROUNDED_BYTES = 1 << 20
"""References of float32 outputs above this size are kept as float32. The rounding, 2^-24 relative, is under 0.6 % of the tightest limit."""
RANGE_SHARE = 0.1
"""Largest share of the output format's range that a finite reference may reach; inputs of role `data` are halved until it holds."""
_numbers = itertools.count()


@dataclass(frozen=True, eq=False)
class Case:
    """One call's inputs and what must come out. Arrays are read-only and in ABI order."""

    problem: Problem = field(repr=False)
    number: int
    """Unique in this process, also among cases that were forgotten."""
    sizes: Sizes
    label: str
    """`rows=4096,cols=1024`"""
    distribution: str
    inputs: tuple[Array, ...] = field(repr=False)
    expected: tuple[Array, ...] = field(repr=False)
    """Integer outputs in their own type; float ones in float64, or rounded to float32 where they are large (ROUNDED_BYTES)."""
    half_rms: tuple[NDArray[np.float64], ...] = field(repr=False)
    """Per output (rows,): half the root mean square of its finite elements along the last axis; empty for integers."""
    rms: tuple[float, ...] = field(repr=False)
    """Per output: root mean square of all finite elements; 0 for integers."""
    nbytes: int = 0
    """Memory that keeping the case takes."""

    @cached_property
    def slack(self) -> tuple[NDArray[np.float64], ...]:
        """Per output (rows,): 8 x the largest of |f64(x(1±2^-24)) - f64(x)| over the row and 4 draws. Costs 5 references, once.

        And 2^10 times the smallest normal number: what lies at the edge of the format may be flushed to zero, as NumPy's own
        float32 x / (1 + exp(-x)) is where exp overflows.
        """
        underflow = 2**10 * float(np.finfo(np.float64 if self.problem.compute_dtype == "float64" else np.float32).tiny)
        return tuple(SLACK_FACTOR * row + underflow for row in self._moved(SLACK_DRAWS))

    @cached_property
    def wider_slack(self) -> tuple[NDArray[np.float64], ...]:
        """The same over MORE_DRAWS draws more: asked for before an output is called wrong."""
        more = self._moved(MORE_DRAWS)
        return tuple(np.maximum(known, SLACK_FACTOR * row) for known, row in zip(self.slack, more, strict=True))

    @cached_property
    def declared_shift(self) -> tuple[NDArray[np.float64], ...]:
        """Per output (rows,): how far the reference moves, over MORE_DRAWS draws, when inputs are moved by half a unit of the last place
        that the declared compute type has: what a kernel that rounds them to it, as it may, may be off by."""
        return tuple(self._moved(MORE_DRAWS, 2.0 ** -(MANTISSA[self.problem.compute_dtype] + 1)))

    def _moved(self, draws: int, unit: float | None = None) -> list[NDArray[np.float64]]:
        """Per output (rows,): how far the reference moves, at the most, when every input is moved by half a unit in its last place,
        or by `unit` of itself."""
        unit = unit or (2.0**-53 if self.problem.compute_dtype == "float64" else 2.0**-24)
        rng = generator(os.urandom(16))
        exact = [_double(array) for array in self.inputs]
        centre = _reference(self.problem, exact, self.sizes)
        largest = [np.zeros(values.shape, np.float64) for values in self.half_rms]
        with np.errstate(all="ignore"):
            for _ in range(draws):
                moved = [
                    array * (1.0 + unit * (1 - 2 * rng.integers(0, 2, array.shape, dtype=np.int8)))
                    if argument.is_float and argument.role != "fixed"
                    else array
                    for argument, array in zip(self.problem.inputs, exact, strict=True)
                ]
                for row, there, here in zip(largest, _reference(self.problem, moved, self.sizes), centre, strict=True):
                    if row.size:
                        shift = np.abs(np.asarray(there, np.float64) - np.asarray(here, np.float64)).reshape(row.size, -1)
                        np.maximum(row, np.nan_to_num(shift, nan=0.0, posinf=0.0).max(axis=1), out=row)
        return largest


def _double(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _reference(problem: Problem, inputs: Sequence[Array], sizes: Sizes) -> tuple[Array, ...]:
    """The problem's reference, checked against the declared outputs. Raises ProblemError."""
    file = problem.folder / "problem.py"
    try:
        with np.errstate(all="ignore"):
            results = tuple(np.asarray(result) for result in problem.reference(*inputs))
    except Exception as error:
        found = f"{type(error).__name__}: {error} for {shape_label(sizes)}"
        raise ProblemError(file, "reference", found, "a function that takes the inputs as float64 arrays", "Correct it.") from error
    found = ", ".join(str(result.shape) for result in results)
    expected = ", ".join(f"{argument.name}{argument.shape(sizes)}" for argument in problem.outputs)
    if [result.shape for result in results] != [argument.shape(sizes) for argument in problem.outputs]:
        raise ProblemError(
            file, "reference", f"shapes {found} for {shape_label(sizes)}", expected, "Return one array per output, in their order."
        )
    for argument, result in zip(problem.outputs, results, strict=True):
        if argument.is_float != (result.dtype.kind == "f"):
            raise ProblemError(
                file, "reference", f"{result.dtype} for {argument.name}", f"a {argument.dtype} result", "Correct dtype or reference."
            )
    return results


def _range_limit(problem: Problem) -> float:
    formats = [np.finfo(argument.dtype).max for argument in problem.outputs if argument.is_float]
    if problem.compute_dtype == "float16":
        formats.append(np.finfo(np.float16).max)
    return RANGE_SHARE * float(min(formats, default=np.inf))


def _within_range(results: Sequence[Array], limit: float) -> bool:
    return all(result.dtype.kind != "f" or result.size == 0 or _largest(result) <= limit for result in results)


def _largest(values: Array) -> float:
    """The largest magnitude, NaNs left out; without a copy where there are none."""
    low, high = float(values.min()), float(values.max())
    return max(-low, high) if low == low else float(np.nanmax(np.abs(values), initial=0.0))


def draw_inputs(problem: Problem, sizes: Sizes, distribution: str, rng: np.random.Generator) -> list[Array]:
    """All inputs in ABI order. Raises ProblemError where the problem's own make_inputs is wrong."""
    own: dict[str, Any] = {}
    make = problem.make_inputs()
    if make is not None:
        own = make(rng, dict(sizes))
        unknown = set(own) - {argument.name for argument in problem.inputs} if isinstance(own, dict) else {repr(type(own))}
        if unknown:
            remedy = "Return a dict with a subset of the inputs; the others are drawn by role."
            raise ProblemError(problem.folder / "problem.py", "make_inputs", f"{sorted(unknown)}", "names of inputs", remedy)
    arrays = []
    for argument in problem.inputs:
        shape = argument.shape(sizes)
        if argument.name not in own:
            arrays.append(draw(argument, shape, sizes, distribution, rng))
            continue
        given = np.ascontiguousarray(own[argument.name])
        if given.shape != shape or given.dtype != np.dtype(argument.dtype):
            found = f"{argument.name}: {given.dtype}{given.shape}"
            raise ProblemError(
                problem.folder / "problem.py", "make_inputs", found, f"{argument.dtype}{shape}", "Correct its shape or dtype."
            )
        arrays.append(adapt(given, distribution, rng) if argument.role == "data" else given)
    return arrays


def make_case(problem: Problem, sizes: Sizes, distribution: str, *, entropy: Callable[[int], bytes] = os.urandom) -> Case:
    """Draws one case and computes its reference. Raises ProblemError where the reference cannot be had."""
    rng = generator(entropy(16))
    inputs = draw_inputs(problem, sizes, distribution, rng)
    limit = _range_limit(problem)
    results = _reference(problem, [_double(array) for array in inputs], sizes)
    drawn, halvings = inputs, 0
    while not _within_range(results, limit) and halvings < 64:
        # steps grow, so that an output that is infinite whatever the scale (a logarithm of zero) is recognised soon
        halvings = halvings * 2 or 1
        scale = 2.0**-halvings
        inputs = [
            (array * array.dtype.type(scale)) if argument.role == "data" and argument.is_float else array
            for argument, array in zip(problem.inputs, drawn, strict=True)
        ]
        results = _reference(problem, [_double(array) for array in inputs], sizes)
    if not _within_range(results, limit):
        inputs, results = drawn, _reference(problem, [_double(array) for array in drawn], sizes)
    return _finished(problem, sizes, distribution, inputs, results)


def _finished(problem: Problem, sizes: Sizes, distribution: str, inputs: Sequence[Array], results: Sequence[Array]) -> Case:
    expected: list[Array] = []
    half_rms: list[NDArray[np.float64]] = []
    rms: list[float] = []
    for argument, result in zip(problem.outputs, results, strict=True):
        if not argument.is_float:
            expected.append(np.ascontiguousarray(result).astype(argument.dtype))
            half_rms.append(np.empty(0))
            rms.append(0.0)
            continue
        values = np.ascontiguousarray(result, dtype=np.float64)
        rows = values.reshape(-1, values.shape[-1] if values.ndim else 1)
        square = np.einsum("rc,rc->r", rows, rows)
        counts: Any = rows.shape[1]
        if not np.isfinite(square).all():
            finite = np.isfinite(rows)
            square = np.where(finite, rows, 0.0).__pow__(2).sum(axis=1)
            counts = np.maximum(finite.sum(axis=1), 1)
        half_rms.append(0.5 * np.sqrt(square / counts))
        rms.append(float(np.sqrt(square.sum() / np.sum(np.broadcast_to(counts, square.shape)))))
        rounded = argument.dtype == "float32" and values.size * 4 > ROUNDED_BYTES
        with np.errstate(over="ignore", under="ignore"):
            expected.append(values.astype(np.float32) if rounded else values)
    return adopted_case(problem, sizes, distribution, inputs, expected, half_rms, rms)


def adopted_case(
    problem: Problem,
    sizes: Sizes,
    distribution: str,
    inputs: Sequence[Array],
    expected: Sequence[Array],
    half_rms: Sequence[NDArray[np.float64]],
    rms: Sequence[float],
) -> Case:
    """A case of arrays that were made already, which become read-only; see `Case` for what they are."""
    for array in (*inputs, *expected):
        array.flags.writeable = False
    nbytes = sum(array.nbytes for array in (*inputs, *expected, *half_rms))
    number, label = next(_numbers), shape_label(sizes)
    return Case(
        problem, number, dict(sizes), label, distribution, tuple(inputs), tuple(expected), tuple(half_rms), tuple(rms), nbytes
    )  # fmt: skip
