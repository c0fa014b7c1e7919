"""Verification of a `ModelNew` or `custom_kernel` without a device: run on the CPU, in the sandbox, on scaled-down data; never timed.

Triton kernels in it run in Triton's interpreter. The sizes are those of `fitness.adapters.examine`: a candidate written for its problem's
own sizes alone may fail on them, and is then to be verified where there is a device.
"""

from __future__ import annotations

import mmap
import os
from typing import Any

from archive.evaluation import Diagnostic, Outcome
from archive.kernel import Kernel
from fitness.adapters.foreign import problem_of
from fitness.adapters.subject import Subject
from fitness.gpu import compare, wire
from fitness.gpu.cases import GpuCase, make_case
from fitness.gpu.colony import Child, Colony
from fitness.gpu.slots import _INTEGER_WORDS, _NAN_WORDS, word_view
from fitness.gpu.verifying import PATIENCE, TRUNCATED, Verdict
from fitness.problem import Problem
from fitness.protocol import EvaluationSettings
from fitness.sandbox import choose
from fitness.targets.module_policy import check_module

__all__ = ["scaled_problem", "verify_module"]

DRAWS = 2


def scaled_problem(subject: Subject) -> tuple[Problem, str]:
    """The problem on data that a CPU can compute on, and how it was scaled down. Raises `ProblemError`, `SubjectError`."""
    from fitness.adapters.affordable import affordable
    from fitness.adapters.signature import signature_of

    small, _ = affordable(subject, signature_of(subject, subject.shapes[0]))
    return problem_of(small), small.scaling()


def verify_module(
    kernel: Kernel, problem: Problem, settings: EvaluationSettings, *, policy: bool = True, colony: Colony | None = None
) -> Verdict:
    """Policy, then two draws of every distribution that the problem admits, in one process, at the same addresses.

    colony: whose child is to run it, one that interprets; None starts one for this kernel.
    Raises `ProblemError`, `fitness.failure.RefereeError`.
    """
    foreign = problem.foreign
    assert foreign is not None
    refused = check_module(kernel.source, foreign.entry) if policy else None
    if refused is not None:
        return Verdict(Outcome.REJECTED, (refused,))
    interpreted = "triton" in kernel.source
    own = colony or Colony(choose(settings.sandbox), device=False, interpret=True)
    try:
        child = own.child("module", {"CORE": 0, "FSIZE": 1 << 30, "NPROC": 4096, "CPU": int(4 * PATIENCE)})
        wire.send(child.channel, {"source": kernel.source, "setting": foreign.setting()})
        calls = 0
        for label, sizes in foreign.sizes.items():
            for distribution in sorted(foreign.admitted(label, "cpu")):
                for _ in range(DRAWS):
                    case = make_case(problem, sizes, distribution, device="cpu")
                    finding = _called(child, problem, case, widened=TRUNCATED if interpreted else 1.0)
                    if finding is not None:
                        return Verdict(Outcome.WRONG if finding.stage == "verify" else Outcome.CRASH, (finding,), {}, calls)
                    calls += 1
        return Verdict(Outcome.OK, (), {}, calls)
    finally:
        if colony is None:
            own.close()


class _Shared:
    """A tensor in memory that a child can map."""

    def __init__(self, shape: tuple[int, ...], dtype: str) -> None:
        import torch

        kind, count = getattr(torch, dtype), 1
        for extent in shape:
            count *= extent
        nbytes = max(1, count) * torch.empty(0, dtype=kind).element_size()
        self.fd = os.memfd_create("evo", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, nbytes)
        self.tensor = torch.frombuffer(mmap.mmap(self.fd, nbytes), dtype=kind, count=count).reshape(shape)


def _called(child: Child, problem: Problem, case: GpuCase, *, widened: float) -> Diagnostic | None:
    """One call; None when its outputs were right and its inputs are as they were."""
    inputs = [_Shared(a.shape(case.sizes), a.dtype) for a in problem.inputs]
    outputs = [_Shared(a.shape(case.sizes), a.dtype) for a in problem.outputs]
    try:
        for shared, given in zip(inputs, case.inputs, strict=True):
            shared.tensor.copy_(given)
        for shared, argument in zip(outputs, problem.outputs, strict=True):
            words = word_view(shared.tensor)
            words.fill_(_NAN_WORDS.get(argument.dtype, _INTEGER_WORDS[words.element_size()]))
        message = {"sizes": list(case.sizes.values()), "arguments": _described(problem, case)}
        answer = child.ask(message, [shared.fd for shared in (*inputs, *outputs)], PATIENCE)
    except wire.Closed:
        return Diagnostic("load", "died", f"The process ended. {child.said()[-400:]}")
    except TimeoutError:
        return Diagnostic("load", "call_timeout", f"A call did not end within {PATIENCE:g} s.")
    finally:
        for shared in (*inputs, *outputs):
            os.close(shared.fd)
    if "error" in answer:
        return Diagnostic("load", "exception", f"The candidate failed on shape {case.label}: {answer['error']}")
    for argument, shared, given in zip(problem.inputs, inputs, case.inputs, strict=True):
        if not bool((word_view(shared.tensor) == word_view(given.contiguous())).all()):
            return Diagnostic("verify", "guard_broken", f"The input `{argument.name}` was overwritten; inputs may not be written.")
    finding = compare.judge(problem, case, [shared.tensor for shared in outputs], widened=widened)
    return None if finding is None else _explained(problem, case, finding, answer)


def _described(problem: Problem, case: GpuCase) -> list[dict[str, Any]]:
    given = [{"role": "input", "dtype": a.dtype, "shape": list(a.shape(case.sizes))} for a in problem.inputs]
    return given + [{"role": "output", "dtype": a.dtype, "shape": list(a.shape(case.sizes))} for a in problem.outputs]


def _explained(problem: Problem, case: GpuCase, finding: Diagnostic, answer: dict[str, Any]) -> Diagnostic:
    """Adds what is different in the candidate's parameters, by its own word: an explanation, not a verdict."""
    assert problem.foreign is not None
    said = answer.get("parameters")
    differing = problem.foreign.differing_parameters(case.label, "cpu", said if isinstance(said, list) else [])
    if not differing:
        return finding
    hint = f" Its parameters are not those of the reference, made under the same seed: {differing}."
    return Diagnostic(finding.stage, finding.reason, finding.message + hint, finding.details)
