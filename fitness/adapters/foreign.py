"""A foreign problem as a `fitness.problem.Problem`: arguments, data, reference and costs from what its file computes.

Data. Under `uniform` a case holds what the file draws (with another seed each time), and that is what is timed. Where an input has no
structure of its own (see `fitness.adapters.structure`), the other distributions draw it afresh; where it has, they scale it or leave it.
A distribution on which the file's own computation in single precision is not right by the rule of `fitness.verify` says nothing about
anybody else's, so it is left out: there, too, the case holds what the file draws.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fitness.adapters.destinations import with_destinations
from fitness.adapters.signature import Leaf, Signature, signature_of
from fitness.adapters.structure import GIVEN, kinds_of, varies
from fitness.adapters.subject import Subject, SubjectError
from fitness.argument import Argument, ExpressionError
from fitness.problem import Problem, ProblemError, Sizes, shape_label
from fitness.program import Program

__all__ = ["AS_DRAWN", "Foreign", "problem_of"]

AS_DRAWN = "uniform"
"""The distribution under which a case holds what the file draws."""
ITEMSIZE = {"bool": 1, "bfloat16": 2}
MARGIN = 3.0
"""How much more than the file itself another single-precision computation may be off."""
LARGEST_LIMIT = 1e-3
"""Of the error relative to |y| + rms / 2: as `fitness.verify` clips its own."""


@dataclass(frozen=True, slots=True)
class TabledArgument(Argument):
    """An argument whose shape was found by running the file, for each of the problem's shapes."""

    table: tuple[tuple[str, tuple[int, ...]], ...] = ()

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        label = shape_label(sizes)
        for known, shape in self.table:
            if known == label:
                return shape
        raise ExpressionError(f"the shape of {self.name} is known for {', '.join(known for known, _ in self.table)}, not for {label}")


