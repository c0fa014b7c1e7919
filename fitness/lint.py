"""Whether a problem's checks catch wrong kernels, before anything is searched: a search finds every hole there is.

Zeros, a constant, a copied input, the last tile unwritten, values rounded one format coarser, 1 % of each data input drawn again and
the problem's own mutants each have to fail on some distribution; the baseline, and the plain seed where it is given, have to pass on all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archive.evaluation import Diagnostic
from fitness.distributions import DISTRIBUTIONS, draw, generator
from fitness.inputs import Case
from fitness.native import library
from fitness.problem import Problem, ProblemError
from fitness.rounding import coarser
from fitness.supply import CaseSupply
from fitness.verify import judge

__all__ = ["LintReport", "LintRow", "lint"]

Array = NDArray[Any]
Run = Callable[[Case], Sequence[Array]]
"""Outputs for a case's inputs."""

LAST_TILE = 16
"""Elements of the last axis that `last_tile_unwritten` leaves out, fewer where it is shorter."""
SHARE_REDRAWN = 0.01
BASELINE = "numpy"


@dataclass(frozen=True, slots=True)
class LintRow:
    """One check of a problem."""

    name: str
    must: str
    """`fail` for a wrong kernel, `pass` for a right one."""
    ok: bool
    where: str
    """Distributions on which it failed, or the first finding against a right one."""


@dataclass(frozen=True, slots=True)
class LintReport:
    """What the lint of one problem found."""

    problem: str
    rows: tuple[LintRow, ...]

    @property
    def ok(self) -> bool:
        """Whether the problem may be searched."""
        return all(row.ok for row in self.rows)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is refused, a sentence each; empty when it is not."""
        return tuple(
            f"`{row.name}` is wrong and passes every distribution: the problem's shapes, inputs or precision do not tell it from right."
            if row.must == "fail"
            else f"`{row.name}` is right and fails: {row.where}"
            for row in self.rows
            if not row.ok
        )

    def table(self) -> str:
        """The rows as aligned plain text."""
        header = ("check", "must", "", "where")
        cells = [header, *((row.name, row.must, "ok" if row.ok else "NOT", row.where) for row in self.rows)]
        widths = [max(len(line[column]) for line in cells) for column in range(3)]
        return "\n".join(
            "  ".join([*(text.ljust(width) for text, width in zip(line, widths, strict=False)), line[3]]).rstrip() for line in cells
        )


def lint(problem: Problem, run_seed: Run | None = None, *, draws: int = 5, supply: CaseSupply | None = None) -> LintReport:
    """Lints a problem on its small shapes.

    Args:
        run_seed: gives the plain seed's outputs for a case's inputs (its own copies), or None to leave the seed to the caller.
        draws: secret draws per distribution.

    Raises:
        ProblemError: the reference or the baseline cannot be run at all.
    """
    if BASELINE not in problem.baselines:
        file, expected = problem.folder / "baseline.py", f"a function `{BASELINE}`, which the checks are tried with"
        raise ProblemError(file, BASELINE, "none", expected, "For a problem of GPUs alone: evo run --verify-only.")
    cases = supply or CaseSupply(problem)
    drawn = [case for sizes in problem.small_shapes for case in cases.verification(sizes, DISTRIBUTIONS, draws)]
    rows = [_must_fail(problem, name, run, drawn) for name, run in _wrong_kernels(problem)]
    rows.append(_must_pass(problem, f"baseline {BASELINE}", _baseline(problem), drawn))
    if run_seed is not None:
        rows.append(_must_pass(problem, "seed", run_seed, drawn))
    return LintReport(problem.name, tuple(rows))


def _wrong_kernels(problem: Problem) -> Iterator[tuple[str, Run]]:
    yield "zeros", lambda case: [np.zeros_like(output) for output in _rounded(case)]
    yield "constant", _constant
    if any(_fits(problem, position) for position in range(len(problem.inputs))):
        yield "copied_input", _copied_input
    yield "last_tile_unwritten", _last_tile_unwritten
    for position, argument in enumerate(problem.outputs):
        if argument.is_float:
            yield f"coarser_{argument.name}", lambda case, position=position: _coarser(case, position)  # type: ignore[misc]
    for position, argument in enumerate(problem.inputs):
        if argument.role == "data":
            yield f"1%_of_{argument.name}_redrawn", lambda case, position=position: _redrawn(case, position)  # type: ignore[misc]
    for name, mutant in problem.mutants.items():
        yield f"mutant {name}", lambda case, name=name, mutant=mutant: _mutant(case, name, mutant)  # type: ignore[misc]


def _fits(problem: Problem, position: int) -> bool:
    return any(problem.inputs[position].elements(sizes) == problem.outputs[0].elements(sizes) for sizes in problem.small_shapes)


def _must_fail(problem: Problem, name: str, run: Run, cases: Sequence[Case]) -> LintRow:
    caught: dict[str, int] = {}
    for case in cases:
        # one failure per distribution is all there is to know
        if case.distribution not in caught and judge(problem, case, run(case)) is not None:
            caught[case.distribution] = case.number
    where = ", ".join(name for name in DISTRIBUTIONS if name in caught) or "passes everywhere"
    return LintRow(name, "fail", bool(caught), where)


def _must_pass(problem: Problem, name: str, run: Run, cases: Sequence[Case]) -> LintRow:
    for case in cases:
        finding: Diagnostic | None = judge(problem, case, run(case))
        if finding is not None:
            return LintRow(name, "pass", False, finding.message)
    return LintRow(name, "pass", True, f"{len(cases)} cases")


def _rounded(case: Case) -> list[Array]:
    """The right answer in the outputs' own types: what wrong kernels start from."""
    with np.errstate(all="ignore"):
        return [expected.astype(argument.dtype) for argument, expected in zip(case.problem.outputs, case.expected, strict=True)]


