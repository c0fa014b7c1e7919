"""Device memory for the calls of one shape: one allocation per argument, owned by the referee, shared with runners by descriptor.

Layout of an allocation (bytes): | guard 4096 | payload | guard, at least 4096, to the end |; beyond it lie addresses that fault.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fitness.gpu import driver
from fitness.problem import Problem, Sizes

if TYPE_CHECKING:
    from fitness.gpu.cases import GpuCase

__all__ = ["GUARD", "GpuSlot", "word_view"]

GUARD = 4096
_GUARD_BYTE = 0xA5
Role = Literal["input", "output", "workspace"]

_NAN_WORDS = {"float16": 0x7E5A, "bfloat16": 0x7FE5, "float32": 0x7FC5A5A5, "float64": 0x7FF85A5A5A5A5A5A}
_INTEGER_WORDS = {1: 0x5A, 2: 0x5A5A, 4: 0x5A5A5A5A, 8: 0x5A5A5A5A5A5A5A5A}


def word_view(tensor: Any) -> Any:
    """The same memory as integers of the same width."""
    import torch

    return tensor.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()])


@dataclass(eq=False)
class _Buffer:
    role: Role
    dtype: str
    shape: tuple[int, ...]
    mapping: driver.Mapping
    payload: Any
    guards: tuple[Any, Any]
    regions: tuple[tuple[int, int], ...]
    """Address and bytes of each guard."""
    poison: int

    @property
    def address(self) -> int:
        return self.mapping.address + GUARD


class GpuSlot:
    """The buffers of one call. Raises `driver.CudaError` when the device has no memory left."""

    def __init__(self, problem: Problem | None, sizes: Sizes, *, workspace: int = 0) -> None:
        """problem: None for a slot that is workspace alone. workspace: bytes."""
        self.sizes = sizes
        arguments: list[tuple[Role, str, tuple[int, ...]]] = []
        if problem is not None:
            arguments += [("input", a.dtype, a.shape(sizes)) for a in problem.inputs]
            arguments += [("output", a.dtype, a.shape(sizes)) for a in problem.outputs]
        if workspace:
            arguments.append(("workspace", "uint8", (workspace,)))
        self.buffers: list[_Buffer] = []
        try:
            for role, dtype, shape in arguments:
                self.buffers.append(_buffer(role, dtype, shape))
        except BaseException:
            self.close()
            raise
        self.inputs = [b.payload for b in self.buffers if b.role == "input"]
        self.outputs = [b.payload for b in self.buffers if b.role == "output"]
        self.output_buffers = [b for b in self.buffers if b.role == "output"]
        self.regions = _table([region for b in self.buffers for region in b.regions])
        self.holds: int | None = None
        """Number of the case whose inputs lie in it."""

    def fill(self, case: GpuCase) -> None:
        """Puts a case's inputs in, where they do not lie already."""
        if self.holds == case.number:
            return
        for destination, source in zip(self.inputs, case.inputs, strict=True):
            destination.copy_(source)
        self.holds = case.number

    def poison(self) -> None:
        for buffer in self.buffers:
            if buffer.role != "input":
                word_view(buffer.payload).fill_(buffer.poison)

    def restore(self) -> None:
        """Guards as they were; inputs are put in again before the next call."""
        self.holds = None
        for buffer in self.buffers:
            for guard in buffer.guards:
                guard.fill_(_GUARD_BYTE)

    def why_broken(self, problem: Problem, inputs: tuple[Any, ...]) -> str:
        """Which argument was written where it may not be."""
        names = [a.name for a in (*problem.inputs, *problem.outputs)] + ["workspace"]
        found = []
        for name, buffer in zip(names, self.buffers, strict=False):
            for side, guard in zip(("before the start", "after the end"), buffer.guards, strict=True):
                if not bool((guard == _GUARD_BYTE).all()):
                    found.append(f"memory {side} of `{name}` was written")
        for argument, mine, given in zip(problem.inputs, self.inputs, inputs, strict=True):
            if not bool((word_view(mine) == word_view(given)).all()):
                found.append(f"the input `{argument.name}` was overwritten")
        return "; ".join(found) or "nothing is broken any more"

    def exported(self) -> tuple[list[dict[str, Any]], list[int]]:
        """(description of the buffers, a descriptor each); the caller closes the descriptors."""
        facts = [
            {"role": b.role, "dtype": b.dtype, "shape": list(b.shape), "offset": GUARD, "length": b.mapping.length} for b in self.buffers
        ]
        return facts, [driver.export(b.mapping) for b in self.buffers]

    def close(self) -> None:
        for buffer in self.buffers:
            driver.unmap(buffer.mapping)
        self.buffers = []


def _table(regions: list[tuple[int, int]]) -> Any:
    """On the device, for the kernel that looks at all guards of a batch."""
    import torch

    return torch.tensor(regions, dtype=torch.int64, device="cuda")


def _buffer(role: Role, dtype: str, shape: tuple[int, ...]) -> _Buffer:
    import torch

    count = 1
    for extent in shape:
        count *= extent
    itemsize = 1 if dtype in ("bool",) else torch.empty(0, dtype=getattr(torch, dtype)).element_size()
    nbytes = count * itemsize
    mapping = driver.allocate(nbytes + 2 * GUARD)
    front = driver.tensor(mapping.address, (GUARD,), "uint8")
    rest = mapping.length - GUARD - nbytes
    back = driver.tensor(mapping.address + GUARD + nbytes, (rest,), "uint8")
    front.fill_(_GUARD_BYTE)
    back.fill_(_GUARD_BYTE)
    payload = driver.tensor(mapping.address + GUARD, shape, dtype)
    regions = ((mapping.address, GUARD), (mapping.address + GUARD + nbytes, rest))
    return _Buffer(role, dtype, shape, mapping, payload, (front, back), regions, _NAN_WORDS.get(dtype, _INTEGER_WORDS[itemsize]))
