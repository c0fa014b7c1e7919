"""The lint of a foreign problem: whether its own data and outputs tell a right kernel from a wrong one.

Everything is computed on the CPU, on data scaled down until that is cheap; shapes and costs at full size come from a run without data.
What is found therefore holds for the computation as it is written, at the sizes named, and not for what only appears at full size (an
overflow, an accumulation so long that single precision fails). Those are found by the same checks when a search opens the problem.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from fitness.adapters.affordable import TooLarge, affordable, dear, fair_version
from fitness.adapters.foreign import AS_DRAWN, Foreign, itemsize, problem_of
from fitness.adapters.signature import signature_of
from fitness.adapters.structure import varies
from fitness.adapters.subject import Subject, SubjectError
from fitness.adapters.wrong import Wrong, coarse_kernels, finds, wrong_kernels
from fitness.problem import Problem, ProblemError, shape_label

__all__ = ["Verdict", "examine"]

DRAWS = 2


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
            _checked(problem_of(small), log, few=dear(signature))
        except _Finding as finding:
            larger = fair_version(subject, full) if finding.kind in ("degenerate", "imprecise") and small.scaling() else None
            if larger is None or larger[0].scaling() == small.scaling():
                raise
            # it may be so at this scale alone
            facts["scaling"] = larger[0].scaling()
            log.checks.clear()
            log.notes[:] = subject.notes()
            _checked(problem_of(larger[0]), log, few=dear(larger[1]))
    except _Finding as finding:
        return _verdict(subject, facts, log, start, kind=finding.kind, reason=finding.reason)
    except TooLarge as error:
        return _verdict(subject, facts, log, start, kind="too_large", reason=str(error))
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
    @functools.cache
    def more() -> list[Any]:
        """What an expensive problem is tried on before it is blamed."""
        others = [each for each in ("x100", "normal") if few and varies(foreign.kinds, each) and foreign.sound(label, "cpu", each)]
        return _cases(problem, others, 1)

    for name, wrong, meaning in wrong_kernels(problem):
        _must_fail(problem, name, wrong, cases, meaning, more)
    log.checks.append("zeros, a constant, a copied input, the answer to other data and 1 % of each input ignored are all noticed")
    for name, wrong in coarse_kernels(problem):
        if not any(finds(problem, case, wrong) for case in cases[: 1 if few else None]):
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


def _must_fail(problem: Problem, name: str, wrong: Wrong, cases: Sequence[Any], meaning: str, more: Callable[[], list[Any]]) -> None:
    if not any(finds(problem, case, wrong) for case in cases) and not any(finds(problem, case, wrong) for case in more()):
        raise _Finding("degenerate", f"{name} would pass as right: {meaning}")
