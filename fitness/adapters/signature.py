"""What a foreign problem takes, returns and costs, found by running it on tensors without data."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fitness.adapters.subject import Subject, SubjectError
from fitness.argument import DTYPES
from fitness.problem import Sizes

__all__ = ["Leaf", "Signature", "signature_of"]

REDUCTIONS = ("sum", "mean", "var", "std", "softmax", "logsumexp", "cumsum", "cumprod", "prod", "norm", "pool", "dot", "loss")
"""Parts of the names of operators that sum or multiply up many elements."""
LONGEST = 1 << 16
"""Terms that no kernel adds up one after another: what is longer is summed in parts."""
REAL = 1 << 25
"""Elements of data that a subject is run with where it does not run without."""
PRODUCTS = {"mm": 0, "addmm": 1, "bmm": 0, "baddbmm": 1, "mv": 0, "dot": 0, "addmv": 1}
"""Operators whose sums are as long as the last axis of this argument."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A tensor: dtype by its name without `torch.`"""

    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Signature:
    inputs: tuple[Leaf, ...]
    outputs: tuple[Leaf, ...]
    tree: Any
    """Of the data of a call; see `fitness.gpu.module`."""
    flops: int
    touched: int
    """Elements that all operators together read or write."""
    accumulation: int
    """Terms of all sums on the way, one after another: what rounding errors grow with."""
    parameters: int
    """Elements of parameters and buffers."""


def signature_of(subject: Subject, sizes: Sizes) -> Signature:
    """Runs the subject on fake tensors; on real ones where its shapes depend on its data and these are small. Raises `SubjectError`."""
    from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode

    try:
        with FakeTensorMode(allow_non_fake_inputs=True), _quiet():
            return _run(subject, sizes)
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        if _elements(subject, sizes) > REAL:
            text = "what it computes depends on its data, which are too large to run it with here"
            raise SubjectError(f"{text} ({type(error).__name__}: {_short(error)})") from error
    except SubjectError:
        raise
    except Exception as error:
        raise _explained(error, "on tensors without data") from error
    try:
        with _quiet():
            return _run(subject, sizes)
    except SubjectError:
        raise
    except Exception as error:
        raise _explained(error, "on the CPU") from error


def _run(subject: Subject, sizes: Sizes) -> Signature:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from fitness.gpu.module import encoded, tensors_in

    counting = _counting()
    data = subject.drawn(sizes, 0, "cpu")
    inputs: list[Any] = []
    tree = encoded(data, inputs)
    function = _made(subject, sizes)
    with FlopCounterMode(display=False) as flops, counting, torch.no_grad():
        results = tensors_in(function(data))
    module = getattr(function, "module", None)
    parameters = 0 if module is None else sum(value.numel() for value in module.state_dict().values())
    return Signature(
        tuple(_leaf(each, "input") for each in inputs), tuple(_leaf(each, "output") for each in results), tree,
        int(flops.get_total_flops()), counting.touched, max(1, counting.accumulation), parameters,
    )  # fmt: skip


def _elements(subject: Subject, sizes: Sizes) -> int:
    from torch._subclasses.fake_tensor import FakeTensorMode

    from fitness.gpu.module import encoded

    inputs: list[Any] = []
    with contextlib.suppress(Exception), FakeTensorMode(allow_non_fake_inputs=True):
        encoded(subject.drawn(sizes, 0, "cpu"), inputs)
    return sum(each.numel() for each in inputs)


def _explained(error: Exception, where: str) -> SubjectError:
    if isinstance(error, TypeError) and ("tensors are expected" in str(error) or "neither a tensor" in str(error)):
        return SubjectError(f"it hands on {error}")
    return SubjectError(f"it fails {where}: {type(error).__name__}: {_short(error)}")


def _made(subject: Subject, sizes: Sizes) -> Any:
    """The reference's function; a module that needs real numbers to be built is built of real ones."""
    from torch._subclasses.fake_tensor import DataDependentOutputException, unset_fake_temporarily

    try:
        return subject.function(sizes, 0, "cpu")
    except DataDependentOutputException:
        with unset_fake_temporarily():
            return subject.function(sizes, 0, "cpu")


def _leaf(tensor: Any, what: str) -> Leaf:
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise SubjectError(f"an {what} is {dtype}; expected one of {', '.join(DTYPES)}")
    if tensor.layout is not _strided():
        raise SubjectError(f"an {what} is a sparse tensor; dense ones are expected")
    return Leaf(dtype, tuple(int(extent) for extent in tensor.shape))


def _strided() -> Any:
    import torch

    return torch.strided


def _counting() -> Any:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):  # type: ignore[misc]
        touched = 0
        accumulation = 0

        def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            made = [each for each in (result if isinstance(result, (tuple, list)) else (result,)) if isinstance(each, torch.Tensor)]
            given = [each for each in args if isinstance(each, torch.Tensor)]
            name = function._schema.name.removeprefix("aten::")
            self.touched += max(sum(each.numel() for each in tensors) for tensors in (made, given))
            self.accumulation += _terms(name, args, given, made)
            return result

    return Counting()


def _terms(name: str, args: Any, given: list[Any], made: list[Any]) -> int:
    """Terms of the sums that an operator forms."""
    if not given or not made:
        return 0
    if name in PRODUCTS:
        return int(given[PRODUCTS[name]].shape[-1])
    if "convolution" in name or "conv" in name:
        weight = given[1] if len(given) > 1 else given[0]
        return int(weight.numel() // max(1, weight.shape[0]))
    if "attention" in name:
        return int(given[0].shape[-1] + given[1].shape[-2])
    if "lstm" in name or "gru" in name or "rnn" in name:
        return int(max(each.shape[-1] for each in given) * 4)
    if any(part in name for part in REDUCTIONS):
        return min(LONGEST, _reduced(name, args, given[0], made[0]))
    return 1


def _reduced(name: str, args: Any, given: Any, made: Any) -> int:
    count = int(given.numel())
    if "batch_norm" in name and given.ndim > 1:
        return count // max(1, int(given.shape[1]))
    if "group_norm" in name:
        return count // max(1, int(given.shape[0]) * int(args[6]))
    if "layer_norm" in name:
        return math.prod(args[1])
    if made.numel() == count:  # a softmax or a scan
        axis = next((each for each in args[1:] if isinstance(each, int) and not isinstance(each, bool)), -1)
        return int(given.shape[axis]) if given.ndim and -given.ndim <= axis < given.ndim else 1
    return max(1, count // max(1, int(made.numel())))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings, and with modules that can be moved and converted although their parameters hold no data."""
    import warnings

    import torch

    def apply(self: Any, function: Any, recurse: bool = True) -> Any:
        for child in self.children():
            child._apply(function)
        for name, each in self._parameters.items():
            if each is not None:
                self._parameters[name] = torch.nn.Parameter(function(each), requires_grad=False)
        for name, each in self._buffers.items():
            if each is not None:
                self._buffers[name] = function(each)
        return self

    genuine, level = torch.nn.Module._apply, logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # every failure is reported in words, and some are expected
    torch.nn.Module._apply = apply
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.nn.Module._apply = genuine
        logging.disable(level)


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
