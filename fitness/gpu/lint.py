"""The lint of a problem for GPUs: `fitness.lint`, on torch tensors, against the device's own rule of right and wrong.

It needs torch and no device: small shapes are cheap on a processor. Imports torch lazily.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fitness.cache import Cache, content_key
from fitness.distributions import DISTRIBUTIONS
from fitness.gpu import compare
from fitness.gpu.cases import GpuCase, _draw, _reference, make_case
from fitness.gpu.slots import _INTEGER_WORDS, _NAN_WORDS, word_view
from fitness.lint import LAST_TILE, SHARE_REDRAWN, LintReport, LintRow
from fitness.problem import Problem, ProblemError
from fitness.protocol import EvaluationSettings
from fitness.rounding import MANTISSA, NEXT, round_mantissa

__all__ = ["BASELINE", "lint", "require"]

Run = Callable[[GpuCase], Sequence[Any]]
"""Outputs for a case's inputs."""

BASELINE = "gpu"
DRAWS = 2
KIND, RECIPE = "gpu-lint", "1"


def require(problem: Problem, settings: EvaluationSettings) -> None:
    """Raises `ProblemError` for a problem whose checks let a wrong kernel pass. What passed is remembered in the cache."""
    cache = Cache(settings.cache)
    key = content_key(RECIPE, problem.version)
    if cache.get(KIND, key) is not None:
        return
    report = lint(problem)
    if not report.ok:
        raise ProblemError(
            problem.folder / "problem.py", "mutants", "; ".join(report.reasons), "checks that tell wrong kernels from right ones",
            f"evo lint {problem.name} shows them all.",
        )  # fmt: skip
    cache.put(KIND, key, {"table.txt": report.table().encode()})


def lint(problem: Problem, *, device: str = "cpu", draws: int = DRAWS) -> LintReport:
    """Lints a problem on its small shapes. draws: secret draws per distribution and shape. Raises `ProblemError`."""
    cases = [
        make_case(problem, sizes, distribution, device=device)
        for sizes in problem.small_shapes
        for distribution in DISTRIBUTIONS
        for _ in range(draws)
    ]
    rows = [_must_fail(problem, name, run, cases) for name, run in _wrong_kernels(problem)]
    rows.append(_must_pass(problem, f"baseline {BASELINE}", _baseline(problem), cases))
    return LintReport(problem.name, tuple(rows))


def _must_fail(problem: Problem, name: str, run: Run, cases: Sequence[GpuCase]) -> LintRow:
    caught: set[str] = set()
    for case in cases:
        # one failure per distribution is all there is to know
        if case.distribution not in caught and compare.judge(problem, case, run(case)) is not None:
            caught.add(case.distribution)
    where = ", ".join(name for name in DISTRIBUTIONS if name in caught) or "passes everywhere"
    return LintRow(name, "fail", bool(caught), where)


def _must_pass(problem: Problem, name: str, run: Run, cases: Sequence[GpuCase]) -> LintRow:
    for case in cases:
        finding = compare.judge(problem, case, run(case))
        if finding is not None:
            return LintRow(name, "pass", False, finding.message)
    return LintRow(name, "pass", True, f"{len(cases)} cases")


def _wrong_kernels(problem: Problem) -> Iterator[tuple[str, Run]]:
    yield "zeros", lambda case: [output.zero_() for output in _rounded(case)]
    yield "constant", _constant
    if any(a.elements(sizes) == problem.outputs[0].elements(sizes) for a in problem.inputs for sizes in problem.small_shapes):
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


def _as_outputs(case: GpuCase, results: Sequence[Any]) -> list[Any]:
    """Results in the outputs' own types and shapes, in memory of their own."""
    import torch

    return [
        torch.as_tensor(result).to(getattr(torch, output.dtype)).expand(output.shape(case.sizes)).clone()
        for output, result in zip(case.problem.outputs, results, strict=True)
    ]


