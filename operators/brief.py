"""What a model (or a person) has to know of the problem and the machine, in words: made once per run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fitness.argument import Argument
from fitness.problem import Problem, shape_label

__all__ = ["Brief", "family_of"]

C_TYPES = {
    "float32": "float", "float64": "double", "float16": "_Float16", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t",
    "int64": "int64_t", "uint8": "uint8_t", "uint16": "uint16_t", "uint32": "uint32_t", "uint64": "uint64_t", "bool": "bool",
}  # fmt: skip
SPEECH = {
    "cpp": "The kernel runs on one CPU",
    "cuda": "The kernel is CUDA C++, launched on the given stream",
    "hip": "The kernel is HIP C++, launched on the given stream",
}
DEVICE_TYPES = {"cuda": {"float16": "__half", "bfloat16": "__nv_bfloat16"}, "hip": {"float16": "__half", "bfloat16": "__hip_bfloat16"}}


def family_of(language: str) -> str:
    """`cpp` for the C-like languages, `python` for the others: what decides syntax of comments and tunables."""
    return "cpp" if language in ("cpp", "cuda", "hip") else "python"


@dataclass(frozen=True, slots=True)
class Brief:
    """Facts that every prompt of a run shares."""

    problem: str
    specification: str
    target: str
    language: str
    interface: str
    shapes: tuple[str, ...] = ()
    small_shapes: tuple[str, ...] = ()
    compute_dtype: str = "float32"
    baselines: tuple[str, ...] = ()
    machine: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        return family_of(self.language)

    @property
    def fence(self) -> str:
        """The tag of a code block."""
        return {"cpp": "cpp", "cuda": "cuda", "hip": "cpp"}.get(self.language, "python")

    @classmethod
    def of(cls, problem: Problem, target: str, language: str, facts: Mapping[str, Any], threads: int = 1) -> Brief:
        """The brief of a problem on a target.

        Args:
            facts: of the `Environment` that the run measures in.
        """
        return cls(
            problem=problem.name,
            specification=problem.specification.strip(),
            target=target,
            language=language,
            interface=interface(problem, target, language, threads),
            shapes=tuple(map(shape_label, problem.shapes)),
            small_shapes=tuple(map(shape_label, problem.small_shapes)),
            compute_dtype=problem.compute_dtype,
            baselines=tuple(problem.baselines),
            machine=machine(facts),
        )


def interface(problem: Problem, target: str, language: str, threads: int) -> str:
    """The ABI that a kernel has to have, for this problem."""
    if problem.foreign is not None:
        return _foreign_interface(problem)
    inputs, outputs = list(problem.inputs), list(problem.outputs)
    roles = [f"- `{one.name}`: {one.role}, {one.dtype}{_dims(one)}" for one in (*inputs, *outputs)]
    if family_of(language) == "python":
        names = ", ".join(one.name for one in (*inputs, *outputs))
        head = [
            f"Define `launch({names}, workspace)`: it computes grid and block sizes from the tensors' shapes and launches. The file",
            "imports triton, triton.language and math only; outside of `@triton.jit` functions it holds constants, grids and launches.",
        ]
    else:
        parameters = [f"const {_c_type(one.dtype, language)}* {one.name}" for one in inputs]
        parameters += [f"{_c_type(one.dtype, language)}* {one.name}" for one in outputs]
        parameters += ["void* workspace", *(f"int64_t {size}" for size in problem.sizes)]
        parameters += [f"{language}Stream_t stream"] if language in ("cuda", "hip") else []
        sizes = ", ".join(f"int64_t {size}" for size in problem.sizes)
        head = [
            f'    extern "C" void kernel({", ".join(parameters)});',
            f'    extern "C" size_t workspace({sizes});   // optional: bytes of scratch memory that `workspace` points to',
        ]
    lines = [
        *head, "", *roles, "",
        f"{SPEECH.get(language, 'The kernel runs on the device')}{' core, single-threaded' if target == 'cpp' and threads == 1 else ''}. "
        "Arrays are contiguous, aligned to 256 bytes and do not overlap. Every element of every output has to be written in every call; "
        "inputs may not be written. Outputs and workspace hold garbage before a call; nothing may be kept from one call to the next.",
    ]  # fmt: skip
    if target == "cpp":
        lines.append(
            "One file, standard and intrinsics headers only (<cmath>, <cstdint>, <algorithm>, <immintrin.h>); no files, no system calls, "
            "no threads beyond those given, no libraries beyond libm."
        )
    return "\n".join(lines)


def _foreign_interface(problem: Problem) -> str:
    """What a candidate for a problem of others has to define."""
    assert problem.foreign is not None
    entry, shapes = problem.foreign.entry, problem.shapes[0]
    tensors = [f"- {one.name}: {one.dtype}{list(one.shape(shapes))}" for one in (*problem.inputs, *problem.outputs)]
    module = entry == "ModelNew"
    if module:
        lines = [
            f"Define the class `{entry}`, which takes the place of the reference's `Model`: the same arguments of `__init__` and "
            "`forward`, the same results, as new contiguous tensors of the same dtypes and shapes.",
            "Both are built under one random seed and have to have the same parameters: make the same parameters in the same order by "
            "the same functions (keep `nn.Linear`, `nn.Conv2d` and so on as holders of weights). What depends on parameters alone may be "
            "prepared in `__init__`.",
        ]
    else:
        lines = [
            f"Define the function `{entry}(data)`, which takes the place of the reference's `ref_kernel(data)`: the same argument, the "
            "same results, as contiguous tensors of the same dtypes and shapes. Where the data hold an output's tensor, write into it and "
            "return it."
        ]
    lines += [
        "Write the work as Triton kernels (`@triton.jit`); torch may be used for what is not worth one. Imports: torch, triton, math and "
        "what describes types. No inline CUDA, no torch.compile, no autotune (declare tunables), no streams, graphs or events, no "
        "torch.backends, no patching; nothing kept from one call to the next; inputs are not written.",
        "",
        f"On the first shape ({shape_label(shapes)}):",
        *tensors,
        "",
        "Results are compared with the reference in float64, also on other data than the file draws. What is returned is copied into the "
        "evaluator's own memory; that copy is timed, for the baseline too.",
    ]
    return "\n".join(lines)


def machine(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What is known of the device, a line each."""
    device = facts.get("device")
    if not isinstance(device, Mapping):
        return (str(device),) if device else ()
    lines = [f"{device.get('name', 'unknown device')} ({device.get('kind', 'device')})"]
    if device.get("vector_bits"):
        lines.append(f"widest vectors: {device['vector_bits']} bits")
    if device.get("features"):
        lines.append("instruction sets: " + ", ".join(device["features"]))
    for level in device.get("caches") or ():
        shared = "" if level.get("shared_by", 1) == 1 else f", shared by {level['shared_by']} cores"
        lines.append(f"L{level['level']} cache: {_bytes(level['bytes'])}{shared}, lines of {level.get('line', 64)} bytes")
    for name in ("architecture", "triton", "multiprocessors", "shared_memory", "registers", "bandwidth", "flops"):
        if device.get(name):
            lines.append(f"{name.replace('_', ' ')}: {device[name]}")
    if facts.get("threads"):
        lines.append(f"threads a kernel may use: {facts['threads']}")
    if device.get("compiler"):
        lines.append(f"compiler: {device['compiler']}")
    return tuple(lines)


def _c_type(dtype: str, language: str) -> str:
    return DEVICE_TYPES.get(language, {}).get(dtype) or C_TYPES.get(dtype, dtype)


def _dims(argument: Argument) -> str:
    dims: Sequence[object] = argument.dims
    return f"[{']['.join(map(str, dims))}]" if dims else " (one element)"


def _bytes(number: int) -> str:
    for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= size:
            return f"{number / size:g} {unit}"
    return f"{number} bytes"