class Foreign:
    """What a `Problem` of others knows beside its arguments. One seed of parameters for its whole life, from the system's entropy."""

    def __init__(self, subject: Subject) -> None:
        """Raises `SubjectError`."""
        self.subject = subject
        self.parameter_seed = int.from_bytes(os.urandom(6), "little")
        shapes = list({shape_label(sizes): sizes for sizes in (*subject.shapes, *subject.small_shapes)}.values())
        self.sizes = {shape_label(sizes): sizes for sizes in shapes}
        found = {label: signature_of(subject, sizes) for label, sizes in self.sizes.items()}
        self.signatures: dict[str, Signature] = with_destinations(subject, self.sizes, found)
        first = next(iter(self.signatures.values()))
        if not first.outputs:
            raise SubjectError("it returns no tensor")
        if not first.inputs:
            raise SubjectError("it takes no tensor: there is nothing to compute on")
        if any(len(each.inputs) != len(first.inputs) or len(each.outputs) != len(first.outputs) for each in self.signatures.values()):
            raise SubjectError("the number of its tensors changes from shape to shape")
        self.kinds: tuple[str, ...] = (GIVEN,) * len(first.inputs)
        self._functions: dict[tuple[str, str, bool], Callable[[Any], Any]] = {}
        self._admitted: dict[tuple[str, str], frozenset[str]] = {}
        self._terms: dict[str, int] = {}
        """Terms that a shape is taken to add up, where its own single precision needs more than are counted."""
        self.problem: Problem | None = None

    @property
    def entry(self) -> str:
        return self.subject.entry

    def setting(self, *, baseline: bool = False) -> dict[str, Any]:
        """What a runner makes a callable of (`fitness.gpu.module`)."""
        data = {",".join(str(each) for each in self.sizes[label].values()): one.tree for label, one in self.signatures.items()}
        return {**self.subject.setting(self.parameter_seed, baseline), "data": data}

    def baselines(self, modes: Sequence[str]) -> dict[str, Program]:
        """The file's own computation as programs, one for every mode of running torch code."""
        path, entry = self.subject.baseline()
        setting = json.dumps(self.setting(baseline=True))
        return {mode: Program(kind="torch", path=path, entry=f"{entry}:{mode}", setting=setting) for mode in modes}

    # ── the reference ──

    def _function(self, label: str, device: str, double: bool) -> Callable[[Any], Any]:
        key = label, device, double
        if key not in self._functions:
            self._functions[key] = self.subject.function(self.sizes[label], self.parameter_seed, device, double=double)
        return self._functions[key]

    def results(self, arrays: Sequence[Any], *, double: bool) -> tuple[Any, ...]:
        """The file's own outputs for these inputs."""
        from fitness.gpu.module import rebuilt, tensors_in

        label = self._label(arrays)
        function = self._function(label, arrays[0].device.type, double)
        signature = self.signatures[label]
        # a reference may compute in place; what was converted to float64 for it is a copy already
        own = [
            each if double and _float(leaf) and leaf.dtype != "float64" else each.clone()
            for each, leaf in zip(arrays, signature.inputs, strict=True)
        ]
        made = tensors_in(function(rebuilt(signature.tree, own, self._destinations(label, arrays[0].device, double))))
        pairs = zip(made, signature.outputs, strict=True)
        made = [each.reshape(leaf.shape) if each.numel() == leaf.elements else each for each, leaf in pairs]
        return tuple(each.detach().clone() if any(each is one for one in own) else each.detach() for each in made)

    def reference(self, *arrays: Any) -> tuple[Any, ...]:
        return self.results(arrays, double=True)

    def _destinations(self, label: str, device: Any, double: bool) -> list[Any]:
        import torch

        leaves = self.signatures[label].outputs
        kinds = [getattr(torch, leaf.dtype) for leaf in leaves]
        return [
            torch.zeros(leaf.shape, device=device, dtype=torch.float64 if double and kind.is_floating_point else kind)
            for leaf, kind in zip(leaves, kinds, strict=True)
        ]

    def _label(self, arrays: Sequence[Any]) -> str:
        shapes = [tuple(each.shape) for each in arrays]
        for label, signature in self.signatures.items():
            if [leaf.shape for leaf in signature.inputs] == shapes:
                return label
        raise SubjectError(f"found inputs of shapes {shapes}, which none of the problem's shapes has")

    def differing_parameters(self, label: str, device: str, said: Sequence[Any]) -> str:
        """In words, how the parameters that a candidate says it has differ from the reference's; empty where they do not."""
        from fitness.gpu.module import summary

        module = getattr(self._function(label, device, False), "module", None)
        if module is None:
            return ""
        own = {name: (tuple(shape), total) for name, shape, total in summary(module)}
        found = {str(each[0]): (tuple(each[1]), float(each[2])) for each in said if isinstance(each, list) and len(each) == 3}
        parts = [f"`{name}` is missing" for name in own if name not in found]
        for name, (shape, total) in own.items():
            if name in found and found[name][0] != shape:
                parts.append(f"`{name}` has shape {list(found[name][0])} and not {list(shape)}")
            elif name in found and not math.isclose(found[name][1], total, rel_tol=1e-4, abs_tol=1e-9):
                parts.append(f"`{name}` has other values: make the parameters in the same order and by the same functions")
        return "; ".join(parts[:4])

    # ── data ──

    def drawn(self, label: str, device: str, seed: int) -> list[Any]:
        """Inputs as the file draws them."""
        from fitness.gpu.module import encoded

        tensors: list[Any] = []
        tree = encoded(self.subject.drawn(self.sizes[label], seed, device), tensors)
        signature = self.signatures[label]
        if tree != signature.tree and not _same_but_outputs(tree, signature.tree):
            raise SubjectError("its data have another structure or other constants in every draw")
        return [tensors[place].detach() for place in _places(tree, signature.tree)]

    def tensors(self, sizes: Sizes, distribution: str, device: str, entropy: Callable[[int], bytes] = os.urandom) -> list[Any]:
        """Inputs of one case, on `device`."""
        label = shape_label(sizes)
        self._calibrate(label, device)
        if distribution != AS_DRAWN and distribution not in self.admitted(label, device):
            distribution = AS_DRAWN
        return self.varied(label, distribution, device, int.from_bytes(entropy(6), "little"))

    def varied(self, label: str, distribution: str, device: str, seed: int) -> list[Any]:
        """Inputs turned towards a distribution, whether or not that makes sense for the file."""
        import torch

        from fitness.adapters.structure import turned

        tensors = self.drawn(label, device, seed)
        if distribution == AS_DRAWN:
            return tensors
        rng = torch.Generator(device=device)
        rng.manual_seed(seed)
        return [turned(each, kind, distribution, rng) for each, kind in zip(tensors, self.kinds, strict=True)]

    def admitted(self, label: str, device: str) -> frozenset[str]:
        """Distributions on which the file's own single precision is right."""
        key = label, device
        if key not in self._admitted:
            from fitness.distributions import DISTRIBUTIONS

            self._admitted[key] = frozenset({AS_DRAWN})
            found = {each for each in DISTRIBUTIONS if each != AS_DRAWN and varies(self.kinds, each) and self.sound(label, device, each)}
            self._admitted[key] = frozenset({AS_DRAWN, *found})
        return self._admitted[key]

    def accumulation(self, label: str) -> int:
        """Terms whose rounding a right answer may show: those counted, or as many as the file's own single precision needs."""
        return self._terms.get(label, self.signatures[label].accumulation)

    def _calibrate(self, label: str, device: str) -> None:
        """Once a shape: a chain of operators may lose more than the sums in it say. What the file itself loses on its own data, times
        MARGIN, is allowed, up to LARGEST_LIMIT; a file that loses more is not right by any rule."""
        import torch

        from fitness.gpu import compare
        from fitness.gpu.cases import case_of
        from fitness.verify import Limits

        if label in self._terms or self.problem is None or self.problem.compute_dtype != "float32":
            return
        self._terms[label] = self.signatures[label].accumulation
        tensors = self.varied(label, AS_DRAWN, device, int.from_bytes(os.urandom(6), "little"))
        case = case_of(self.problem, self.sizes[label], AS_DRAWN, tensors)
        worst = 0.0
        for position, got in enumerate(self.results(case.inputs, double=False)):
            if got.is_floating_point() and got.shape == case.expected[position].shape and bool(torch.isfinite(got).all()):
                worst = max(worst, float(compare.measured(case, position, got.contiguous(), Limits(1.0))))
        needed = MARGIN * worst
        if needed <= LARGEST_LIMIT:
            self._terms[label] = max(self._terms[label], math.ceil((needed / 8 * 2**24) ** 2))

    def sound(self, label: str, device: str, distribution: str) -> bool:
        """Whether the file's own single precision is right on data of a distribution."""
        import torch

        from fitness.gpu import compare
        from fitness.gpu.cases import case_of

        assert self.problem is not None
        try:
            tensors = self.varied(label, distribution, device, int.from_bytes(os.urandom(6), "little"))
            case = case_of(self.problem, self.sizes[label], distribution, tensors)
            own = [each.contiguous() for each in self.results(case.inputs, double=False)]
            finite = all(bool(torch.isfinite(each).all()) for each in case.expected if each.is_floating_point())
            return finite and compare.judge(self.problem, case, own) is None
        except (RuntimeError, ProblemError, SubjectError, ValueError, IndexError):
            return False


