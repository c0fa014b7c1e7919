"""Shares of what can be reached: a certified time against several ceilings, each under its own name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from archive import stats
from fitness.mover import PLAIN_COPY, RANDOM_GATHER, STREAMING_COPY

__all__ = ["ARITHMETIC", "BANDWIDTH", "FMA_PEAK", "TENSOR_PEAK", "binding", "mean_shares", "strictest", "told"]

FMA_PEAK = "FMA peak"
"""The problem's operations at the measured rate of fused multiply-adds."""
TENSOR_PEAK = "tensor-core peak"
"""The problem's operations at the measured rate of a large matrix product in the problem's precision (GPUs)."""
BANDWIDTH = "memory bandwidth"
"""The problem's bytes at the device's measured rates of reading, writing and copying, in the mixture that the problem has (GPUs)."""
ARITHMETIC = (FMA_PEAK, TENSOR_PEAK)
MEMORY = (PLAIN_COPY, STREAMING_COPY, BANDWIDTH, RANDOM_GATHER)


def mean_shares(shapes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Geometric means over shapes, of the ceilings that every shape knows."""
    known = [name for name in shapes[0] if all(name in shares for shares in shapes)]
    return {name: stats.geometric_mean([shares[name] for shares in shapes]) for name in known}


def strictest(shares: Mapping[str, float]) -> float | None:
    """The share of the whole roofline: what the fastest mover and the multiply-adds leave, whichever takes longer."""
    memory = [shares[name] for name in MEMORY if name in shares]
    both = [min(memory)] if memory else []
    both += [shares[name] for name in ARITHMETIC if name in shares]
    return max(both, default=None)


def binding(shares: Mapping[str, float]) -> str:
    """Name of the ceiling that is the problem's roofline; "" where none is known.

    The operations where they take longer than the fastest way to move the bytes. Else the gather, where the problem declares
    one, a GPU's bandwidth, or the plain copy, which most kernels can be held against. A kernel that beats it, which stores past
    the caches can, is held against the streaming copy: nothing is ever shown as better than its roofline.
    """
    memory = [shares[name] for name in MEMORY if name in shares]
    for name in ARITHMETIC:
        if name in shares and shares[name] >= min(memory, default=0.0):
            return name
    for name in (RANDOM_GATHER, BANDWIDTH):
        if name in shares:
            return name
    if PLAIN_COPY in shares and (shares[PLAIN_COPY] <= 1.0 or shares.get(STREAMING_COPY, 1.0) >= shares[PLAIN_COPY]):
        return PLAIN_COPY
    return STREAMING_COPY if STREAMING_COPY in shares else ""


def told(strict: float | None, shares: Mapping[str, float], roofline: str) -> str:
    """`83 % of plain copy (54 % of streaming copy, 10 % of FMA peak)`: the binding ceiling first; "" where nothing is known.

    Args:
        strict: the share of the whole roofline, for certificates in which its ceilings have no names.
        shares: of each ceiling, by name.
        roofline: the binding one among them.
    """
    if roofline not in shares:
        return "" if strict is None else f"{100 * strict:.0f} % of the device's measured bandwidth or FLOP rate, whichever takes longer"
    others = sorted((name for name in shares if name != roofline), key=lambda name: -shares[name])
    rest = ", ".join(f"{100 * shares[name]:.0f} % of {name}" for name in others)
    return f"{100 * shares[roofline]:.0f} % of {roofline}" + (f" ({rest})" if rest else "")
