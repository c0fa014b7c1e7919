"""What a CUDA C++ file may include, name and call. Advisory, never the only guard: tokens, not the preprocessed text."""

from __future__ import annotations

from archive.evaluation import Diagnostic
from fitness.targets.ctokens import SourceError, read
from fitness.targets.vocabulary import ALSO_ORDINARY, FORBIDDEN_NAMES, FORBIDDEN_PREFIXES, HEADERS, MAX_SOURCE

__all__ = ["CUDA_HEADERS", "HOST_CALLS", "check_cuda"]

_CUDA_HEADER_NAMES = """
    cuda_runtime.h cuda_bf16.h cuda_fp16.h cuda_fp8.h mma.h cooperative_groups.h cooperative_groups/reduce.h
    cooperative_groups/memcpy_async.h cuda/pipeline cuda/barrier cuda/std/limits cuda/std/cstdint cuda/ptx cuda_pipeline.h
"""
CUDA_HEADERS = HEADERS | frozenset(_CUDA_HEADER_NAMES.split())

_HOST_CALL_NAMES = """
    cudaStream_t cudaError_t cudaSuccess cudaFuncSetAttribute cudaFuncAttributeMaxDynamicSharedMemorySize cudaGetLastError
    cudaFuncAttributePreferredSharedMemoryCarveout cudaLaunchCooperativeKernel cudaLaunchKernelEx cudaLaunchConfig_t cudaLaunchAttribute
    cudaLaunchAttributeClusterDimension cudaLaunchAttributeProgrammaticStreamSerialization cudaOccupancyMaxActiveBlocksPerMultiprocessor
    cudaLaunchAttributeCooperative cudaFuncAttributeNonPortableClusterSizeAllowed cudaLaunchKernel cudaPeekAtLastError
    cudaMemsetAsync cudaMemcpyAsync cudaMemcpyDeviceToDevice cudaGetDevice cudaDeviceGetAttribute cudaDevAttrMultiProcessorCount
    cudaDevAttrMaxSharedMemoryPerBlockOptin cudaDevAttrMaxSharedMemoryPerMultiprocessor
"""
HOST_CALLS = frozenset(_HOST_CALL_NAMES.split())
"""What of the CUDA runtime a kernel's file may name: launching and its attributes, setting and copying its buffers in the stream, and facts
about the device. No memory of its own, events, streams, graphs."""
_LIBRARIES = ("cublas", "cudnn", "cusparse", "cufft", "cusolver", "curand", "nvrtc", "thrust", "cub", "cutlass", "nvml")
_DRIVER = ("cuMem", "cuCtx", "cuStream", "cuEvent", "cuLaunch", "cuModule", "cuGraph", "cuIpc", "cuInit", "cuDevice", "cuFunc")


def check_cuda(source: str) -> Diagnostic | None:
    """Why this text is refused, or None."""
    if len(source) > MAX_SOURCE:
        return _found("source_too_long", f"{len(source)} bytes; at most {MAX_SOURCE} are read", 1)
    try:
        text = read(source)
    except SourceError as error:
        return Diagnostic("policy", "malformed_source", f"{error}", {})
    for directive in text.directives:
        if directive.name == "include":
            header = directive.tokens[0].text if directive.tokens else ""
            if not (header.startswith("<") and header[1:-1].strip() in CUDA_HEADERS):
                allowed = ", ".join(sorted(CUDA_HEADERS))
                return _found("forbidden_include", f"found #include {header or 'nothing'}, expected one of {allowed}", directive.line)
    for group in (text.tokens, *(directive.tokens for directive in text.directives)):
        for index, token in enumerate(group):
            if token.kind != "name":
                continue
            name, following = token.text, group[index + 1].text if index + 1 < len(group) else ""
            if name.startswith("cuda") and name[4:5].isupper() and name not in HOST_CALLS:
                text_ = f"found {name}: of the CUDA runtime only launches, their attributes and facts about the device are allowed"
                return _found("forbidden_name", text_, token.line)
            if name.startswith(_DRIVER) or (name.startswith(_LIBRARIES) and following in ("(", "::")):
                return _found("library_call", f"found {name}; the kernel must compute the result itself", token.line)
            call = FORBIDDEN_NAMES.get(name) or next((g for p, g in FORBIDDEN_PREFIXES.items() if name.startswith(p)), None)
            if call is not None and (name not in ALSO_ORDINARY or following == "("):
                return _found("forbidden_name", f"found {name} ({call} call); a kernel launches kernels, nothing else", token.line)
    return None


def _found(reason: str, text: str, line: int) -> Diagnostic:
    return Diagnostic("policy", reason, f"line {line}: {text}", {"line": line})
