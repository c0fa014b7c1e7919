"""Cases on the device: secret inputs, and the float64 answer computed there by the problem's own reference.

The rules are those of `fitness.inputs`; the arrays are torch tensors. Seeds come from the operating system's entropy.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fitness.adapters.foreign import AS_DRAWN
from fitness.argument import Argument, evaluate
from fitness.distributions import DENSITIES, DISTRIBUTIONS, LARGEST_INTEGER, SCALES, adapt, generator
from fitness.inputs import MORE_DRAWS, RANGE_SHARE, SLACK_DRAWS, SLACK_FACTOR
from fitness.problem import Problem, ProblemError, Sizes, shape_label

__all__ = ["GpuCase", "GpuSupply", "case_of", "make_case"]

_numbers = itertools.count()
MEMORY = 40 << 30
"""Bytes of device memory that a supply keeps at most."""
FOREIGN_MEMORY = 24 << 30
"""The same of a problem whose shapes are not ours to choose: one call may take a tenth of the device."""


@dataclass(frozen=True, eq=False)
class GpuCase:
    """One call's inputs and what must come out, as tensors on the device, in ABI order."""

    problem: Problem = field(repr=False)
    number: int
    sizes: Sizes
    label: str
    distribution: str
    inputs: tuple[Any, ...] = field(repr=False)
    expected: tuple[Any, ...] = field(repr=False)
    """Integer outputs in their own type; float ones rounded to float32 (kept in float64 where the output is)."""
    half_rms: tuple[Any, ...] = field(repr=False)
    rms: tuple[Any, ...] = field(repr=False)
    nbytes: int = 0

    @cached_property
    def slack(self) -> tuple[Any, ...]:
        """Per output (rows,): what the inputs' own rounding does to the reference (see `fitness.inputs.Case.slack`)."""
        return tuple(SLACK_FACTOR * row for row in self._moved(SLACK_DRAWS))

    @cached_property
    def wider_slack(self) -> tuple[Any, ...]:
        """The same over more draws, asked for before an output is called wrong (see `fitness.inputs.Case.wider_slack`)."""
        return tuple(known.maximum(SLACK_FACTOR * row) for known, row in zip(self.slack, self._moved(MORE_DRAWS), strict=True))

    def _moved(self, draws: int) -> list[Any]:
        import torch

        unit = 2.0**-53 if self.problem.compute_dtype == "float64" else 2.0**-24
        centre = _reference(self.problem, self.inputs)
        largest = [torch.zeros_like(values, dtype=torch.float64) for values in self.half_rms]
        for _ in range(draws):
            moved = []
            for argument, array in zip(self.problem.inputs, self.inputs, strict=True):
                if argument.is_float and argument.role != "fixed":
                    sign = 1.0 - 2.0 * torch.randint(0, 2, array.shape, device=array.device, dtype=torch.float32)
                    moved.append(array.double() * (1.0 + unit * sign.double()))
                else:
                    moved.append(array)
            for index, (there, here) in enumerate(zip(_reference(self.problem, moved), centre, strict=True)):
                if largest[index].numel():
                    shift = (there.double() - here.double()).abs().reshape(largest[index].numel(), -1)
                    largest[index] = torch.maximum(largest[index], torch.nan_to_num(shift, 0.0, 0.0, 0.0).amax(dim=1))
        return largest


def _reference(problem: Problem, inputs: Sequence[Any]) -> tuple[Any, ...]:
    exact = [array.double() if array.is_floating_point() else array for array in inputs]
    try:
        return problem.reference(*exact)
    except Exception as error:
        raise ProblemError(
            problem.folder / "problem.py", "reference", f"{type(error).__name__}: {error} on torch tensors of the device",
            "a function that works on torch tensors too", "Write it through array_api_compat.array_namespace.",
        ) from error  # fmt: skip