def _constant(case: Case) -> list[Array]:
    """The mean of the right answer everywhere: the best that a kernel can do without looking at its inputs."""
    outputs = _rounded(case)
    for output, expected in zip(outputs, case.expected, strict=True):
        finite = expected[np.isfinite(expected)]
        output[...] = np.asarray(finite.mean() if finite.size else 0).astype(output.dtype)
    return outputs


def _copied_input(case: Case) -> list[Array]:
    outputs = _rounded(case)
    for output in outputs:
        source = next((array for array in case.inputs if array.size == output.size), case.inputs[0])
        with np.errstate(all="ignore"):
            output[...] = np.resize(source, output.shape).astype(output.dtype)
    return outputs


def _last_tile_unwritten(case: Case) -> list[Array]:
    outputs = _rounded(case)
    for output in outputs:
        poison = np.empty_like(output)
        library().poison(poison)
        tail = slice(-min(LAST_TILE, output.shape[-1]), None) if output.ndim else Ellipsis
        output[..., tail] = poison[..., tail]
    return outputs


def _coarser(case: Case, position: int) -> list[Array]:
    outputs = _rounded(case)
    outputs[position] = coarser(outputs[position], case.problem.compute_dtype)
    return outputs


def _redrawn(case: Case, position: int) -> list[Array]:
    """Right for inputs of which 1 % (at least one element) were drawn again: a kernel that leaves some of its input out."""
    problem, rng = case.problem, generator(case.number.to_bytes(16, "little"))
    argument = problem.inputs[position]
    changed = case.inputs[position].copy()
    count = max(1, round(SHARE_REDRAWN * changed.size))
    places = rng.choice(changed.size, count, replace=False)
    # drawn from the densest distribution of its scale: a zero replaced by another zero changes nothing
    distribution = "normal" if case.distribution in ("sparse", "uniform") else case.distribution
    changed.reshape(-1)[places] = draw(argument, (count,), case.sizes, distribution, rng)
    inputs = [changed if number == position else array for number, array in enumerate(case.inputs)]
    exact = [array.astype(np.float64) if array.dtype.kind == "f" else array for array in inputs]
    with np.errstate(all="ignore"):
        return [
            np.ascontiguousarray(result).astype(output.dtype)
            for output, result in zip(problem.outputs, problem.reference(*exact), strict=True)
        ]


def _mutant(case: Case, name: str, mutant: Callable[..., Any]) -> list[Array]:
    problem = case.problem
    try:
        with np.errstate(all="ignore"):
            results = mutant(*case.inputs)
            results = results if isinstance(results, (tuple, list)) else (results,)
            return [
                np.ascontiguousarray(np.broadcast_to(result, output.shape(case.sizes))).astype(output.dtype)
                for output, result in zip(problem.outputs, results, strict=True)
            ]
    except Exception as error:
        found = f"{type(error).__name__}: {error} for {case.label}"
        raise ProblemError(
            problem.folder / "problem.py", f"mutants.{name}", found, "outputs shaped like the reference's", "Correct it."
        ) from error


def _baseline(problem: Problem) -> Run:
    function = problem.baseline(BASELINE)

    def run(case: Case) -> list[Array]:
        outputs = [np.empty_like(output) for output in _rounded(case)]
        for output in outputs:
            library().poison(output)
        try:
            with np.errstate(all="ignore"):
                function(*case.inputs, *outputs)
        except Exception as error:
            found = f"{type(error).__name__}: {error} for {case.label}"
            raise ProblemError(problem.baselines[BASELINE], BASELINE, found, "a function of inputs, then outputs", "Correct it.") from error
        return outputs

    return run