def _rounded(case: GpuCase) -> list[Any]:
    """The right answer in the outputs' own types: what wrong kernels start from."""
    return _as_outputs(case, case.expected)


def _constant(case: GpuCase) -> list[Any]:
    """The mean of the right answer everywhere: the best that a kernel can do without looking at its inputs."""
    import torch

    outputs = _rounded(case)
    for output, expected in zip(outputs, case.expected, strict=True):
        finite = expected[torch.isfinite(expected)].double()
        output.fill_(finite.mean().to(output.dtype) if finite.numel() else 0)
    return outputs


def _copied_input(case: GpuCase) -> list[Any]:
    outputs = _rounded(case)
    for output in outputs:
        source = next((array for array in case.inputs if array.numel() == output.numel()), case.inputs[0]).reshape(-1)
        repeated = source.repeat(-(-output.numel() // max(1, source.numel())))[: output.numel()]
        output.copy_(repeated.to(output.dtype).reshape(output.shape))
    return outputs


def _last_tile_unwritten(case: GpuCase) -> list[Any]:
    outputs = _rounded(case)
    for argument, output in zip(case.problem.outputs, outputs, strict=True):
        words = word_view(output)
        poison = _NAN_WORDS.get(argument.dtype, _INTEGER_WORDS[output.element_size()])
        if output.ndim:
            words[..., -min(LAST_TILE, output.shape[-1]) :] = poison
        else:
            words.fill_(poison)
    return outputs


def _coarser(case: GpuCase, position: int) -> list[Any]:
    import torch

    outputs = _rounded(case)
    output = outputs[position]
    allowed = min((case.problem.outputs[position].dtype, case.problem.compute_dtype), key=lambda name: MANTISSA[name])
    values = round_mantissa(output.double().cpu().numpy(), MANTISSA[NEXT[allowed]])
    outputs[position] = torch.from_numpy(values).to(output.device, output.dtype)
    return outputs


def _redrawn(case: GpuCase, position: int) -> list[Any]:
    """Right for inputs of which 1 % (at least one element) were drawn again: a kernel that leaves some of its input out."""
    import torch

    problem, device = case.problem, case.inputs[position].device
    rng = torch.Generator(device=device)
    rng.manual_seed(case.number)
    changed = case.inputs[position].clone()
    count = max(1, round(SHARE_REDRAWN * changed.numel()))
    places = torch.randperm(changed.numel(), device=device, generator=rng)[:count]
    # drawn from the densest distribution of its scale: a zero replaced by another zero changes nothing
    distribution = "normal" if case.distribution in ("sparse", "uniform") else case.distribution
    drawn = _draw(problem.inputs[position], case.sizes, distribution, rng, str(device)).reshape(-1)
    changed.reshape(-1)[places] = drawn[places]
    inputs = [changed if number == position else array for number, array in enumerate(case.inputs)]
    return _as_outputs(case, _reference(problem, inputs))


def _mutant(case: GpuCase, name: str, mutant: Callable[..., Any]) -> list[Any]:
    exact = [array.float() if array.is_floating_point() else array for array in case.inputs]
    try:
        results = mutant(*exact)
        return _as_outputs(case, results if isinstance(results, (tuple, list)) else (results,))
    except Exception as error:
        found = f"{type(error).__name__}: {error} for {case.label}"
        raise ProblemError(
            case.problem.folder / "problem.py", f"mutants.{name}", found, "outputs shaped like the reference's", "Correct it."
        ) from error


def _baseline(problem: Problem) -> Run:
    function = problem.baseline(BASELINE)

    def run(case: GpuCase) -> list[Any]:
        import torch

        try:
            with torch.no_grad():
                results = function(*case.inputs)
            return _as_outputs(case, results if isinstance(results, (tuple, list)) else (results,))
        except Exception as error:
            found = f"{type(error).__name__}: {error} for {case.label}"
            raise ProblemError(
                problem.baselines[BASELINE], BASELINE, found, "a function of inputs that returns outputs", "Correct it."
            ) from error

    return run
