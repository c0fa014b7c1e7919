"""The lint of a foreign problem: whether its own data and outputs tell a right kernel from a wrong one.

Everything is computed on the CPU, on data scaled down until that is cheap; shapes and costs at full size come from a run without data.
What is found therefore holds for the computation as it is written, at the sizes named, and not for what only appears at full size (an
overflow, an accumulation so long that single precision fails). Those are found by the same checks when a search opens the problem.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fitness.adapters.foreign import AS_DRAWN, Foreign, itemsize, problem_of
from fitness.adapters.signature import Signature, signature_of
from fitness.adapters.subject import Subject, SubjectError
from fitness.problem import Problem, ProblemError, shape_label

__all__ = ["Verdict", "affordable", "examine"]

CHEAP = (1e8, 1.5e6)
"""Floating-point operations and elements written, a call, that all checks are made with."""
FAIR = (3e9, 1.5e8)
"""The same up to which the most important checks are made for a version that is less scaled down."""
BEARABLE = (2e10, 4e8)
"""The same up to which they are made at all."""
DRAWS = 2
SHARE = 0.01
PARAMETERS = 1 << 28
"""Parameters of a module that is built here at most."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one file. `searchable` rests on `checks`, made at the sizes of `scaling` (empty: full size)."""

    name: str
    searchable: bool
    reason: str = ""
    """Why it is not searchable."""
    kind: str = "searchable"
    """`searchable`, `degenerate`, `random`, `stateful`, `imprecise`, `unreadable`, `too_large`, `missing`, `timeout` or `crash`."""
    scaling: str = ""
    shapes: str = ""
    nbytes: int = 0
    """Inputs and outputs of one call at full size."""
    checks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0

    def facts(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class _Finding(SubjectError):
    kind: str
    reason: str

    def __str__(self) -> str:
        return self.reason


@dataclass
class _Log:
    checks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def examine(subject: Subject) -> Verdict:
    """Runs the file, several hundred times on small data. Raises nothing that the file raises."""
    start, log = time.perf_counter(), _Log()
    facts: dict[str, Any] = {}
    log.notes.extend(subject.notes())
    try:
        full = signature_of(subject, subject.shapes[0])
        size = sum(leaf.elements * itemsize(leaf) for leaf in (*full.inputs, *full.outputs))
        shapes = " ".join(str(list(leaf.shape)) for leaf in full.inputs) + " → " + " ".join(str(list(leaf.shape)) for leaf in full.outputs)
        facts |= {"nbytes": size, "shapes": shapes}
        small, signature = affordable(subject, full)
        facts["scaling"] = small.scaling()
        try:
            _checked(problem_of(small), log, few=_dear(signature))
        except _Finding as finding:
            larger = _fair(subject, full) if finding.kind in ("degenerate", "imprecise") and small.scaling() else None
            if larger is None or larger[0].scaling() == small.scaling():
                raise
            # it may be so at this scale alone
            facts["scaling"] = larger[0].scaling()
            log.checks.clear()
            log.notes[:] = subject.notes()
            _checked(problem_of(larger[0]), log, few=_dear(larger[1]))
    except _Finding as finding:
        return _verdict(subject, facts, log, start, kind=finding.kind, reason=finding.reason)
    except ProblemError as error:
        return _verdict(subject, facts, log, start, kind="unreadable", reason=error.found)
    except SubjectError as error:
        kind = "missing" if "not installed here" in str(error) else "unreadable"
        return _verdict(subject, facts, log, start, kind=kind, reason=str(error))
    except MemoryError:
        return _verdict(subject, facts, log, start, kind="too_large", reason="it takes more memory than a lint is given")
    except Exception as error:
        reason = f"it fails on the CPU: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if "allocate memory" in reason or "alloc" in reason:
            return _verdict(subject, facts, log, start, kind="too_large", reason="it takes more memory than a lint is given")
        return _verdict(subject, facts, log, start, kind="unreadable", reason=reason)
    return _verdict(subject, facts, log, start)


def _verdict(subject: Subject, facts: dict[str, Any], log: _Log, start: float, kind: str = "searchable", reason: str = "") -> Verdict:
    return Verdict(
        subject.name, not reason, reason, kind, checks=tuple(log.checks), notes=tuple(log.notes),
        seconds=time.perf_counter() - start, **facts,
    )  # fmt: skip


def affordable(subject: Subject, full: Signature) -> tuple[Subject, Signature]:
    """The least scaled-down version that is cheap, with the module as it is if that is fair; else the cheapest that is bearable.

    Raises `_Finding`.
    """
    best: tuple[float, Subject, Signature] | None = None
    fair: tuple[Subject, Signature] | None = None
    for version in subject.scaled():
        try:
            signature = full if version is subject else signature_of(version, version.shapes[0])
        except SubjectError:
            continue  # these sizes do not go together
        if signature.parameters > PARAMETERS:
            continue
        if fair is not None and fair[1].parameters == full.parameters != signature.parameters:
            return fair  # rather more to compute than another module
        if signature.flops <= CHEAP[0] and signature.touched <= CHEAP[1]:
            return version, signature
        if fair is None and signature.flops <= FAIR[0] and signature.touched <= FAIR[1]:
            fair = version, signature
        cost = max(signature.flops / BEARABLE[0], signature.touched / BEARABLE[1])
        if best is None or cost < best[0]:
            best = cost, version, signature
    if fair is not None:
        return fair
    if best is not None and best[0] <= 1:
        return best[1], best[2]
    cheapest = full if best is None else best[2]
    text = f"too large for this machine: at the smallest sizes that fit together a call takes {cheapest.flops:.1e} operations"
    raise _Finding("too_large", f"{text} and {cheapest.parameters:.1e} parameters")


def _dear(signature: Signature) -> bool:
    return signature.flops > CHEAP[0] or signature.touched > CHEAP[1]


def _fair(subject: Subject, full: Signature) -> tuple[Subject, Signature] | None:
    """The least scaled-down version that is fair."""
    for version in subject.scaled():
        with contextlib.suppress(SubjectError):
            signature = full if version is subject else signature_of(version, version.shapes[0])
            if signature.flops <= FAIR[0] and signature.touched <= FAIR[1] and signature.parameters <= PARAMETERS:
                return version, signature
    return None


def _checked(problem: Problem, log: _Log, *, few: bool) -> None:
    """Raises `_Finding`."""
    foreign = problem.foreign
    assert foreign is not None
    label = shape_label(problem.shapes[0])
    _repeatable(foreign, label, log)
    log.checks.append("the same data give the same outputs, whatever was drawn and called before")
    distributions = [AS_DRAWN]
    if not few:
        admitted = foreign.admitted(label, "cpu")
        distributions += sorted(admitted - {AS_DRAWN})
    else:
        log.notes.append("a call is expensive even when scaled down: data as the file draws them only, one draw")
    log.checks.append(f"data: as the file draws them{''.join(', ' + each for each in distributions[1:])}")
    cases = _cases(problem, distributions, 1 if few else DRAWS)
    _eager(problem, cases[: 1 if few else 3])
    log.checks.append("the file's own single precision is right")
    for name, wrong, meaning in _wrong_kernels(problem):
        _must_fail(problem, name, wrong, cases, meaning)
    log.checks.append("zeros, a constant, a copied input, the answer to other data and 1 % of each input ignored are all noticed")
    for name, wrong in _coarse(problem):
        if not any(_finds(problem, case, wrong) for case in cases[: 1 if few else None]):
            log.notes.append(f"{name} would pass: precision is not what tells kernels of this problem apart")


def _repeatable(foreign: Foreign, label: str, log: _Log) -> None:
    """Raises `_Finding` where a call depends on more than its inputs."""
    import torch

    one, other = (foreign.drawn(label, "cpu", int.from_bytes(os.urandom(6), "little")) for _ in range(2))
    exact = [[each.double() if each.is_floating_point() else each for each in drawn] for drawn in (one, other)]

    def call(data: list[Any], seed: int) -> tuple[Any, ...]:
        torch.manual_seed(seed)
        return foreign.reference(*(each.clone() for each in data))

    try:
        call(exact[1], 1)  # builds the module
        first = call(exact[0], 1)
    except Exception as error:
        text = f"it does not compute in float64, which answers are judged by: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise _Finding("imprecise", text) from error
    if not _equal(first, call(exact[0], 2)):
        if _equal(first, call(exact[0], 1)):
            drawing = _random_operators(foreign, exact[0]) or "outside torch"
            raise _Finding("random", f"its forward pass draws random numbers ({drawing}): no output is the right one")
        raise _Finding("stateful", "it keeps state between calls: the same data give other outputs the next time")
    call(exact[1], 1)
    if not _equal(first, call(exact[0], 1)):
        raise _Finding("stateful", "it keeps state between calls: its outputs depend on the data of earlier calls")
    drawing = _random_operators(foreign, exact[0])
    if drawing:
        log.notes.append(f"its forward pass draws random numbers ({drawing}), which do not show in its outputs")
    if not all(bool(torch.isfinite(each).all()) for each in first if each.is_floating_point()):
        raise _Finding("degenerate", "its outputs are not finite on its own data")


def _equal(one: Sequence[Any], other: Sequence[Any]) -> bool:
    import torch

    return all(torch.equal(a, b) or bool(torch.allclose(a, b, rtol=1e-9, atol=0, equal_nan=True)) for a, b in zip(one, other, strict=True))


def _random_operators(foreign: Foreign, data: list[Any]) -> str:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found: dict[str, None] = {}

    class Watching(TorchDispatchMode):  # type: ignore[misc]
        def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if torch.Tag.nondeterministic_seeded in function.tags:
                found[str(function).removeprefix("aten.")] = None
            return function(*args, **(kwargs or {}))

    with Watching():
        foreign.reference(*(each.clone() for each in data))
    return ", ".join(found)


def _cases(problem: Problem, distributions: Sequence[str], draws: int) -> list[Any]:
    from fitness.gpu.cases import make_case

    return [make_case(problem, problem.shapes[0], each, device="cpu") for each in distributions for _ in range(draws)]


def _eager(problem: Problem, cases: Sequence[Any]) -> None:
    from fitness.gpu import compare

    assert problem.foreign is not None
    for case in cases:
        own = [each.contiguous() for each in problem.foreign.results(case.inputs, double=False)]
        finding = compare.judge(problem, case, own)
        if finding is not None:
            text = f"its own computation is not right in single precision, so no kernel could be: {finding.message[:400]}"
            raise _Finding("imprecise", text)


Wrong = Callable[[Any], list[Any]]


def _rounded(case: Any) -> list[Any]:
    import torch

    return [each.to(getattr(torch, a.dtype), copy=True) for a, each in zip(case.problem.outputs, case.expected, strict=True)]


def _finds(problem: Problem, case: Any, wrong: Wrong) -> bool:
    from fitness.gpu import compare

    return compare.judge(problem, case, wrong(case)) is not None


def _must_fail(problem: Problem, name: str, wrong: Wrong, cases: Sequence[Any], meaning: str) -> None:
    if not any(_finds(problem, case, wrong) for case in cases):
        raise _Finding("degenerate", f"{name} would pass as right: {meaning}")


def _wrong_kernels(problem: Problem) -> Iterator[tuple[str, Wrong, str]]:
    import torch

    yield "a kernel that writes zeros", lambda case: [torch.zeros_like(each) for each in _rounded(case)], "the outputs are always 0"
    if any(argument.elements(problem.shapes[0]) > 1 for argument in problem.outputs):
        yield "a kernel that writes one constant", _constant, "the outputs are the same everywhere"
    if any(a.shape(problem.shapes[0]) == problem.outputs[0].shape(problem.shapes[0]) for a in problem.inputs):
        yield "a kernel that copies an input", _copied, "on these data there is nothing to compute"
    yield "the answer to other data", _stale, "the outputs do not depend on the inputs"
    assert problem.foreign is not None
    one, other = (problem.foreign.drawn(shape_label(problem.shapes[0]), "cpu", seed) for seed in (1, 2))
    for position, argument in enumerate(problem.inputs):
        if torch.equal(one[position], other[position]):
            continue  # the same in every draw: there are no other data of it
        yield (
            f"a kernel that ignores 1 % of {argument.name} ({list(argument.shape(problem.shapes[0]))})",
            lambda case, position=position: _redrawn(case, position, SHARE),  # type: ignore[misc]
            _why_ignored(problem, position),
        )


def _constant(case: Any) -> list[Any]:
    import torch

    return [torch.full_like(each, each.double().mean().item() if each.is_floating_point() else each.double().mean().round().item())
            if each.numel() else each for each in _rounded(case)]  # fmt: skip


def _copied(case: Any) -> list[Any]:
    outputs = _rounded(case)
    for output in outputs:
        source = next((each for each in case.inputs if each.shape == output.shape), None)
        if source is not None:
            output.copy_(source)
    return outputs


def _other(case: Any) -> list[Any]:
    """Other data of the same shape and distribution."""
    foreign = case.problem.foreign
    return list(foreign.varied(case.label, case.distribution, "cpu", int.from_bytes(os.urandom(6), "little")))


def _answer(case: Any, inputs: Sequence[Any]) -> list[Any]:
    import torch

    results = case.problem.foreign.reference(*[each.double() if each.is_floating_point() else each for each in inputs])
    return [each.to(getattr(torch, a.dtype)) for a, each in zip(case.problem.outputs, results, strict=True)]


def _stale(case: Any) -> list[Any]:
    return _answer(case, _other(case))


def _redrawn(case: Any, position: int, share: float) -> list[Any]:
    """Right for inputs of which a share (one element at least) was drawn again."""
    import torch

    changed, fresh = case.inputs[position].clone(), _other(case)[position]
    count = max(1, round(share * changed.numel()))
    places = torch.randperm(changed.numel())[:count]
    changed.view(-1)[places] = fresh.reshape(-1)[places]
    return _answer(case, [changed if number == position else each for number, each in enumerate(case.inputs)])


def _why_ignored(problem: Problem, position: int) -> str:
    """Whether the outputs depend on that input at all; found out when it matters."""
    return _Late(problem, position)  # type: ignore[return-value]


class _Late:
    """A reason that costs something to find out."""

    def __init__(self, problem: Problem, position: int) -> None:
        self._problem, self._position = problem, position

    def __str__(self) -> str:
        case = _cases(self._problem, [AS_DRAWN], 1)[0]
        if _finds(self._problem, case, lambda case: _redrawn(case, self._position, 1.0)):
            return "a part of that input hardly shows in the outputs"
        return "the outputs do not depend on that input"


def _coarse(problem: Problem) -> Iterator[tuple[str, Wrong]]:
    import torch

    if problem.compute_dtype == "float32" and any(argument.is_float for argument in problem.inputs):
        yield (
            "a kernel that rounds its inputs to bfloat16",
            lambda case: _answer(case, [x.to(torch.bfloat16).to(x.dtype) if x.is_floating_point() else x for x in case.inputs]),
        )
