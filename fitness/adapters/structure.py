"""Which inputs of a foreign problem may be drawn otherwise than the file draws them.

A file says how it draws, not what it means. An input that is free may hold any numbers; labels, masks, probabilities, triangular and
symmetric matrices have a structure that an honest kernel may rely on, so that other numbers would refuse it wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fitness.distributions import DENSITIES, LARGEST_INTEGER, SCALES

if TYPE_CHECKING:
    from fitness.adapters.foreign import Foreign

__all__ = ["FREE", "GIVEN", "SCALED", "kinds_of", "turned", "varies"]

FREE, SCALED, GIVEN = "free", "scaled", "given"
"""Any numbers; as drawn up to a factor; as drawn."""
SAMPLE = 1 << 22
"""Elements of an input that are looked at."""
ZEROS = 0.01
"""Share of exact zeros from which they are taken for structure."""


def kinds_of(foreign: Foreign, label: str) -> tuple[str, ...]:
    """The kind of every input, judged by two draws of one shape; GIVEN for all where they are too large to draw here."""
    signature = foreign.signatures[label]
    if sum(leaf.elements for leaf in signature.inputs) > 16 * SAMPLE:
        return foreign_kinds_at_a_scale(foreign) or (GIVEN,) * len(signature.inputs)
    first, second = (foreign.drawn(label, "cpu", seed) for seed in (1, 2))
    return tuple(_kind(one, other) for one, other in zip(first, second, strict=True))


def foreign_kinds_at_a_scale(foreign: Foreign) -> tuple[str, ...]:
    """The kinds found on a scaled-down version of the same file; empty where there is none."""
    from fitness.adapters.foreign import Foreign as Scaled
    from fitness.adapters.subject import SubjectError

    for subject in foreign.subject.scaled():
        try:
            small = Scaled(subject)
            label = next(iter(small.signatures))
            if sum(leaf.elements for leaf in small.signatures[label].inputs) <= 16 * SAMPLE:
                return kinds_of(small, label)
        except SubjectError:
            continue
    return ()


def _kind(one: Any, other: Any) -> str:
    import torch

    if not one.is_floating_point() or one.numel() == 0 or torch.equal(one, other):
        return GIVEN
    values = one.reshape(-1)[:SAMPLE].double()
    if bool((values == values.round()).all()):
        return GIVEN  # labels, counts, a mask
    if one.ndim and one.shape[-1] > 1 and bool(((one.double().sum(dim=-1) - 1).abs() < 1e-3).all()):
        return GIVEN  # probabilities
    if one.numel() == 1 or float((values == 0).double().mean()) > ZEROS or _symmetric(one):
        return SCALED
    return FREE


def _symmetric(tensor: Any) -> bool:
    import torch

    return bool(tensor.ndim >= 2 and tensor.shape[-1] == tensor.shape[-2] and torch.equal(tensor, tensor.transpose(-1, -2)))


def varies(kinds: Sequence[str], distribution: str) -> bool:
    """Whether a distribution changes anything for inputs of these kinds."""
    return FREE in kinds or (SCALED in kinds and distribution in SCALES)


def turned(tensor: Any, kind: str, distribution: str, rng: Any) -> Any:
    """An input as drawn by the file, turned towards a distribution as its kind allows."""
    import torch

    if kind == GIVEN or (kind == SCALED and distribution not in SCALES):
        return tensor
    if kind == SCALED:
        return tensor * SCALES[distribution]
    if distribution == "integer":
        shape = tensor.shape
        return torch.randint(-LARGEST_INTEGER, LARGEST_INTEGER + 1, shape, device=tensor.device, generator=rng).to(tensor.dtype)
    values = torch.randn(tensor.shape, device=tensor.device, dtype=torch.float32, generator=rng)
    if distribution in SCALES:
        values *= SCALES[distribution]
    elif distribution == "sparse":
        rows = (*tensor.shape[:-1], 1)
        densities = torch.tensor(DENSITIES, device=tensor.device)
        density = densities[torch.randint(0, len(DENSITIES), rows, device=tensor.device, generator=rng)]
        values *= torch.rand(tensor.shape, device=tensor.device, generator=rng) < density
    return values.to(tensor.dtype)
