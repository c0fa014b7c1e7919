"""Data that hold room for their own results: which of their tensors a reference only writes to.

Such a tensor is no input. A candidate is given the output's own memory in its place, so what it writes there needs no copy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fitness.adapters.signature import Signature
from fitness.adapters.subject import Subject
from fitness.problem import Sizes

__all__ = ["with_destinations"]

MOST = 1 << 24
"""Elements of the data that this is tried on."""


def with_destinations(subject: Subject, sizes: Mapping[str, Sizes], found: Mapping[str, Signature]) -> dict[str, Signature]:
    """The signatures with room for results taken out of their inputs; found out on the smallest shape."""
    if not subject.fills:
        return dict(found)
    label = min(found, key=lambda each: sum(leaf.elements for leaf in found[each].inputs))
    signature = found[label]
    pairs = _candidates(signature)
    if not pairs or sum(leaf.elements for leaf in signature.inputs) > MOST:
        return dict(found)
    unread = {place: output for place, output in pairs.items() if _unread(subject, sizes[label], place)}
    taken: dict[int, int] = {}
    for place, output in unread.items():
        if output not in taken.values():
            taken[place] = output
    return {each: _without(one, taken) for each, one in found.items()} if taken else dict(found)


def _candidates(signature: Signature) -> dict[int, int]:
    """Input → output of the same shape and kind of type, for all but the first input."""
    found = {}
    for place, leaf in enumerate(signature.inputs[1:], 1):
        for output, result in enumerate(signature.outputs):
            alike = leaf.dtype == result.dtype or ("float" in leaf.dtype and "float" in result.dtype)
            if alike and (leaf.shape == result.shape or leaf.elements == result.elements == 1):
                found[place] = output
                break
    return found


def _unread(subject: Subject, sizes: Sizes, place: int) -> bool:
    """Whether the outputs are the same whatever that input holds."""
    import torch

    from fitness.gpu.module import encoded, tensors_in

    function = subject.function(sizes, 0, "cpu")
    results = []
    try:
        for value in (1, 2):
            data = subject.drawn(sizes, 0, "cpu")
            tensors: list[Any] = []
            encoded(data, tensors)
            tensors[place].fill_(value)
            results.append([each.clone() for each in tensors_in(function(data))])
    except Exception:
        return False  # whoever runs it next says what is wrong with it
    return all(torch.equal(one, other) for one, other in zip(*results, strict=True))


def _without(signature: Signature, taken: Mapping[int, int]) -> Signature:
    """An output is of the type of the memory that was made for it, whatever the reference computes in."""
    kept = [place for place in range(len(signature.inputs)) if place not in taken]
    outputs = list(signature.outputs)
    for place, output in taken.items():
        outputs[output] = signature.inputs[place]
    return dataclasses.replace(
        signature, inputs=tuple(signature.inputs[place] for place in kept), outputs=tuple(outputs),
        tree=_replaced(signature.tree, taken, kept),
    )  # fmt: skip


def _replaced(tree: Any, taken: Mapping[int, int], kept: list[int]) -> Any:
    kind, content = tree
    if kind == "t":
        return ["o", taken[content]] if content in taken else ["t", kept.index(content)]
    if kind == "c":
        return tree
    if kind == "d":
        return ["d", [[key, _replaced(each, taken, kept)] for key, each in content]]
    return [kind, [_replaced(each, taken, kept) for each in content]]