def problem_of(subject: Subject) -> Problem:
    """The problem. Runs the file: without data for shapes and costs, with data for the structure of its inputs. Raises `ProblemError`."""
    try:
        return _problem(subject)
    except SubjectError as error:
        remedy = f"evo lint {subject.scheme}:{subject.path} says more."
        raise ProblemError(subject.path, subject.scheme, str(error), "a problem that can be searched", remedy) from error


def _problem(subject: Subject) -> Problem:
    foreign = Foreign(subject)
    smallest = min(foreign.signatures, key=lambda label: sum(leaf.elements for leaf in foreign.signatures[label].inputs))
    foreign.kinds = kinds_of(foreign, smallest)
    first = next(iter(foreign.signatures.values()))
    floats = [leaf.dtype for leaf in (*first.inputs, *first.outputs) if _float(leaf)]
    low = next((dtype for dtype in ("bfloat16", "float16") if dtype in floats), "float32")
    signatures = foreign.signatures
    problem = Problem(
        name=subject.name,
        folder=subject.path if subject.path.is_dir() else subject.path.parent,
        specification=subject.specification,
        sizes=subject.sizes,
        inputs=_arguments(foreign, "input"),
        outputs=_arguments(foreign, "output"),
        shapes=subject.shapes,
        small_shapes=subject.small_shapes,
        held_out_shapes=subject.shapes,
        version=subject.version,
        compute_dtype=subject.compute_dtype or (low if "float64" not in floats else "float64"),
        baselines={},
        hooks={
            "reference": foreign.reference,
            "accumulation": lambda **sizes: foreign.accumulation(shape_label(sizes)),
            "bytes_moved": lambda **sizes: _bytes(signatures[shape_label(sizes)]),
            "flops": lambda **sizes: 0,  # what the file's way of computing takes bounds nobody else's
        },
        foreign=foreign,
    )
    foreign.problem = problem
    return problem


