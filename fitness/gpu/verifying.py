"""Verification without a device: a Triton kernel is built for a named architecture and run in Triton's interpreter on small shapes."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from archive.evaluation import Diagnostic, Outcome
from archive.kernel import Kernel
from archive.tunables import Value
from fitness.distributions import DISTRIBUTIONS
from fitness.gpu import compare, wire
from fitness.gpu.cases import GpuCase, make_case
from fitness.gpu.colony import Child, Colony
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings
from fitness.sandbox import choose
from fitness.targets.base import BuildFailure
from fitness.targets.triton import TritonTarget

__all__ = ["Verdict", "verify"]

PATIENCE = 300.0
"""Seconds one interpreted call may take."""

TRUNCATED = 2.0
"""Triton's interpreter truncates where a device rounds, so an honest kernel may be off by twice as much."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a kernel without a device."""

    outcome: Outcome
    diagnostics: tuple[Diagnostic, ...] = ()
    profile: dict[str, Value] = field(default_factory=dict)
    calls: int = 0
    """Interpreted calls that were right."""


def verify(kernel: Kernel, problem: Problem, settings: EvaluationSettings) -> Verdict:
    """Policy, build for `settings.architecture`, description, and every distribution on every small shape in the interpreter.

    Raises `TargetError`, `ProblemError`, `fitness.failure.RefereeError`.
    """
    target = TritonTarget(settings, problem)
    colony = Colony(choose(settings.sandbox), device=False, interpret=True)
    try:
        refused = target.policy(kernel)
        if refused is not None:
            return Verdict(Outcome.REJECTED, (refused,))
        artifact = target.build(kernel)
        profile = target.describe(artifact, kernel, problem)
        child = colony.child("interpret")
        wire.send(child.channel, {"source": kernel.source})
        calls = 0
        for sizes in problem.small_shapes:
            for distribution in DISTRIBUTIONS:
                case = make_case(problem, sizes, distribution, device="cpu")
                finding = _interpreted(child, problem, case)
                if finding is not None:
                    return Verdict(Outcome.WRONG if finding.stage == "verify" else Outcome.CRASH, (finding,), profile, calls)
                calls += 1
        return Verdict(Outcome.OK, (), profile, calls)
    except BuildFailure as failure:
        return Verdict(failure.outcome, (failure.diagnostic,))
    finally:
        target.close()
        colony.close()


def _interpreted(child: Child, problem: Problem, case: GpuCase) -> Diagnostic | None:
    """One call in the interpreter; None when it was right."""
    import torch

    arguments = [{"role": "input", "dtype": a.dtype, "shape": list(a.shape(case.sizes))} for a in problem.inputs]
    arguments += [{"role": "output", "dtype": a.dtype, "shape": list(a.shape(case.sizes))} for a in problem.outputs]
    blobs = [wire.blob(array.contiguous().view(torch.uint8).numpy().tobytes()) for array in case.inputs]
    try:
        wire.send(child.channel, {"sizes": list(case.sizes.values()), "arguments": arguments}, blobs)
        answer, fds = child.answer(PATIENCE)
    except wire.Closed:
        return Diagnostic("load", "died", f"The interpreter's process ended. {child.said()[-400:]}")
    except TimeoutError:
        return Diagnostic("load", "call_timeout", f"An interpreted call did not end within {PATIENCE:g} s.")
    finally:
        for fd in blobs:
            os.close(fd)
    if "error" in answer:
        return Diagnostic("load", "exception", f"The kernel failed in the interpreter on shape {case.label}: {answer['error']}")
    outputs = []
    for argument, fd in zip(problem.outputs, fds, strict=True):
        with open(fd, "rb") as file:
            content = bytearray(file.read(argument.nbytes(case.sizes)))
        if len(content) != argument.nbytes(case.sizes):
            return Diagnostic("load", "wrong_layout", f"The interpreter returned {len(content)} bytes for `{argument.name}`.")
        outputs.append(torch.frombuffer(content, dtype=getattr(torch, argument.dtype)).reshape(argument.shape(case.sizes)))
    return compare.judge(problem, case, outputs, widened=TRUNCATED)