def _draw(argument: Argument, sizes: Sizes, distribution: str, rng: Any, device: str, *, patchy: bool = False) -> Any:
    """patchy: whether `x100` may be in places only."""
    import torch

    shape, dtype = argument.shape(sizes), getattr(torch, argument.dtype)
    if argument.role == "index":
        return torch.randint(0, max(1, evaluate(argument.below or 1, sizes)), shape, device=device, dtype=dtype, generator=rng)
    if argument.role == "fixed":
        return torch.full(shape, argument.value, device=device, dtype=dtype)
    if not dtype.is_floating_point:
        return _whole_numbers(shape, dtype, distribution if argument.role == "data" else "integer", rng, device)
    work = torch.float64 if dtype == torch.float64 else torch.float32
    if argument.role != "data" or distribution not in ("uniform", "integer"):
        values = torch.randn(shape, device=device, dtype=work, generator=rng)
        if argument.role == "positive":
            values = torch.exp(values * 0.5)
        elif argument.role == "data" and distribution in SCALES:
            scaled = values * SCALES[distribution]
            values = _patchy(values, scaled, rng) if patchy and distribution == "x100" else scaled
        elif argument.role == "data" and distribution == "sparse":
            rows = (*shape[:-1], 1)
            density = torch.tensor(DENSITIES, device=device)[torch.randint(0, len(DENSITIES), rows, device=device, generator=rng)]
            values *= torch.rand(shape, device=device, generator=rng) < density
    elif distribution == "uniform":
        values = torch.rand(shape, device=device, dtype=work, generator=rng)
    else:
        values = torch.randint(-LARGEST_INTEGER, LARGEST_INTEGER + 1, shape, device=device, generator=rng, dtype=torch.int8)
    return values.to(dtype)


def _patchy(plain: Any, large: Any, rng: Any) -> Any:
    """The large values everywhere, or in some rows, or from some element of every row on (`fitness.distributions`)."""
    import torch

    def below(limit: int) -> int:
        return int(torch.randint(0, limit, (), device=plain.device, generator=rng))

    kind = below(3)
    if kind == 0 or plain.ndim == 0 or not plain.numel():
        return large
    if kind == 1 and plain.ndim > 1:
        rows = torch.rand((*plain.shape[:-1], 1), device=plain.device, generator=rng)
        return torch.where(rows < 0.25, large, plain)
    return torch.where(torch.arange(plain.shape[-1], device=plain.device) >= below(plain.shape[-1]), large, plain)


def _whole_numbers(shape: tuple[int, ...], dtype: Any, distribution: str, rng: Any, device: str) -> Any:
    """Integers and booleans: small ones, and for `x100` as large as normal data times 100 (`fitness.distributions`)."""
    import torch

    if dtype == torch.bool:
        return torch.rand(shape, device=device, generator=rng) < (0.1 if distribution == "sparse" else 0.5)
    if distribution == "x100":
        values = torch.round(100 * torch.randn(shape, device=device, generator=rng)).to(torch.int64)
    else:
        largest = 1 if distribution == "x0.01" else LARGEST_INTEGER
        values = torch.randint(-largest, largest + 1, shape, device=device, generator=rng)
    if distribution == "sparse":
        values = values * (torch.rand(shape, device=device, generator=rng) < 0.1)
    info = torch.iinfo(dtype)
    return (values if info.min else values.abs()).clamp(info.min, min(info.max, 1 << 62)).to(dtype)


def make_case(
    problem: Problem, sizes: Sizes, distribution: str, *, device: str = "cuda", entropy: Callable[[int], bytes] = os.urandom
) -> GpuCase:
    """Draws one case and computes its reference on `device`. Raises `ProblemError`."""
    import torch

    if problem.foreign is not None:
        return case_of(problem, sizes, distribution, problem.foreign.tensors(sizes, distribution, device, entropy))
    rng = torch.Generator(device=device)
    rng.manual_seed(int.from_bytes(entropy(7), "little"))
    make = problem.make_inputs()
    host = generator(entropy(16))
    own = make(host, dict(sizes)) if make is not None else {}
    # where few elements are large a sum is one of few products and may cancel: a kernel that may round in between to 16 bits is not held
    # to that (1 to 8 % of such cases would condemn an honest x (xᵀ w) in bfloat16)
    patchy = problem.compute_dtype in ("float32", "float64")
    inputs = []
    for a in problem.inputs:
        if a.name in own:
            given = adapt(own[a.name], distribution, host) if a.role == "data" else own[a.name]
            inputs.append(torch.from_numpy(given).to(device, getattr(torch, a.dtype)))
        else:
            inputs.append(_draw(a, sizes, distribution, rng, device, patchy=patchy))
    return case_of(problem, sizes, distribution, inputs)


def case_of(problem: Problem, sizes: Sizes, distribution: str, inputs: list[Any]) -> GpuCase:
    """The case of these inputs, scaled down where its answer would leave the output's range. Raises `ProblemError`."""
    import torch

    formats = [torch.finfo(getattr(torch, a.dtype)).max for a in problem.outputs if a.is_float]
    limit = RANGE_SHARE * min(formats, default=float("inf"))
    results = _reference(problem, inputs)
    halvings = 0
    while not _within(results, limit) and halvings < 64:
        halvings = halvings * 2 or 1
        moved = [x * 2.0**-halvings if a.role == "data" and a.is_float else x for a, x in zip(problem.inputs, inputs, strict=True)]
        results = _reference(problem, moved)
        if _within(results, limit):
            inputs = moved
    return _finished(problem, sizes, distribution, inputs, results)