def _arguments(foreign: Foreign, what: str) -> tuple[Argument, ...]:
    first = next(iter(foreign.signatures.values()))
    leaves = first.inputs if what == "input" else first.outputs
    found = []
    for position, leaf in enumerate(leaves):
        table = tuple(
            (label, (one.inputs if what == "input" else one.outputs)[position].shape) for label, one in foreign.signatures.items()
        )
        kind = foreign.kinds[position] if what == "input" else ""
        role = "output" if what == "output" else "index" if not _float(leaf) else "weight" if kind == GIVEN else "data"
        name = f"{what}_{position}" if len(leaves) > 1 else what
        found.append(TabledArgument(name, leaf.dtype, leaf.shape, role, None, None, table))
    return tuple(found)


def _bytes(signature: Signature) -> int:
    return max(1, sum(leaf.elements * itemsize(leaf) for leaf in (*signature.inputs, *signature.outputs)))


def itemsize(leaf: Leaf) -> int:
    digits = "".join(character for character in leaf.dtype if character.isdigit())
    return ITEMSIZE.get(leaf.dtype) or math.ceil(int(digits) / 8)


def _float(leaf: Leaf) -> bool:
    return leaf.dtype.startswith(("float", "bfloat"))


def _same_but_outputs(drawn: Any, known: Any) -> bool:
    """Whether the trees agree where the known one does not say that a leaf is an output's buffer."""
    if known[0] == "o" or (drawn[0] == "t" == known[0]):
        return bool(drawn[0] == "t")
    if drawn[0] != known[0]:
        return False
    if known[0] == "c":
        return bool(drawn[1] == known[1])
    if known[0] == "d":
        return [key for key, _ in drawn[1]] == [key for key, _ in known[1]] and all(
            _same_but_outputs(a, b) for (_, a), (_, b) in zip(drawn[1], known[1], strict=True)
        )
    return len(drawn[1]) == len(known[1]) and all(_same_but_outputs(a, b) for a, b in zip(drawn[1], known[1], strict=True))


def _places(drawn: Any, known: Any) -> list[int]:
    """Which of the drawn tensors are inputs, in order."""
    if known[0] in ("t", "o"):
        return [drawn[1]] if known[0] == "t" else []
    if known[0] == "c":
        return []
    pairs = zip(drawn[1], known[1], strict=True)
    return [place for a, b in pairs for place in (_places(a[1], b[1]) if known[0] == "d" else _places(a, b))]
