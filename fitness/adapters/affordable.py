"""How far a foreign problem is scaled down until a CPU can examine it."""

from __future__ import annotations

import contextlib

from fitness.adapters.signature import Signature, signature_of
from fitness.adapters.subject import Subject, SubjectError

__all__ = ["TooLarge", "affordable", "dear", "fair_version"]

CHEAP = (1e8, 1.5e6)
"""Floating-point operations and elements written, a call, that all checks are made with."""
FAIR = (3e9, 1.5e8)
"""The same up to which the most important checks are made for a version that is less scaled down."""
BEARABLE = (4e10, 1.5e9)
"""The same up to which they are made at all."""
PARAMETERS = 1 << 28
"""Parameters of a module that is built here at most."""


class TooLarge(SubjectError):
    """No version of the problem can be computed on this machine."""


def affordable(subject: Subject, full: Signature) -> tuple[Subject, Signature]:
    """The least scaled-down version that is cheap, with the module as it is if that is fair; else the cheapest that is bearable.

    Raises `TooLarge`.
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
    raise TooLarge(f"{text} and {cheapest.parameters:.1e} parameters")


def dear(signature: Signature) -> bool:
    return signature.flops > CHEAP[0] or signature.touched > CHEAP[1]


def fair_version(subject: Subject, full: Signature) -> tuple[Subject, Signature] | None:
    """The least scaled-down version that is fair."""
    for version in subject.scaled():
        with contextlib.suppress(SubjectError):
            signature = full if version is subject else signature_of(version, version.shapes[0])
            if signature.flops <= FAIR[0] and signature.touched <= FAIR[1] and signature.parameters <= PARAMETERS:
                return version, signature
    return None