def _within(results: Sequence[Any], limit: float) -> bool:
    return all(not r.is_floating_point() or not r.numel() or float(r.abs().nan_to_num(0.0).max()) <= limit for r in results)


def _finished(problem: Problem, sizes: Sizes, distribution: str, inputs: Sequence[Any], results: Sequence[Any]) -> GpuCase:
    import torch

    expected, half_rms, rms = [], [], []
    for argument, result in zip(problem.outputs, results, strict=True):
        if tuple(result.shape) != argument.shape(sizes):
            raise ProblemError(
                problem.folder / "problem.py", "reference", f"shape {tuple(result.shape)} for {argument.name} at {shape_label(sizes)}",
                str(argument.shape(sizes)), "Return one array per output, in their order.",
            )  # fmt: skip
        if not argument.is_float:
            expected.append(result.to(getattr(torch, argument.dtype)).contiguous())
            half_rms.append(torch.empty(0, device=result.device))
            rms.append(torch.zeros((), device=result.device, dtype=torch.float64))
            continue
        values = result.double().contiguous()
        rows = values.reshape(-1, values.shape[-1] if values.ndim else 1)
        square = torch.where(torch.isfinite(rows), rows, 0.0).square()
        count = torch.isfinite(rows).sum(dim=1).clamp(min=1)
        per_row = square.sum(dim=1)
        half_rms.append(0.5 * torch.sqrt(per_row / count).float())
        rms.append(torch.sqrt(per_row.sum() / count.sum()))
        expected.append(values if argument.dtype == "float64" else values.float())
    nbytes = sum(t.numel() * t.element_size() for t in (*inputs, *expected, *half_rms))
    return GpuCase(
        problem, next(_numbers), dict(sizes), shape_label(sizes), distribution, tuple(inputs), tuple(expected), tuple(half_rms),
        tuple(rms), nbytes,
    )  # fmt: skip


class GpuSupply:
    """A problem's cases on the device, made when first asked for. Verification cases are kept; timed ones are a pool that is renewed.

    A pool of a shape holds as many cases as the largest batch. What a runner has seen it may meet again at another address in a later
    round; `fitness.gpu.sitting` compares its first rounds with the later ones to notice a kernel that profits from that.
    """

    timed_distribution = "normal"

    def __init__(self, problem: Problem, *, memory: int = MEMORY) -> None:
        self._problem = problem
        if problem.foreign is not None:
            self.timed_distribution = AS_DRAWN
            memory = min(memory, FOREIGN_MEMORY)
        self.memory = memory
        self._bytes = 0
        self._kept: dict[tuple[str, str, int], GpuCase] = {}
        self._pools: dict[str, list[GpuCase]] = {}

    def verification(self, sizes: Sizes, distributions: Sequence[str] = DISTRIBUTIONS, draws: int = 5) -> Iterator[GpuCase]:
        for distribution in distributions:
            for index in range(draws):
                yield self.drawn(sizes, distribution, index)

    def drawn(self, sizes: Sizes, distribution: str, index: int) -> GpuCase:
        """One case to verify with, the `index`-th of its distribution; made when first asked for."""
        key = (shape_label(sizes), distribution, index)
        case = self._kept.get(key)
        if case is None:
            case = make_case(self._problem, sizes, distribution)
            if self._bytes + case.nbytes <= self.memory:
                self._kept[key] = case
                self._bytes += case.nbytes
        return case

    def timed(self, sizes: Sizes, _index: int) -> tuple[GpuSupply, Sizes]:
        """What a round of `fitness.gpu.sitting` draws its cases from."""
        return self, sizes

    def pool(self, sizes: Sizes, count: int) -> list[GpuCase]:
        """`count` timed cases in a fresh secret order."""
        pool = self._pools.setdefault(shape_label(sizes), [])
        while len(pool) < count:
            pool.append(make_case(self._problem, sizes, self.timed_distribution))
        return random.SystemRandom().sample(pool, count)

    def renew(self, sizes: Sizes, count: int) -> None:
        """Replaces `count` secretly chosen cases of a pool by fresh ones."""
        pool = self._pools.get(shape_label(sizes), [])
        for index in random.SystemRandom().sample(range(len(pool)), min(count, len(pool))):
            pool[index] = make_case(self._problem, sizes, self.timed_distribution)

    def forget(self, case: GpuCase) -> None:
        """Frees a verification case."""
        for key, kept in list(self._kept.items()):
            if kept is case:
                del self._kept[key]
                self._bytes -= case.nbytes

    def clear(self) -> None:
        self._kept.clear()
        self._pools.clear()
        self._bytes = 0
